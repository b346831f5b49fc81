//! What `check` says of configurations that are wrong: every mistake, each where it is.

use std::sync::Arc;

use wiremesh::{HeaderSupport, OptionError, topology::TopologyError};
use wiremesh_proxy::config::{Config, ProtocolInfo};

fn protocols() -> [ProtocolInfo; 5] {
    let mut bolt = plain("bolt", HeaderSupport::Edit, false);
    bolt.check_option = Arc::new(|name, value| match (name, value) {
        ("go_away", "true" | "false") => Ok(()),
        ("go_away", _) => Err(OptionError::Value("it is true or false".into())),
        _ => Err(OptionError::Unknown("there is go_away")),
    });
    [
        bolt,
        plain("reading", HeaderSupport::Read, false),
        plain("bare", HeaderSupport::None, false),
        plain("greeter", HeaderSupport::None, true),
        store(),
    ]
}

/// Keeps data, and knows who keeps which.
fn store() -> ProtocolInfo {
    let mut store = plain("store", HeaderSupport::None, false);
    store.stateful = true;
    store.check_topology = Arc::new(|kind, options| {
        let option = |name: &str, error| Err(TopologyError::Option(name.into(), error));
        match kind {
            "cluster" if options.contains_key("x") => option("x", OptionError::Value("no".into())),
            "watched" if !options.contains_key("master") => {
                Err(TopologyError::Missing("master", "whom to watch"))
            }
            "cluster" | "watched" => Ok(()),
            _ => Err(TopologyError::Kind(&["cluster", "watched"])),
        }
    });
    store
}

fn plain(name: &'static str, headers: HeaderSupport, server_first: bool) -> ProtocolInfo {
    ProtocolInfo {
        name,
        correlation: "in order",
        headers,
        heartbeat: false,
        server_first,
        check_option: Arc::new(|_, _| Err(OptionError::Unknown("this protocol has none"))),
        stateful: false,
        check_topology: Arc::new(|_, _| Err(TopologyError::Kind(&[]))),
    }
}

fn env(name: &str) -> Option<String> {
    (name == "PORT").then(|| "12200".to_owned())
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse("f.yaml", text, &env, &protocols())
        .map_err(|report| report.mistakes.iter().map(ToString::to_string).collect())
}

/// The text is `<listeners>` and `<clusters>` of a configuration that is right, with something put wrong in it.
#[track_caller]
fn says(text: &str, expected: &[&str]) {
    let mistakes = parse(text).err().unwrap_or_default();
    let expected: Vec<String> = expected.iter().map(|line| format!("f.yaml:{line}")).collect();
    assert_eq!(mistakes, expected, "\n{text}");
}

const CLUSTERS: &str = "clusters: [{ name: hello, endpoints: [127.0.0.1:12200] }, { name: ring, endpoints: [127.0.0.1:12201], balance: maglev }]\n";

/// The route's lines begin at 2:3.
#[track_caller]
fn route_says(route: &str, expected: &[&str]) {
    let text = format!(
        "listeners: [{{ name: in, address: 127.0.0.1:12220, protocols: [bolt], routes: [{{ name: all,\n  {route} }}] }}]\n{CLUSTERS}"
    );
    says(&text, expected);
}

/// The listener's lines begin at 2:3.
#[track_caller]
fn listener_says(fields: &str, expected: &[&str]) {
    let text = format!(
        "listeners: [{{ name: in, routes: [{{ name: all, cluster: hello }}],\n  {fields} }}]\n{CLUSTERS}"
    );
    says(&text, expected);
}

/// The cluster's lines begin at 2:3.
#[track_caller]
fn cluster_says(fields: &str, expected: &[&str]) {
    let text = format!(
        "clusters: [{{ name: hello,\n  {fields} }}]\nlisteners: [{{ name: in, address: 127.0.0.1:12220, protocols: [bolt], routes: [{{ name: all, cluster: hello }}] }}]\n"
    );
    says(&text, expected);
}

#[test]
fn what_is_watched_is_within_bounds() {
    let listener = "address: 127.0.0.1:1, protocols: [bolt],";
    listener_says(&format!("{listener} slow_log: {{}}, sample: {{}}"), &[]);
    listener_says(
        &format!(
            "{listener}\n  slow_log: {{ threshold: 0s, keep: 0 }}, sample: {{ every: 0, top: 1001 }}"
        ),
        &[
            "3:26: threshold must be over 0s",
            "3:36: 0 is too small; the least is 1",
            "3:58: 0 is too small; the least is 1",
            "3:66: 1001 is too large; the most is 1000",
        ],
    );
}

#[test]
fn every_mistake_is_told_in_one_run() {
    says(
        r#"
workers: many
drain_timeout: 10
admn: 127.0.0.1:9901
listeners:
  - name: bolt
    address: 127.0.0.1
    protocols: [bolt, blot]
    options: { bolt: { goaway: false, go_away: maybe } }
    allow: [10.0.0.1/8]
    max_connections: 0
    routes:
      - name: hello
        match: { servise: { prefix: com.x. }, method: { exactly: plus } }
        clutser: hello
        timeout: 3
        retry: { on: [reset, never], attempts: -1 }
      - name: hello
        cluster: helo
        headers: { set: { k: [] } }
      - cluster: hello
        headers: [x]
  - address: ${HOST}:12221
    protocols: bolt
    routes:
clusters:
  - name: hello
    endpoints: [ 127.0.0.1:${PORT}, { addres: "127.0.0.1:12201", weight: 2 }, {} ]
    balance: round-robin
    outlier: on
    health: { interval: 1s, timeout: 2s }
"#,
        &[
            r#"2:10: expected a whole number, found "many""#,
            r#"3:16: "10" has no unit; write 10s or 10ms"#,
            r#"4:1: unknown field "admn"; did you mean "admin"?"#,
            r#"7:14: "127.0.0.1" has no port; write 127.0.0.1:12200"#,
            r#"8:23: unknown protocol "blot"; did you mean "bolt"?"#,
            r#"9:32: bolt option "goaway": no such option; there is go_away"#,
            r#"9:48: bolt option "go_away": it is true or false"#,
            r#"10:13: "10.0.0.1/8" has bits set after its prefix; write 10.0.0.0/8"#,
            r#"11:22: 0 is too small; the least is 1"#,
            r#"14:18: unknown field "servise"; did you mean "service"?"#,
            r#"14:57: unknown field "exactly"; did you mean "exact"?"#,
            r#"15:9: unknown field "clutser"; did you mean "cluster"?"#,
            r#"16:18: "3" has no unit; write 3s or 3ms"#,
            r#"17:23: after a reset the request may have been executed; remove "reset", or say idempotent: true if executing it twice does no harm"#,
            r#"17:30: unknown value "never"; the values are connect, reset, timeout, overloaded, unavailable"#,
            r#"17:48: -1 is too small; the least is 1"#,
            r#"18:15: route "hello" is already defined in line 13"#,
            r#"19:18: unknown cluster "helo"; did you mean "hello"?"#,
            r#"20:30: expected a text, found a list"#,
            r#"21:9: missing field "name""#,
            r#"22:18: expected fields (set, add, remove), found a list"#,
            r#"23:5: missing field "name""#,
            r#"23:14: the environment has no HOST; set it, or give a default: ${HOST:-value}"#,
            r#"24:16: expected a list, found "bolt""#,
            r#"25:5: "routes" has no value; give it one or remove it"#,
            r#"28:39: unknown field "addres"; did you mean "address"?"#,
            r#"28:79: missing field "address""#,
            r#"29:14: unknown value "round-robin"; did you mean "round_robin"?"#,
            r#"30:14: expected off or fields (consecutive_failures, ejection, max_ejected_percent), found "on""#,
            r#"31:38: a check would begin before the last has timed out; keep timeout within interval (1s)"#,
        ],
    );
}

#[test]
fn documents_that_are_not_yaml() {
    says("a: [1\nb: 2\n", &["2:2: illegal placement of ':' indicator"]);
    says(
        "- a\n",
        &[
            "1:1: expected fields (workers, admin, log, drain_timeout, access_log, listeners, clusters), found a list",
        ],
    );
    says(
        "log: inof\n",
        &[
            "1:1: there are no listeners, so nothing would be served; add one",
            "1:6: unknown level \"inof\"; did you mean \"info\"?",
        ],
    );
    says("", &["1:1: there are no listeners, so nothing would be served; add one"]);
    says(
        "log: warn\nlog: info\nlisteners: []\n---\nx: 1\n",
        &["5:1: another document begins; a file is one document"],
    );
    says(
        "log: warn\nlog: info\nlisteners: []\n",
        &[
            "2:1: \"log\" is here twice; remove one of them",
            "3:12: there are no listeners, so nothing would be served; add one",
        ],
    );
}

#[test]
fn positions_of_aliases_and_texts() {
    says(
        "x-é: 1\nlog: &level loud=loud\nadmin: *level\nworkers: \"2\"\nlisteners: []\n",
        &[
            "1:1: unknown field \"x-é\"; the fields are workers, admin, log, drain_timeout, access_log, listeners, clusters",
            "2:13: \"loud=loud\" is not a filter; write it like info,wiremesh_proxy=debug",
            "3:8: \"loud=loud\" is not an IP address with a port; write it like 127.0.0.1:9901",
            "4:10: expected a whole number, found the text \"2\"; remove the quotes",
            "5:12: there are no listeners, so nothing would be served; add one",
        ],
    );
}

#[test]
fn numbers() {
    for (value, message) in [
        ("1.5", "expected a whole number, found 1.5"),
        ("1025", "1025 is too large; the most is 1024"),
        ("true", "expected a whole number, found \"true\""),
        ("[]", "expected a whole number, found a list"),
    ] {
        let expected = format!("1:10: {message}");
        says(
            &format!(
                "workers: {value}\n{CLUSTERS}listeners: [{{ name: in, address: 127.0.0.1:1, protocols: [bolt], routes: [{{ name: a, cluster: hello }}] }}]"
            ),
            &[&expected],
        );
    }
    cluster_says(
        "endpoints: [{ address: a:1, weight: 5000000000 }]",
        &["2:39: 5000000000 is too large; the most is 1000000"],
    );
    cluster_says(
        "endpoints: [a:1], outlier: { max_ejected_percent: 101 }",
        &["2:53: 101 is too large; the most is 100"],
    );
}

#[test]
fn targets() {
    route_says("timeout: 3s", &["1:79: write exactly one of cluster, clusters, reply"]);
    route_says("clustr: hello", &["2:3: unknown field \"clustr\"; did you mean \"cluster\"?"]);
    route_says(
        "cluster: hello, reply: { status: ok }",
        &["1:79: write exactly one of cluster, clusters, reply"],
    );
    route_says(
        "cluster: other",
        &["2:12: unknown cluster \"other\"; the clusters are hello, ring"],
    );
    route_says("clusters: []", &["2:13: the list is empty; it needs at least one item"]);
    route_says(
        "clusters: [{ name: hello, weight: 0 }, { name: hello, weight: 0 }]",
        &[
            "2:13: every weight is 0, so no cluster would be used",
            "2:50: share of cluster \"hello\" is already defined in line 2",
        ],
    );
    route_says(
        "reply: { status: gone }",
        &[
            "2:20: unknown value \"gone\"; the values are ok, app_error, bad_request, unauthenticated, denied, not_found, timeout, overloaded, unavailable, internal, unknown",
        ],
    );
    route_says(
        "reply: { status: unavailable, message: x }, timeout: 1s",
        &["2:56: timeout has no effect beside reply; remove it"],
    );
}

#[test]
fn mirrors() {
    route_says(
        "cluster: hello, mirror: { cluster: rnig }",
        &["2:38: unknown cluster \"rnig\"; did you mean \"ring\"?"],
    );
    route_says(
        "cluster: hello, mirror: { cluster: hello }",
        &[
            "2:38: the route's requests go to cluster \"hello\" already; a mirror is another cluster",
        ],
    );
    route_says(
        "cluster: hello, mirror: { cluster: ring, only: reads }",
        &["2:50: bolt does not tell reads from writes; remove this"],
    );
    route_says(
        "cluster: hello, mirror: { percent: 101 }",
        &["2:27: missing field \"cluster\"", "2:38: 101 is too large; the most is 100"],
    );
    route_says(
        "reply: { status: ok }, mirror: { cluster: ring }",
        &["2:34: mirror has no effect beside reply; remove it"],
    );
    route_says("cluster: hello, mirror: { cluster: ring, percent: 0.5, compare: true }", &[]);
    let listener = "listeners: [{ name: in, address: 127.0.0.1:12220, protocols: [store], routes: [{ name: all, cluster: one, mirror: { cluster: two, only: writes } }] }]\n";
    let clusters = |two: &str| {
        format!(
            "{listener}clusters: [{{ name: one, endpoints: [127.0.0.1:1] }},\n{{ name: two, {two} }}]\n"
        )
    };
    says(&clusters("endpoints: [127.0.0.1:2], topology: cluster"), &[]);
    // It is spoken to like any other.
    says(
        &clusters("endpoints: [127.0.0.1:2, 127.0.0.1:3]"),
        &[
            "3:25: 2 servers of store hold different data, and nothing says which holds what; set topology to cluster or watched, or leave one endpoint",
        ],
    );
}

#[test]
fn retries() {
    route_says(
        "cluster: hello, retry: { on: [connect, reset] }",
        &[
            "2:42: after a reset the request may have been executed; remove \"reset\", or say idempotent: true if executing it twice does no harm",
        ],
    );
    route_says(
        "cluster: hello, retry: { on: [timeout], idempotent: true }",
        &[
            "2:33: without a try_timeout nothing is left of the timeout for another try; set try_timeout on the route",
        ],
    );
    route_says("cluster: hello, retry: { on: [timeout], idempotent: true }, try_timeout: 1s", &[]);
    route_says(
        "cluster: hello, retry: { on: [] }",
        &["2:32: the list is empty; it needs at least one item"],
    );
    route_says(
        "cluster: hello, retry: { backoff: { base: 1s } }",
        &["2:37: base (1s) is longer than max (250ms)"],
    );
    route_says(
        "cluster: hello, timeout: 1s, try_timeout: 2s",
        &["2:45: try_timeout (2s) is longer than timeout (1s), so it would never end a try"],
    );
    route_says("cluster: hello, timeout: 0s", &["2:28: timeout must be over 0s"]);
}

#[test]
fn matches() {
    let rest = |second: &str| {
        format!(
            "match: {{ service: {{ exact: a }} }}, cluster: hello }}, {{ name: b, cluster: hello,\n{second}"
        )
    };
    route_says(&rest("match: { service: { prefix: a } }"), &[]);
    route_says(
        &rest("match: { service: { exact: a } }"),
        &["2:55: no request gets here, since route \"all\" above has the same match"],
    );
    route_says(
        "cluster: hello }, { name: b, cluster: ring",
        &["2:21: no request gets here, since route \"all\" above takes them all; put it last"],
    );
    route_says(
        "cluster: hello, match: { service: { exact: a, prefix: b } } }, { name: b, cluster: ring",
        &["2:37: write exactly one of exact, prefix, regex"],
    );
    route_says(
        "cluster: hello, match: { method: { regex: \"a(b\" }, headers: [{ name: x, regex: \"[\" }, { name: y }, { name: z, exact: a, prefix: b }] }",
        &[
            "2:45: invalid regex: unclosed group",
            "2:82: invalid regex: unclosed character class",
            "2:89: write exactly one of exact, prefix, regex",
            "2:102: write exactly one of exact, prefix, regex",
        ],
    );
}

#[test]
fn headers_that_the_protocol_does_not_have() {
    let route = "routes: [{ name: a, cluster: ring, match: { headers: [{ name: x, exact: y }] }, headers: { remove: [z] }, hash: { header: h }, limit: { concurrency: 1, by_header: app } }] }]\n";
    let text = |protocol: &str| {
        format!(
            "{CLUSTERS}listeners: [{{ name: in, address: 127.0.0.1:1, protocols: [{protocol}],\n{route}"
        )
    };
    says(&text("bolt"), &[]);
    says(
        &text("bolt, reading"),
        &["3:90: headers of reading can be read but not changed; remove this"],
    );
    says(
        &text("bare"),
        &[
            "3:54: bare has no headers; remove this",
            "3:90: bare has no headers; remove this",
            "3:113: bare has no headers; remove this",
            "3:164: bare has no headers; remove this",
        ],
    );
    route_says(
        "cluster: hello, headers: { set: { a: b }, add: { a: c } }",
        &["2:55: header \"a\" is both set and added; remove one of them"],
    );
    route_says(
        "cluster: hello, hash: { header: x }",
        &[
            "2:12: the route has a hash, but cluster \"hello\" balances by least_request; set it to ring_hash or maglev, or remove the hash",
        ],
    );
}

#[test]
fn faults_and_limits() {
    route_says(
        "cluster: hello, fault: { delay: { percent: 100.5, duration: 1s }, abort: { percent: 1, status: ok } }",
        &["2:46: 100.5 is too large; the most is 100", "2:98: an abort needs an error; ok is none"],
    );
    route_says(
        "cluster: hello, limit: {}",
        &["2:26: this limits nothing; add requests_per_second or concurrency"],
    );
    route_says(
        "cluster: hello, limit: { burst: 5, concurrency: 4 }",
        &["2:35: burst has no effect without requests_per_second"],
    );
    route_says(
        "cluster: hello, limit: { requests_per_second: 0 }",
        &["2:49: 0 is too small; the least is 0.001"],
    );
}

#[test]
fn listeners() {
    listener_says(
        "address: localhost:1, protocols: [bolt]",
        &[
            "2:12: a listener's address is an IP address, not a name such as \"localhost\"; write 127.0.0.1, or 0.0.0.0 for all",
        ],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt, bolt, greeter, http]",
        &[
            "2:43: protocol \"bolt\" is here twice; remove one of them",
            "2:49: \"greeter\" cannot be told from others, since its server speaks first; give it a listener of its own",
            "2:58: unknown protocol \"http\"; the protocols are bolt, reading, bare, greeter, store",
        ],
    );
    listener_says("address: 127.0.0.1:1, protocols: [greeter]", &[]);
    listener_says(
        "address: 127.0.0.1:1, protocols: []",
        &["2:36: the list is empty; it needs at least one item"],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], options: { bolt: { go_away: false }, bare: { a: b } }",
        &["2:87: options for \"bare\", which is not spoken here; the protocols here are bolt"],
    );
    listener_says(
        "address: 127.0.0.1:1, protocols: [bolt], limits: { max_frame: 32KiB }, idle_timeout: 0s, frame_timeout: 5, max_connections: -5",
        &[
            "2:52: max_header (64KiB) must be within max_frame (32KiB), and that over 0B",
            "2:88: idle_timeout must be over 0s",
            "2:107: \"5\" has no unit; write 5s or 5ms",
            "2:127: -5 is too small; the least is 1",
        ],
    );
    listener_says(
        "address: 127.0.0.1:12200, protocols: [bolt]",
        &[
            "1:56: cluster \"hello\" has this listener's own address (127.0.0.1:12200) as an endpoint",
        ],
    );
}

#[test]
fn addresses_that_clash() {
    let listener = |name: &str, address: &str| {
        format!(
            "  - {{ name: {name}, protocols: [bolt], routes: [{{ name: a, cluster: hello }}], address: \"{address}\" }}\n"
        )
    };
    let text = [
        "admin: 127.0.0.1:5\nlisteners:\n".to_owned(),
        listener("a", "127.0.0.1:1"),
        listener("b", "0.0.0.0:1"),
        listener("c", "[::]:1"),
        listener("d", "127.0.0.2:1"),
        listener("e", "127.0.0.1:0"),
        listener("f", "127.0.0.1:0"),
        listener("g", "unix:/x"),
        listener("g", "unix:/x"),
        listener("i", "127.0.0.1:5"),
        CLUSTERS.to_owned(),
    ];
    says(
        &text.concat(),
        &[
            "4:83: 0.0.0.0:1 is taken by listener \"a\"",
            "6:83: 127.0.0.2:1 is taken by listener \"b\"",
            "10:13: listener \"g\" is already defined in line 9",
            "10:83: unix:/x is taken by listener \"g\"",
            "11:83: 127.0.0.1:5 is taken by the admin pages",
        ],
    );
}

#[test]
fn clusters() {
    cluster_says(
        "endpoints: [a:1, a:1, b:0, { address: c:1, weight: 0 }]",
        &[
            "2:20: a:1 is here twice; give it a weight instead",
            "2:25: b:0 has port 0, which cannot be connected to",
        ],
    );
    cluster_says(
        "endpoints: [{ address: c:1, weight: 0 }], connections: 5, max_connections: 4",
        &[
            "2:14: every weight is 0, so no endpoint would be used",
            "2:58: 5 connections per endpoint are more than max_connections (4) allows in all",
        ],
    );
    cluster_says(
        "endpoints: [c:1], connect_timeout: 0s, keepalive: { interval: 0s }, outlier: off, health: { interval: 0s }, balance: best",
        &[
            "2:38: connect_timeout must be over 0s",
            "2:65: interval must be over 0s",
            "2:105: interval must be over 0s",
            "2:120: unknown value \"best\"; the values are round_robin, weighted, random, least_request, peak_ewma, ring_hash, maglev",
        ],
    );
    cluster_says("endpoints: []", &["2:14: the list is empty; it needs at least one item"]);
    cluster_says(
        "dedicated: yes",
        &["1:12: missing field \"endpoints\"", "2:14: expected true or false, found \"yes\""],
    );
}

#[test]
fn topologies() {
    #[track_caller]
    fn store_says(fields: &str, expected: &[&str]) {
        let text = format!(
            "clusters: [{{ name: data,\n  {fields} }}]\nlisteners: [{{ name: in, address: 127.0.0.1:12220, protocols: [store], routes: [{{ name: all, clusters: [{{ name: data, weight: 1 }}] }}] }}]\n"
        );
        says(&text, expected);
    }
    store_says("endpoints: [a:1]", &[]);
    store_says(
        "endpoints: [a:1, b:1], topology: cluster, read_from: any, topology_refresh: 1s",
        &[],
    );
    store_says("endpoints: [a:1], topology: watched, topology_options: { master: m }", &[]);
    store_says(
        "endpoints: [a:1, b:1, c:1]",
        &[
            "2:14: 3 servers of store hold different data, and nothing says which holds what; set topology to cluster or watched, or leave one endpoint",
        ],
    );
    store_says(
        "endpoints: [a:1], topology: clutser",
        &["2:31: store has no topology \"clutser\"; did you mean \"cluster\"?"],
    );
    store_says(
        "endpoints: [a:1], topology: ring",
        &["2:31: store has no topology \"ring\"; the topologies are cluster, watched, static"],
    );
    store_says(
        "endpoints: [a:1], topology: cluster, topology_refresh: 0s, topology_options: { x: y }",
        &["2:58: topology_refresh must be over 0s", "2:85: topology option \"x\": no"],
    );
    store_says(
        "endpoints: [a:1], topology: watched",
        &[
            "2:31: topology watched needs the option \"master\", whom to watch; write topology_options: { master: ... }",
        ],
    );
    store_says(
        "endpoints: [a:1], topology_options: { x: y }, read_from: replica",
        &[
            "2:39: topology_options has no effect with topology static; set topology, or remove it",
            "2:60: read_from has no effect with topology static; set topology, or remove it",
        ],
    );
    store_says(
        "endpoints: [a:1], topology: cluster, read_from: replicas",
        &["2:51: unknown value \"replicas\"; did you mean \"replica\"?"],
    );
    cluster_says("endpoints: [a:1, b:1]", &[]);
    cluster_says(
        "endpoints: [a:1, b:1], topology: cluster",
        &["2:36: bolt has no topology \"cluster\"; the topologies are static"],
    );
}
