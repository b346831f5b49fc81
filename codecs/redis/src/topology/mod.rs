//! Which server holds what: Redis Cluster, a primary with replicas, and what Sentinel knows of them.
//!
//! | kind | endpoints of the configuration | asked |
//! |---|---|---|
//! | `cluster` | some nodes | `CLUSTER SLOTS`, `CLUSTER INFO` and `CLUSTER NODES`, of one and of primaries without slots |
//! | `replicated` | primary and replicas, in any order | `INFO replication`, of all |
//! | `sentinel` | the sentinels | `SENTINEL GET-MASTER-ADDR-BY-NAME` and `SENTINEL REPLICAS`, of one; `INFO replication`, of the primary |
//!
//! Options: `sentinel` needs `master`, the name that the sentinels know the primary by, and takes `user` and `password`
//! where they ask for them. The others have none.

mod cluster;
mod info;
mod redirect;
mod replicated;
mod sentinel;

use wiremesh::{
    OptionError,
    topology::{Topology, TopologyError, TopologyOptions},
};

use crate::{Message, Redis, resp::Value};

pub(crate) use redirect::redirect;

/// A machine that learns the topology of this kind.
pub(crate) fn of(
    kind: &str,
    options: &TopologyOptions,
) -> Result<Box<dyn Topology<Redis>>, TopologyError> {
    match kind {
        "cluster" => no_options(options).map(|()| Box::new(cluster::Cluster::default()) as _),
        "replicated" => {
            no_options(options).map(|()| Box::new(replicated::Replicated::default()) as _)
        }
        "sentinel" => sentinel::Sentinel::new(options).map(|machine| Box::new(machine) as _),
        _ => Err(TopologyError::Kind(&["cluster", "replicated", "sentinel"])),
    }
}

fn no_options(options: &TopologyOptions) -> Result<(), TopologyError> {
    match options.keys().next() {
        None => Ok(()),
        Some(name) => {
            let error = OptionError::Unknown("this topology has none");
            Err(TopologyError::Option(name.clone(), error))
        }
    }
}

/// `host:port`, with an IPv6 address in brackets.
fn join(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The host of a `host:port`.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What a reply says, unless it is an error.
fn value(reply: Option<&Message>) -> Result<Value<'_>, String> {
    match reply.map(Message::value) {
        Some(Value::Error(text)) => Err(String::from_utf8_lossy(text).into_owned()),
        Some(value) => Ok(value),
        None => Err("no answer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::BytesMut;
    use wiremesh::{Limits, Peer, Protocol, correlation::Pipelined};

    use super::*;
    use crate::Progress;

    /// A reply as it was recorded.
    pub(super) fn recorded(name: &str) -> Message {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/redis/topology");
        decoded(&std::fs::read(root.join(name)).expect(name))
    }

    /// A reply of these bytes.
    pub(super) fn decoded(bytes: &[u8]) -> Message {
        let (mut input, mut state) = (BytesMut::from(bytes), Progress::default());
        let frame =
            Redis::default().decode(Peer::Upstream, &mut state, &Limits::default(), &mut input);
        assert!(frame.is_ok() && input.is_empty(), "{bytes:?}");
        frame.expect("well-formed").expect("complete")
    }

    #[test]
    fn kinds_and_their_options() {
        let none = TopologyOptions::new();
        let redis = Redis::default();
        for kind in ["cluster", "replicated"] {
            assert!(redis.topology(kind, &none).is_ok());
            let some = [("master".to_owned(), "m".to_owned())].into();
            let error = redis.topology(kind, &some).err();
            assert!(matches!(error, Some(TopologyError::Option(name, _)) if name == "master"));
        }
        let error = redis.topology("ring", &none).err();
        let known = &["cluster", "replicated", "sentinel"];
        assert_eq!(error, Some(TopologyError::Kind(known)));
    }

    #[test]
    fn addresses() {
        assert_eq!(join("127.0.0.1", 1), "127.0.0.1:1");
        assert_eq!(join("::1", "1"), "[::1]:1");
        assert_eq!(join("[::1]", 1), "[::1]:1");
        assert_eq!(host("[::1]:6379"), "[::1]");
        assert_eq!(host("a.b:6379"), "a.b");
    }
}
