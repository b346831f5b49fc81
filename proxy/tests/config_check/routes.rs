//! What is wrong with routes.

use super::{CLUSTERS, route_says, says};

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
fn mirrors_of_sessions() {
    let of = |options: &str, only: &str| {
        format!(
            "listeners: [{{ name: in, address: 127.0.0.1:12220, protocols: [guarded], {options}\nroutes: [{{ name: all, cluster: one, mirror: {{ cluster: two{only} }} }}] }}]\nclusters: [{{ name: one, endpoints: [127.0.0.1:1] }}, {{ name: two, endpoints: [127.0.0.1:2] }}]\n"
        )
    };
    let asks = "options: { guarded: { ask: yes } }, users: [{ name: joe, password: x }],";
    says(&of(asks, ""), &[]);
    says(&of(asks, ", only: reads, compare: true"), &[]);
    says(&of(asks, ", only: writes"), &["2:67: of guarded only reads can be copied; remove this"]);
    says(&of("", ""), &["2:45: requests of guarded cannot be copied in this mode; remove this"]);
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
fn who_is_connected_at_once_needs_a_route_for_all() {
    let text = |options: &str, first: &str, second: &str| {
        format!(
            "listeners: [{{ name: in, address: 127.0.0.1:1, protocols: [guarded], options: {{ guarded: {options} }},\n  routes: [{{ name: a, cluster: hello, match: {first} }}, {{ name: b, cluster: hello{second} }}] }}]\n{CLUSTERS}"
        )
    };
    let (shop, blog) = ("{ service: { exact: shop } }", ", match: { service: { exact: blog } }");
    says(
        &text("{}", shop, blog),
        &[
            "2:11: with guarded a client is connected to a server before it asks for anything, which takes a route without match; add one, or all clients are refused",
        ],
    );
    says(&text("{}", shop, ""), &[]);
    says(
        &text("{}", "{ service: { exac: shop } }", blog),
        &["2:59: unknown field \"exac\"; did you mean \"exact\"?"],
    );
}
