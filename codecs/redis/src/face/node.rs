//! The one node that clients are shown.

use sha2::{Digest, Sha256};

use super::Place;
use crate::{
    Message,
    command::Command,
    resp::Version,
    slot::{SLOTS, slot},
};

/// The one node that clients are shown: it serves all slots, and has no replicas.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    place: Place,
}

/// What is said to commands that change nodes.
const ADMIN: &str = "ERR wiremesh: clients see one node, the proxy, which cannot be changed: connect to a node that is meant";

/// What is said to a request whose slot is on another server than the only one that the proxy knows.
pub(crate) const NOT_LEARNT: &str =
    "ERR wiremesh: the slot is on another server, and the proxy is not configured for a cluster";

/// What is said where there is no address that clients could be told.
pub(crate) const NOWHERE: &str =
    "ERR wiremesh: clients cannot be told an address: set the option announce";

/// The bus of a node is this far above its port.
const BUS: u16 = 10_000;

impl Node {
    pub(super) fn at(place: Place) -> Self {
        Self { place }
    }

    /// What the node says to a command of the group `cluster`; `None`: a server says it.
    pub(crate) fn answer(
        &self,
        command: &Command,
        request: &Message,
        version: Version,
    ) -> Option<Message> {
        let name = command.name.strip_prefix("cluster|")?;
        let argument = request.arg(2).unwrap_or_default();
        Some(match name {
            "slots" => self.slots(version),
            "shards" => self.shards(version),
            "nodes" => Message::verbatim(&format!("{}\n", self.line()), version),
            "info" => Message::verbatim(&info(), version),
            "myid" => text(&self.id()),
            "myshardid" => text(&self.hashed("shard")),
            "links" => Message::array([]),
            "keyslot" => Message::integer(slot(argument).into()),
            "replicas" | "slaves" | "count-failure-reports" if argument != self.id().as_bytes() => {
                let id = String::from_utf8_lossy(argument);
                Message::error(&format!("ERR Unknown node {id}"))
            }
            "replicas" | "slaves" => Message::array([]),
            "count-failure-reports" => Message::integer(0),
            "help" | "countkeysinslot" | "getkeysinslot" => return None,
            _ => Message::error(ADMIN),
        })
    }

    fn slots(&self, version: Version) -> Message {
        let node = Message::array([
            text(&self.place.host),
            Message::integer(self.place.port.into()),
            text(&self.id()),
            Message::map([], version),
        ]);
        let last = Message::integer(i64::from(SLOTS).saturating_sub(1));
        Message::array([Message::array([Message::integer(0), last, node])])
    }

    fn shards(&self, version: Version) -> Message {
        let Place { host, port } = &self.place;
        let named = (!self.has_address()).then(|| ("hostname", text(host)));
        let about = [
            ("id", text(&self.id())),
            ("port", Message::integer((*port).into())),
            ("ip", text(host)),
            ("endpoint", text(host)),
        ];
        let rest = [
            ("role", text("master")),
            ("replication-offset", Message::integer(0)),
            ("health", text("online")),
        ];
        let about = about.into_iter().chain(named).chain(rest);
        let node = Message::map(about.map(|(key, value)| (text(key), value)), version);
        let last = Message::integer(i64::from(SLOTS).saturating_sub(1));
        let slots = Message::array([Message::integer(0), last]);
        let shard = [("slots", slots), ("nodes", Message::array([node]))];
        let shard = shard.map(|(key, value)| (text(key), value));
        Message::array([Message::map(shard, version)])
    }

    /// As in `CLUSTER NODES`: id, where it is, flags, no primary, never pinged or heard of, epoch, link, slots.
    fn line(&self) -> String {
        let Place { host, port } = &self.place;
        let bus = port.checked_add(BUS).unwrap_or(0);
        let name = if self.has_address() { String::new() } else { format!(",{host}") };
        let (id, last) = (self.id(), SLOTS.saturating_sub(1));
        format!("{id} {host}:{port}@{bus}{name} myself,master - 0 0 0 connected 0-{last}")
    }

    /// The same for the same place, whichever proxy is asked.
    fn id(&self) -> String {
        self.hashed("node")
    }

    fn hashed(&self, what: &str) -> String {
        let Place { host, port } = &self.place;
        let digest = Sha256::digest(format!("wiremesh {what} {host} {port}"));
        digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }

    fn has_address(&self) -> bool {
        self.place.host.parse::<std::net::IpAddr>().is_ok()
    }
}

fn info() -> String {
    let all = SLOTS.to_string();
    let fields = [
        ("cluster_state", "ok"),
        ("cluster_slots_assigned", &all),
        ("cluster_slots_ok", &all),
        ("cluster_slots_pfail", "0"),
        ("cluster_slots_fail", "0"),
        ("cluster_known_nodes", "1"),
        ("cluster_size", "1"),
        ("cluster_current_epoch", "0"),
        ("cluster_my_epoch", "0"),
        ("cluster_stats_messages_sent", "0"),
        ("cluster_stats_messages_received", "0"),
        ("total_cluster_links_buffer_limit_exceeded", "0"),
    ];
    fields.map(|(name, value)| format!("{name}:{value}\r\n")).concat()
}

fn text(text: &str) -> Message {
    Message::bulk(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use wiremesh::correlation::View;

    use super::*;
    use crate::face::Face;

    fn face(announce: Option<&str>) -> Face {
        let mut face = Face::default();
        face.set("transparent").expect("a face");
        announce.map_or(Ok(()), |place| face.announce(place)).expect("a place");
        face
    }

    fn node(announce: Option<&str>, local: &str) -> Option<Node> {
        let view = View { client: 1, local, shards: 3, nodes: 6, ..View::default() };
        face(announce).node(&view)
    }

    fn answer(node: &Node, line: &str, version: Version) -> Option<String> {
        let request = Message::request(line.split(' '));
        let answer = node.answer(request.command().expect(line), &request, version)?;
        Some(String::from_utf8(answer.bytes().to_vec()).expect("text"))
    }

    /// A server of version 7.0.15, the one node of its cluster, but for its id.
    #[test]
    fn the_node_answers_like_a_server_that_has_all_slots() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/redis/face");
        let recorded = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
        let whole = recorded("cluster-myid.resp2");
        let id = whole.lines().nth(1).expect("an id");
        let node = node(None, "127.0.0.1:27911").expect("a node");
        for (version, ending) in [(Version::Resp2, "resp2"), (Version::Resp3, "resp3")] {
            for what in ["slots", "shards", "nodes", "info", "links", "myid"] {
                let theirs = recorded(&format!("cluster-{what}.{ending}")).replace(id, &node.id());
                let ours = answer(&node, &format!("CLUSTER {what}"), version);
                assert_eq!(ours.as_deref(), Some(&*theirs), "{what} in {ending}");
            }
        }
    }

    #[test]
    fn what_is_asked_of_one_node() {
        let node = node(Some("cache.example:6379"), "10.0.0.1:7000").expect("a node");
        let id = node.id();
        assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for (line, says) in [
            ("CLUSTER KEYSLOT foo", ":12182\r\n".to_owned()),
            ("CLUSTER KEYSLOT {foo}bar", ":12182\r\n".to_owned()),
            (&format!("CLUSTER REPLICAS {id}"), "*0\r\n".to_owned()),
            (&format!("CLUSTER COUNT-FAILURE-REPORTS {id}"), ":0\r\n".to_owned()),
            ("CLUSTER SLAVES x", "-ERR Unknown node x\r\n".to_owned()),
            ("CLUSTER COUNT-FAILURE-REPORTS x", "-ERR Unknown node x\r\n".to_owned()),
            ("CLUSTER BUMPEPOCH", format!("-{ADMIN}\r\n")),
            ("CLUSTER MEET 10.0.0.2 6379", format!("-{ADMIN}\r\n")),
            ("CLUSTER SETSLOT 1 STABLE", format!("-{ADMIN}\r\n")),
        ] {
            assert_eq!(answer(&node, line, Version::Resp2), Some(says), "{line}");
        }
        for line in ["CLUSTER COUNTKEYSINSLOT 1", "CLUSTER GETKEYSINSLOT 1 1", "CLUSTER HELP"] {
            assert_eq!(answer(&node, line, Version::Resp2), None, "{line}");
        }
        let nodes = answer(&node, "CLUSTER NODES", Version::Resp2).expect("an answer");
        let named = "cache.example:6379@16379,cache.example myself,master";
        assert!(nodes.contains(&format!("{id} {named}")), "{nodes}");
        let shards = answer(&node, "CLUSTER SHARDS", Version::Resp3).expect("an answer");
        assert!(shards.contains("$8\r\nhostname\r\n$13\r\ncache.example\r\n"), "{shards}");
    }

    #[test]
    fn the_node_is_announced_or_where_the_client_has_connected_to() {
        let at = |announce, local| node(announce, local).map(|node| (node.id(), node.place));
        let id = |announce, local| node(announce, local).map(|node| node.id());
        assert_eq!(at(None, "10.0.0.1:7000"), at(Some("10.0.0.1:7000"), "10.0.0.9:1"));
        assert_eq!(at(None, "[::ffff:10.0.0.1]:7000"), at(None, "10.0.0.1:7000"));
        assert_ne!(id(None, "10.0.0.1:7000"), id(None, "10.0.0.1:7001"));
        assert_eq!(at(None, "unix"), None);
        assert!(at(Some("[::1]:7000"), "unix").is_some());
        // It must not change from one version of the proxy to the next.
        let known = "23628a27f21286e38d9c4568eb495410f8f82e2b";
        assert_eq!(id(None, "127.0.0.1:6379").as_deref(), Some(known));
    }
}
