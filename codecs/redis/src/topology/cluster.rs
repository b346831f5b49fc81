//! Redis Cluster, as each of its nodes tells it.

use std::collections::{BTreeMap, VecDeque};

use wiremesh::topology::{Found, Shard, Shards, Topology};

use super::{host, join, value};
use crate::{Message, Redis, resp::Value, slot::SLOTS};

/// Learns from `CLUSTER SLOTS`, which every version answers, and the same way in RESP2 and RESP3.
///
/// It lists, by ranges of slots, the primary and the replicas that are in step and up. What it leaves out are primaries
/// that serve no slot yet, which may be asked for the keys of one that is on its way to them: `CLUSTER NODES` has those.
/// Whether one is a primary it is asked itself: others may not have heard yet that it has become a replica, and its keys
/// would be counted twice.
///
/// A node that is cut off tells what was; `CLUSTER INFO` shows it, and such a node is believed only when no other can be
/// asked.
#[derive(Default)]
pub(super) struct Cluster {
    doubtful: Option<Told>,
    /// What is to be believed, once those are asked that are said to be primaries without slots.
    held: Option<Told>,
    /// By id, of every node that was asked: whether it is a primary without slots.
    idle: BTreeMap<String, bool>,
}

/// What one node tells.
struct Told {
    shards: Shards,
    /// Whom it takes for primaries without slots.
    idle: Vec<Idle>,
    /// Those of them that are still to be asked, by address.
    unasked: VecDeque<String>,
}

struct Idle {
    id: String,
    address: String,
}

impl Topology<Redis> for Cluster {
    fn questions(&self, _asked: &str) -> Vec<Message> {
        ["SLOTS", "INFO", "NODES"].map(|what| Message::request(["CLUSTER", what])).into()
    }

    fn learn(&mut self, asked: &str, replies: &[Message]) -> Result<Found, String> {
        let nodes = value(replies.get(2)).ok();
        let nodes = nodes.as_ref().and_then(Value::as_str).unwrap_or_default();
        if let Some(own) = lines(nodes).find(|node| node.is("myself")) {
            self.idle.insert(own.id.to_owned(), own.is_idle());
        }
        if let Some(held) = self.held.take() {
            return Ok(self.go_on(held, asked));
        }
        let slots = value(replies.first())?;
        let shards = shards(asked, &slots)?;
        let idle = idle(asked, &slots, nodes);
        let unasked = idle.iter().filter(|node| !self.idle.contains_key(&node.id));
        let unasked = unasked.map(|node| node.address.clone()).collect();
        let told = Told { shards, idle, unasked };
        let state = value(replies.get(1)).ok();
        let state = state.as_ref().and_then(Value::as_str).unwrap_or_default();
        if state.lines().any(|line| line.trim_end() == "cluster_state:fail") {
            self.doubtful.get_or_insert(told);
            return Ok(Found::Ask(Vec::new()));
        }
        if told.unasked.is_empty() {
            return Ok(Found::Shards(self.believed(told)));
        }
        let next = told.unasked.iter().cloned().collect();
        self.held = Some(told);
        Ok(Found::Ask(next))
    }

    fn conclude(&mut self) -> Option<Result<Shards, String>> {
        let told = self.held.take().or_else(|| self.doubtful.take())?;
        Some(Ok(self.believed(told)))
    }
}

impl Cluster {
    /// Another node has answered.
    fn go_on(&mut self, mut told: Told, asked: &str) -> Found {
        // They are asked in this order, and before all others; of those that cannot be asked nothing is heard.
        let at = told.unasked.iter().position(|address| address == asked);
        told.unasked.drain(..at.map_or(told.unasked.len(), |at| at.saturating_add(1)));
        if told.unasked.is_empty() {
            return Found::Shards(self.believed(told));
        }
        self.held = Some(told);
        Found::Ask(Vec::new())
    }

    /// What was told, and of primaries without slots those that say so themselves.
    fn believed(&self, told: Told) -> Shards {
        let Told { mut shards, idle, .. } = told;
        let idle = idle.into_iter().filter(|node| self.idle.get(&node.id) == Some(&true));
        let idle = idle.map(|node| Shard { primary: Some(node.address), replicas: Vec::new() });
        shards.shards.extend(idle);
        shards
    }
}

/// The answer to `CLUSTER SLOTS`: `[first, last, [host, port, id, more], ...]` for each range, the primary first.
fn shards(asked: &str, answer: &Value<'_>) -> Result<Shards, String> {
    let malformed = || "its answer to CLUSTER SLOTS is not understood".to_owned();
    let mut ranges = Vec::new();
    for range in answer.as_array().ok_or_else(malformed)? {
        let [first, last, nodes @ ..] = range.as_array().ok_or_else(malformed)? else {
            return Err(malformed());
        };
        let slot = |value: &Value<'_>| value.as_integer().and_then(|n| usize::try_from(n).ok());
        let (first, last) = slot(first).zip(slot(last)).ok_or_else(malformed)?;
        if first > last || last >= usize::from(SLOTS) {
            return Err(malformed());
        }
        ranges.push((first, last, nodes));
    }
    if ranges.is_empty() {
        return Err("it knows of no slots that are served".to_owned());
    }
    // Whoever is asked, shards are in the order of their slots.
    ranges.sort_unstable_by_key(|(first, ..)| *first);
    let mut all = Shards { shards: Vec::new(), slots: vec![None; usize::from(SLOTS)] };
    for (first, last, nodes) in ranges {
        let [primary, replicas @ ..] = nodes else { continue };
        // A node whose address nobody knows serves nobody.
        let Some(primary) = address(asked, primary) else { continue };
        let known = all.shards.iter().position(|it| it.primary.as_ref() == Some(&primary));
        let index = known.unwrap_or(all.shards.len());
        if known.is_none() {
            let replicas = replicas.iter().filter_map(|node| address(asked, node)).collect();
            all.shards.push(Shard { primary: Some(primary), replicas });
        }
        let index = u16::try_from(index).map_err(|_| malformed())?;
        all.slots.get_mut(first..=last).unwrap_or_default().fill(Some(index));
    }
    for shard in &mut all.shards {
        shard.replicas.sort_unstable();
    }
    Ok(all)
}

/// A line of the answer to `CLUSTER NODES`: `id ip:port@bus,name flags primary sent received epoch link slots...`.
struct Node<'a> {
    id: &'a str,
    at: &'a str,
    flags: &'a str,
    /// Whether it serves slots.
    serves: bool,
}

impl Node<'_> {
    fn is(&self, flag: &str) -> bool {
        self.flags.split(',').any(|it| it == flag)
    }

    /// Whether it is a primary without slots, and not known to be down.
    fn is_idle(&self) -> bool {
        let other = ["slave", "fail", "fail?", "handshake", "noaddr"];
        !self.serves && !other.into_iter().any(|flag| self.is(flag))
    }
}

fn lines(nodes: &str) -> impl Iterator<Item = Node<'_>> {
    nodes.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (id, at, flags) = (words.next()?, words.next()?, words.next()?);
        // In brackets: slots on their way.
        let serves = words.skip(5).any(|slots| !slots.starts_with('['));
        Some(Node { id, at, flags, serves })
    })
}

/// The primaries in the answer to `CLUSTER NODES` that serve no slots. They are called like those in the answer to
/// `CLUSTER SLOTS`.
fn idle(asked: &str, slots: &Value<'_>, nodes: &str) -> Vec<Idle> {
    let ranges = slots.as_array().unwrap_or_default().iter().filter_map(Value::as_array);
    let listed = ranges.flatten().filter_map(Value::as_array);
    let listed: Vec<&[Value<'_>]> = listed.collect();
    let known =
        |id: &str| listed.iter().any(|node| node.get(2).and_then(Value::as_str) == Some(id));
    let unnamed = listed.iter().any(|node| node.first() == Some(&Value::Null));
    let by_name =
        listed.iter().any(|node| node.get(3).is_some_and(|more| more.get("ip").is_some()));
    let mut idle: Vec<Idle> = lines(nodes)
        .filter(|node| node.is_idle() && !known(node.id))
        .filter_map(|node| {
            let (at, more) = node.at.split_once('@').unwrap_or((node.at, ""));
            let (ip, port) = at.rsplit_once(':')?;
            let name = more.split(',').nth(1).filter(|name| by_name && !name.is_empty());
            let ip = if unnamed || ip.is_empty() { host(asked) } else { ip };
            Some(Idle { id: node.id.to_owned(), address: join(name.unwrap_or(ip), port) })
        })
        .collect();
    idle.sort_unstable_by(|one, two| one.address.cmp(&two.address));
    idle
}

/// Where a node is, as it wants to be found: by address or by name, as `cluster-preferred-endpoint-type` says. Null or
/// empty: at the host that was asked. `?`: it has no name, so by its address.
fn address(asked: &str, node: &Value<'_>) -> Option<String> {
    let [at, port, rest @ ..] = node.as_array()? else { return None };
    let port = port.as_integer().filter(|port| *port != 0)?;
    let at = match at.as_str() {
        None | Some("") => host(asked),
        Some("?") => rest.get(1)?.get("ip")?.as_str().filter(|ip| !ip.is_empty())?,
        Some(at) => at,
    };
    Some(join(at, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{decoded, recorded};

    const OK: &[u8] = b"+cluster_state:ok\r\n";
    const FAIL: &[u8] = b"$36\r\ncluster_state:fail\r\ncluster_size:3\r\n\r\n";

    fn learnt(reply: &str) -> Shards {
        let replies = [recorded(reply), decoded(OK)];
        match Cluster::default().learn("127.0.0.1:27400", &replies) {
            Ok(Found::Shards(shards)) => shards,
            other => panic!("{other:?}"),
        }
    }

    fn shard(primary: &str, replicas: &[&str]) -> Shard {
        let replicas = replicas.iter().map(|it| (*it).to_owned()).collect();
        Shard { primary: Some(primary.to_owned()), replicas }
    }

    #[test]
    fn three_shards() {
        for version in ["resp2", "resp3"] {
            let learnt = learnt(&format!("cluster-slots.{version}"));
            let shards = [
                shard("127.0.0.1:27400", &["127.0.0.1:27405"]),
                shard("127.0.0.1:27401", &["127.0.0.1:27403"]),
                shard("127.0.0.1:27402", &["127.0.0.1:27404"]),
            ];
            assert_eq!(learnt.shards, shards);
            let slots = [0, 5460, 5461, 10922, 10923, 16383].map(|slot| learnt.slots[slot]);
            assert_eq!(slots, [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
        }
    }

    #[test]
    fn a_shard_of_several_ranges_and_a_slot_of_nobody() {
        for version in ["resp2", "resp3"] {
            let learnt = learnt(&format!("cluster-slots-hole.{version}"));
            assert_eq!(learnt.shards.len(), 3);
            let slots = [5461, 5648, 5649, 5650, 10922].map(|slot| learnt.slots[slot]);
            assert_eq!(slots, [Some(1), Some(1), None, Some(1), Some(1)]);
        }
    }

    #[test]
    fn nodes_by_name_and_one_that_has_none() {
        for version in ["resp2", "resp3"] {
            let learnt = learnt(&format!("cluster-slots-hostnames.{version}"));
            let shards = [
                shard("node27400.example:27400", &["node27405.example:27405"]),
                shard("node27401.example:27401", &["node27403.example:27403"]),
                shard("127.0.0.1:27402", &["node27404.example:27404"]),
            ];
            assert_eq!(learnt.shards, shards);
        }
    }

    #[test]
    fn nodes_that_are_where_they_were_asked() {
        for version in ["resp2", "resp3"] {
            let reply = recorded(&format!("cluster-slots-unknown-endpoint.{version}"));
            let found = Cluster::default().learn("[fd00::7]:1", &[reply, decoded(OK)]);
            let Ok(Found::Shards(learnt)) = found else { panic!("{found:?}") };
            assert_eq!(learnt.shards[0], shard("[fd00::7]:27400", &["[fd00::7]:27405"]));
        }
    }

    #[test]
    fn a_primary_that_was_replaced() {
        for version in ["resp2", "resp3"] {
            let before = learnt(&format!("cluster-slots-primary-down.{version}"));
            assert_eq!(before.shards[2].primary.as_deref(), Some("127.0.0.1:27402"));
            let after = learnt(&format!("cluster-slots-failed-over.{version}"));
            assert_eq!(after.shards[2], shard("127.0.0.1:27404", &[]));
            assert_eq!(after.slots, before.slots);
        }
    }

    /// What the first node tells of a cluster with a primary that has no slots, and that one's answers if this is what it
    /// makes of its own line.
    fn with_idle(names: &str, own: impl Fn(&str) -> String) -> [[Message; 3]; 2] {
        let [slots, nodes] =
            ["slots", "nodes"].map(|it| recorded(&format!("cluster-{it}-empty-node{names}.resp2")));
        let text = nodes.value().as_str().expect("text").replace("myself,", "");
        let line = |line: &str| {
            let own = line.contains("27406@").then(|| own(line));
            own.unwrap_or_else(|| line.to_owned())
        };
        let of_idle = text.lines().map(line).collect::<Vec<_>>().join("\n");
        let of_idle = Message::bulk(of_idle.as_bytes());
        [[slots.clone(), decoded(OK), nodes], [slots, decoded(OK), of_idle]]
    }

    fn primary_line(line: &str) -> String {
        line.replace(" master ", " myself,master ")
    }

    #[test]
    fn a_primary_that_serves_nothing_yet() {
        for (names, primary) in [("", "127.0.0.1:27406"), ("-hostnames", "node27406.example:27406")]
        {
            let [first, idle] = with_idle(names, primary_line);
            let mut machine = Cluster::default();
            let found = machine.learn("127.0.0.1:27400", &first);
            assert_eq!(found, Ok(Found::Ask(vec![primary.to_owned()])), "not the failed one");
            let found = machine.learn(primary, &idle);
            let Ok(Found::Shards(learnt)) = found else { panic!("{found:?}") };
            assert_eq!(learnt.shards.len(), 4);
            assert_eq!(learnt.shards[3], shard(primary, &[]));
            assert!(learnt.slots.iter().all(|it| it.is_some_and(|shard| shard < 3)));
            // Of itself it knows without being asked again.
            let found = Cluster::default().learn(primary, &idle);
            assert!(matches!(&found, Ok(Found::Shards(it)) if it.shards.len() == 4), "{found:?}");
        }
    }

    #[test]
    fn who_is_said_to_be_a_primary_without_slots_says_so_itself_or_is_none() {
        let (asked, said) = ("127.0.0.1:27400", "127.0.0.1:27406");
        // It became a replica, or has lost its slots and does not know yet: its keys are those of another.
        let replica = |line: &str| line.replace(" master ", " myself,slave ");
        let before = |line: &str| primary_line(line) + " 0-5460";
        for [first, idle] in [with_idle("", replica), with_idle("", before)] {
            let mut machine = Cluster::default();
            let found = machine.learn(asked, &first);
            assert_eq!(found, Ok(Found::Ask(vec![said.to_owned()])));
            let found = machine.learn(said, &idle);
            assert!(matches!(&found, Ok(Found::Shards(it)) if it.shards.len() == 3), "{found:?}");
        }
        // It cannot be asked: the next node is not asked for anything else, or there is none.
        let [first, _] = with_idle("", primary_line);
        let mut machine = Cluster::default();
        assert!(matches!(machine.learn(asked, &first), Ok(Found::Ask(_))));
        let found = machine.learn("127.0.0.1:27401", &[]);
        assert!(matches!(&found, Ok(Found::Shards(it)) if it.shards.len() == 3), "{found:?}");
        assert!(matches!(machine.learn(asked, &first), Ok(Found::Ask(_))));
        let last = machine.conclude().expect("something").expect("a topology");
        assert_eq!(last.shards.len(), 3);
    }

    #[test]
    fn a_node_that_is_cut_off_is_believed_last() {
        let cut_off = [recorded("cluster-slots-primary-down.resp2"), decoded(FAIL)];
        let mut machine = Cluster::default();
        assert_eq!(machine.learn("127.0.0.1:27400", &cut_off), Ok(Found::Ask(vec![])));
        let whole = [recorded("cluster-slots-failed-over.resp2"), decoded(OK)];
        let found = machine.learn("127.0.0.1:27401", &whole);
        assert!(matches!(found, Ok(Found::Shards(it)) if it.shards[2].replicas.is_empty()));

        let mut machine = Cluster::default();
        machine.learn("127.0.0.1:27400", &cut_off).expect("understood");
        let last = machine.conclude().expect("something").expect("a topology");
        assert_eq!(last.shards[2].primary.as_deref(), Some("127.0.0.1:27402"));
    }

    #[test]
    fn what_is_no_cluster() {
        let learn = |reply| Cluster::default().learn("a:1", &[reply, decoded(OK)]);
        let disabled = learn(recorded("cluster-disabled.resp2"));
        assert_eq!(disabled, Err("ERR This instance has cluster support disabled".to_owned()));
        assert_eq!(
            learn(decoded(b"*0\r\n")),
            Err("it knows of no slots that are served".to_owned())
        );
        let lies: [&[u8]; 6] = [
            b"+OK\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n*1\r\n:1\r\n",
            b"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n+a\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n+a\r\n:1\r\n",
            b"*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n+a\r\n:1\r\n",
        ];
        for lie in lies {
            let told = "its answer to CLUSTER SLOTS is not understood".to_owned();
            assert_eq!(learn(decoded(lie)), Err(told), "{lie:?}");
        }
    }
}
