//! The files that go with the configuration: the examples, and the published JSON Schema.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use wiremesh_proxy::config::{
    AccessLog, Address, Balance, ByteSize, Cluster, Config, Duration, Endpoint, Health, Keepalive,
    Listener, Matcher, Outlier, Percent, ProtocolInfo, Retry, RetryOn, Route, Target,
};
use wiremesh_proxy::registry::Registry;

fn bolt() -> Vec<ProtocolInfo> {
    Registry::bundled().protocols()
}

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn load(name: &str) -> Config {
    let file = docs().join("examples").join(name);
    Config::load(&file, &bolt()).unwrap_or_else(|report| panic!("{report}"))
}

fn reload(yaml: &str) -> Config {
    Config::parse("again.yaml", yaml, &|_| None, &bolt())
        .unwrap_or_else(|report| panic!("{report}\n{yaml}"))
}

#[test]
fn every_example_loads_and_survives_being_written() {
    let mut count = 0;
    for entry in fs::read_dir(docs().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let config = load(&name);
        assert_eq!(reload(&config.to_yaml()), config, "{name}");
        assert_eq!(reload(&config.to_short_yaml()), config, "{name}");
        count += 1;
    }
    assert!(count >= 4, "{count} examples");
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = load("minimal.yaml");
    let address: Address = "127.0.0.1:12200".parse().unwrap();
    let expected = Config {
        listeners: vec![Listener::new(
            "bolt",
            "127.0.0.1:12220".parse().unwrap(),
            vec!["bolt".into()],
            vec![Route::to_cluster("all", "hello")],
        )],
        clusters: vec![Cluster::new("hello", vec![Endpoint::from(address)])],
        ..Config::default()
    };
    assert_eq!(config, expected);
    let listener = &config.listeners[0];
    assert_eq!(listener.limits.to_decoder(), wiremesh::Limits::default());
    assert_eq!(listener.idle_timeout, Duration::from_secs(300));
    assert_eq!(listener.routes[0].target(), Some(Target::Cluster("hello")));
    let cluster = &config.clusters[0];
    assert_eq!(cluster.keepalive, Some(Keepalive::default()));
    assert_eq!(cluster.outlier, Some(Outlier::default()));
    assert_eq!(cluster.health, None);
}

#[test]
fn everything_is_read_as_written() {
    let config = load("everything.yaml");
    assert_eq!(config.workers, Some(2));
    assert_eq!(config.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(config.access_log, Some(AccessLog::default()));
    let listener = &config.listeners[0];
    assert_eq!(listener.limits.max_frame, ByteSize::mib(32));
    assert_eq!(listener.allow[0].to_string(), "127.0.0.0/8");
    let route = &listener.routes[0];
    assert_eq!(route.matches.service, Some(Matcher::Prefix("com.x.".into())));
    assert_eq!(route.matches.headers[0].value, Matcher::Regex("^a.*".into()));
    let on = [
        RetryOn::Connect,
        RetryOn::Reset,
        RetryOn::Timeout,
        RetryOn::Overloaded,
        RetryOn::Unavailable,
    ];
    assert_eq!(route.retry, Some(Retry { on: on.to_vec(), idempotent: true, ..Retry::default() }));
    assert_eq!(route.headers.set, BTreeMap::from([("k".into(), "v".into())]));
    let fault = route.fault.as_ref().unwrap();
    assert_eq!(fault.delay.unwrap().percent, Percent(1.5));
    assert_eq!(fault.abort.unwrap().status.0, wiremesh::Status::Unavailable);
    assert_eq!(route.hash.as_ref().unwrap().header, "user-id");
    assert_eq!(listener.routes[1].cluster_names().collect::<Vec<_>>(), ["hello", "other"]);
    let cluster = &config.clusters[0];
    assert_eq!(cluster.balance, Balance::RingHash);
    assert_eq!(cluster.endpoints[1].weight, 2);
    assert_eq!(cluster.endpoints[2].address, Address::Unix("/run/y.sock".into()));
    assert_eq!(cluster.health, Some(Health::default()));
}

#[test]
fn what_is_off_stays_off() {
    let mut config = load("minimal.yaml");
    config.clusters[0].keepalive = None;
    config.clusters[0].outlier = None;
    let yaml = config.to_yaml();
    assert!(yaml.contains("keepalive: \"off\"") || yaml.contains("keepalive: off"), "{yaml}");
    assert_eq!(reload(&yaml), config);
}

#[test]
fn the_short_form_says_what_differs_from_the_defaults() {
    let mut config = load("minimal.yaml");
    config.clusters[0].outlier = None;
    config.clusters[0].endpoints[0].weight = 3;
    let yaml = config.to_short_yaml();
    assert_eq!(
        yaml,
        "\
listeners:
- name: bolt
  address: 127.0.0.1:12220
  protocols:
  - bolt
  routes:
  - name: all
    cluster: hello
clusters:
- name: hello
  endpoints:
  - address: 127.0.0.1:12200
    weight: 3
  outlier: \"off\"
"
    );
    assert_eq!(reload(&yaml), config);
}

/// `UPDATE_SCHEMA=1 cargo test -p wiremesh-proxy` writes it anew.
#[test]
fn the_published_schema_is_up_to_date() {
    let file = docs().join("wiremesh.schema.json");
    let schema = Config::json_schema();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&file, &schema).unwrap();
    }
    let published = fs::read_to_string(&file).unwrap();
    assert_eq!(
        published, schema,
        "docs/wiremesh.schema.json is stale; run `UPDATE_SCHEMA=1 cargo test -p wiremesh-proxy`"
    );
}

/// Every path of the value, the parents before what is in them.
fn paths(value: &Value, path: &str, all: &mut Vec<String>) {
    all.push(path.to_owned());
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                paths(item, &format!("{path}/{i}"), all);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                paths(field, &format!("{path}/{name}"), all);
            }
        }
        _ => {}
    }
}

/// Puts every kind of value in every place of a configuration that has everything: whatever is wrong is told where it
/// is, and does not make other things look wrong.
#[test]
fn one_mistake_anywhere_is_told_once_and_in_its_place() {
    let wrong = [json!(null), json!("x"), json!({ "x": null })];
    let whole = serde_json::to_value(load("everything.yaml")).unwrap();
    let mut places = Vec::new();
    paths(&whole, "", &mut places);
    let mut refused = 0;
    for place in &places {
        for wrong in &wrong {
            let mut document = whole.clone();
            *document.pointer_mut(place).unwrap() = wrong.clone();
            let text = serde_json::to_string_pretty(&document).unwrap();
            let Err(report) = Config::parse("f", &text, &|_| None, &bolt()) else { continue };
            refused += 1;
            assert!(
                report.mistakes.iter().all(|m| m.position.is_some()),
                "{place} {wrong}: {report}"
            );
            // A map can lack several fields and have one too many; a name can be used twice.
            assert!(report.mistakes.len() <= 5, "{place} {wrong}: {report}");
        }
    }
    assert!(refused > 400, "{refused} of {}", places.len() * wrong.len());
}
