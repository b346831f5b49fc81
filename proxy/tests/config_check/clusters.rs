//! What is wrong with clusters.

use super::{cluster_says, says};

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
        "endpoints: [c:1], max_connections: 4, max_held: 5",
        &["2:51: 5 connections are to be held at most; say 1 to max_connections (4)"],
    );
    cluster_says(
        "endpoints: [c:1], hold_timeout: 0s, max_connections: 4",
        &["2:35: hold_timeout must be over 0s"],
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
