//! What is wrong with a document as a whole, and with values wherever they stand.

use super::{CLUSTERS, cluster_says, says};

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
