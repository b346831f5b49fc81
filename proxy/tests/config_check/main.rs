//! What `check` says of configurations that are wrong: every mistake, each where it is.

mod clusters;
mod document;
mod listeners;
mod routes;
mod users;

use std::sync::Arc;

use wiremesh::{HeaderSupport, OptionError, topology::TopologyError};
use wiremesh_proxy::config::{Config, Copies, ProtocolInfo};

fn protocols() -> [ProtocolInfo; 6] {
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
        guarded(),
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

/// Asks its clients who they are, if it has `ask`; else the server does.
fn guarded() -> ProtocolInfo {
    let mut guarded = plain("guarded", HeaderSupport::None, true);
    guarded.check_option = Arc::new(|_, _| Ok(()));
    guarded.copies = Copies::Reads;
    guarded.end_to_end = Arc::new(|options| !options.contains_key("ask"));
    guarded.check_users = Arc::new(|options, users| {
        let value = |text: String| Err(OptionError::Value(text.into()));
        match users {
            _ if !options.contains_key("ask") && users.is_empty() => Ok(()),
            _ if !options.contains_key("ask") => Err(OptionError::Unknown("set ask")),
            [] => value("list one".into()),
            [_, _, _, ..] => value("three are too many".into()),
            _ => match users.iter().find(|user| user.plugin.is_some()) {
                Some(user) => value(format!("{:?} has a plugin", user.name)),
                None => Ok(()),
            },
        }
    });
    guarded
}

fn plain(name: &'static str, headers: HeaderSupport, server_first: bool) -> ProtocolInfo {
    ProtocolInfo {
        digest_of: |_| None,
        name,
        correlation: "in order",
        headers,
        heartbeat: false,
        server_first,
        starts_tls: false,
        end_to_end: Arc::new(|_| false),
        copies: Copies::All,
        check_option: Arc::new(|_, _| Err(OptionError::Unknown("this protocol has none"))),
        check_users: Arc::new(|_, users| match users {
            [] => Ok(()),
            _ => Err(OptionError::Unknown("there is nobody")),
        }),
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
