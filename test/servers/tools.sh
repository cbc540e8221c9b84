#!/usr/bin/env bash
# Programs from the Go module proxy, built once into DIR/bin:   tools.sh DIR [nats-server] [toxiproxy]
#   nats-server -js -sd DATA -a 127.0.0.1 -p 14222 [--user U --pass P] -P PIDFILE
#   toxiproxy-server -host 127.0.0.1 -port 18474, then POST /proxies and POST /proxies/NAME/toxics
# Either ends when its process is ended by its id.
set -euo pipefail
mkdir -p "${1:?"a folder"}/bin"
bin=$(cd "$1/bin" && pwd)
shift
[ $# -gt 0 ] || set -- nats-server toxiproxy
command -v go > /dev/null || { echo "tools.sh: needs go" >&2; exit 77; }

# build NAME PACKAGE: built beside and moved, so that a run that was cut short leaves nothing that looks finished
build() {
  [ ! -x "$bin/$1" ] || return 0
  local making
  making=$(mktemp -d "$bin/.making.XXXXXX")
  GOBIN=$making go install "$2"
  mv "$making"/* "$bin/$1"
  rmdir "$making"
}

for tool; do
  case $tool in
    nats-server) build nats-server github.com/nats-io/nats-server/v2@v2.15.2 ;;
    # By version: the newest one is not tagged as such, @latest gives one from years ago.
    toxiproxy) build toxiproxy-server github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0 ;;
    *) echo "tools.sh: unknown: $tool" >&2; exit 2 ;;
  esac
done
