//! How commands are spread over the shards of a cluster.
//!
//! A command with keys goes to the shard of their slot, and all its keys must be of one slot, but for the six commands
//! that may be taken apart (`DEL`, `EXISTS`, `MGET`, `MSET`, `TOUCH`, `UNLINK`). A command without keys goes where the
//! command table's policy says: to every shard or node, the answers [made one](gather), or to any shard.

mod apart;
mod gather;
mod scan;

use std::ops::ControlFlow;

use wiremesh::correlation::{Access, Part, Step, Target, View};

pub(crate) use self::apart::{CROSSCLUSTER, across, is_across};
use self::gather::{Fold, Gathered};
use crate::{
    Message, Redis,
    command::{Begin, Command, Find, Flags, KeySpec, RequestPolicy, ResponsePolicy},
    resp::Version,
    slot::slot,
};

/// Where a command's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It names none.
    Anywhere,
    /// All are of this slot.
    Slot(u16),
    /// They are of several.
    Several,
}

/// What the server says where keys are of several slots.
pub(crate) const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// What is said to a command that is [of one server](of_one_server).
pub(crate) const ONE_SERVER: &str =
    "ERR wiremesh: this is about one server, and here are many: connect to the one that is meant";

/// What a server says that is of no cluster.
pub(crate) const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

/// Where the keys of a request are, or its sharded channels.
pub(crate) fn place(request: &Message) -> Place {
    let Some(command) = request.command() else { return Place::Anywhere };
    if command.keys.is_empty() {
        return Place::Anywhere;
    }
    // Most commands have one key, in one place.
    if let [KeySpec { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, .. }] =
        command.keys
        && let Some(key) = request.arg(*at)
    {
        return Place::Slot(slot(key));
    }
    let args: Vec<_> = request.args().collect();
    let mut place = Place::Anywhere;
    let mut add = |key: usize| {
        let Some(key) = args.get(key) else { return ControlFlow::Continue(()) };
        let found = Place::Slot(slot(key));
        match place {
            Place::Anywhere => place = found,
            known if known == found => {}
            _ => {
                place = Place::Several;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    // What is wrong with the arguments the server says best, any server.
    let _ = command.visit_keys(args.len(), |n| args.get(n).copied(), |key| add(key.index));
    let _ = command.shard_channels(args.len()).try_for_each(&mut add);
    place
}

/// Whether a replica may answer.
pub(crate) fn access(command: &Command) -> Access {
    let reads = command.flags.contains(Flags::READONLY)
        && !command.flags.intersects(Flags::WRITE.or(Flags::MAY_REPLICATE));
    if reads { Access::Read } else { Access::Write }
}

/// What becomes of a request of a client's that has no connection of its own.
pub(crate) fn spread(view: &View<'_>, version: Version, request: Message) -> Step<Redis> {
    let Some(command) = request.command().filter(|command| command.takes(request.argc())) else {
        return Step::Shared(request, Target::Any);
    };
    match place(&request) {
        Place::Slot(slot) => Step::Shared(request, Target::Slot(slot, access(command))),
        Place::Several if apart::is_divisible(command) => apart::by_slot(command, &request),
        Place::Several => Step::Answer(Message::error(CROSSSLOT)),
        Place::Anywhere => keyless(view, version, command, request),
    }
}

/// What becomes of a copy of a request, or of a part of one, in another cluster.
pub(crate) fn replan(
    view: &View<'_>,
    version: Version,
    request: Message,
    target: Target,
) -> Step<Redis> {
    let command = request.command();
    // Its cursor means something in its own cluster only.
    if command.is_some_and(|command| command.name == "scan") {
        return Step::Nothing;
    }
    // Of parts that are all alike, one is spread anew.
    if matches!(target, Target::Index(1..) | Target::Shard(1.., _))
        && place(&request) == Place::Anywhere
    {
        return Step::Nothing;
    }
    if view.shards == 0 {
        let access = command.map_or(Access::Write, access);
        return Step::Shared(request, Target::Shard(0, access));
    }
    spread(view, version, request)
}

/// A command that names no key.
fn keyless(
    view: &View<'_>,
    version: Version,
    command: &'static Command,
    request: Message,
) -> Step<Redis> {
    if command.name.starts_with("cluster") {
        return Step::Answer(Message::error(NO_CLUSTER));
    }
    if command.name == "scan" {
        return scan::scan(view, &request);
    }
    if of_one_server(command.name) {
        return Step::Answer(Message::error(ONE_SERVER));
    }
    // What is said in a channel stays in its order if it goes by way of one node.
    if command.name == "publish"
        && let Some(channel) = request.arg(1)
    {
        let target = Target::Slot(slot(channel), Access::Write);
        return Step::Shared(request, target);
    }
    if let Some(fold) = everywhere(command.name) {
        let parts = (0..view.nodes).map(Target::Index);
        let part = |target| Part::new(request.clone(), target);
        let parts = parts.map(part).collect();
        return Step::Parts(parts, Box::new(Gathered::new(fold, version)));
    }
    let Some(fold) = fold(command) else { return Step::Shared(request, Target::Any) };
    let part = |target| Part::new(request.clone(), target);
    let parts = targets(command, view.shards, view.nodes).map(part);
    Step::Parts(parts.collect(), Box::new(Gathered::new(fold, version)))
}

/// Whether a command without keys is about all shards or nodes: one of them would give half an answer, or do half of it.
pub(crate) fn is_of_all(command: &'static Command, request: &Message) -> bool {
    command.name != "ping"
        && matches!(place(request), Place::Anywhere)
        && (command.name == "scan" || everywhere(command.name).is_some() || fold(command).is_some())
}

/// How the answers to a command without keys become one; `None`: it is asked once.
fn fold(command: &Command) -> Option<Fold> {
    match (command.request_policy, command.response_policy) {
        // Of several answers that differ by nature, one is as good as another.
        (None | Some(RequestPolicy::Special | RequestPolicy::MultiShard), _) => None,
        (_, Some(ResponsePolicy::OneSucceeded)) => Some(Fold::OneSucceeded),
        (_, Some(ResponsePolicy::AllSucceeded)) => Some(Fold::AllSucceeded),
        (_, Some(ResponsePolicy::AggLogicalAnd)) => Some(Fold::And),
        (_, Some(ResponsePolicy::AggLogicalOr)) => Some(Fold::Or),
        (_, Some(ResponsePolicy::AggMin)) => Some(Fold::Min),
        (_, Some(ResponsePolicy::AggMax)) => Some(Fold::Max),
        (_, Some(ResponsePolicy::AggSum)) => Some(Fold::Sum),
        (_, None) => Some(Fold::Concat),
        (_, Some(ResponsePolicy::Special)) => special(command.name),
    }
}

/// Where the parts of a command without keys go in a cluster of so many shards and nodes.
fn targets(command: &Command, shards: usize, nodes: usize) -> impl Iterator<Item = Target> {
    let to_nodes = command.request_policy == Some(RequestPolicy::AllNodes);
    let count = if to_nodes { nodes } else { shards };
    (0..count).map(move |n| match to_nodes {
        true => Target::Index(n),
        false => Target::Shard(n, Access::Write),
    })
}

/// Whether a command changes or shows one server, so that it would be half done on any, and cannot be done on all.
pub(crate) fn of_one_server(name: &str) -> bool {
    matches!(
        name,
        "replicaof"
            | "slaveof"
            | "failover"
            | "shutdown"
            | "debug"
            | "swapdb"
            | "monitor"
            | "wait"
            | "waitaof"
            | "client|list"
            | "client|unblock"
            // What is said of one connection would not hold for those to other shards.
            | "client|tracking" | "client|caching" | "client|reply" | "client|no-evict" | "client|no-touch"
            | "move"
    )
}

/// What is said to a command about all shards from a client that has a connection to one.
pub(crate) const OF_ALL: &str = "ERR wiremesh: this is about all shards, and the client's transaction or subscriptions are on one";

/// How the answers of all nodes become one, of commands that Redis 7.0 names no policy for, and that would do half of
/// what they say if they went to one node.
fn everywhere(name: &str) -> Option<Fold> {
    Some(match name {
        "acl|setuser" | "acl|deluser" | "acl|load" | "acl|save" => Fold::AllSucceeded,
        "config|resetstat" | "config|rewrite" => Fold::AllSucceeded,
        "client|pause" | "client|unpause" => Fold::AllSucceeded,
        "module|load" | "module|loadex" | "module|unload" => Fold::AllSucceeded,
        "save" | "bgsave" | "bgrewriteaof" => Fold::AllSucceeded,
        // Each node tells of the clients that are connected to it.
        "pubsub|channels" | "pubsub|shardchannels" => Fold::Union,
        "pubsub|numsub" | "pubsub|shardnumsub" | "pubsub|numpat" => Fold::Sum,
        _ => return None,
    })
}

/// How the answers to a command become one whose policy says no more than that it is special.
fn special(name: &str) -> Option<Fold> {
    match name {
        // Any key of any shard.
        "randomkey" => Some(Fold::FirstValue),
        "slowlog|get" => Some(Fold::Concat),
        // The rest speaks of one server (INFO, MEMORY, LATENCY, FUNCTION STATS): that of any shard.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View<'static> {
        View { client: 1, shards: 3, nodes: 6, ..View::default() }
    }

    fn request(line: &str) -> Message {
        Message::request(line.split(' '))
    }

    fn spread(line: &str) -> Step<Redis> {
        super::spread(&view(), Version::Resp2, request(line))
    }

    fn text(message: &Message) -> String {
        message.args().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ")
    }

    /// Gives each part this answer, and tells the one.
    fn answered(line: &str, answers: impl Fn(&str) -> Message) -> String {
        let Step::Parts(parts, mut gather) = spread(line) else { panic!("{line} is not split") };
        let redis = Redis::default();
        for (n, part) in parts.iter().enumerate().rev() {
            gather.reply(&redis, n, answers(&text(&part.request)));
        }
        String::from_utf8(gather.finish(&redis).bytes().to_vec()).unwrap()
    }

    #[test]
    fn keys_of_one_slot_go_to_its_shard() {
        let slots = |line| match spread(line) {
            Step::Shared(_, Target::Slot(slot, access)) => (slot, access),
            _ => panic!("{line}"),
        };
        assert_eq!(slots("GET foo"), (12182, Access::Read));
        assert_eq!(slots("SET foo 1"), (12182, Access::Write));
        assert_eq!(slots("MGET {foo}a {foo}b"), (12182, Access::Read));
        assert_eq!(slots("EVAL x 1 foo"), (12182, Access::Write));
        assert_eq!(slots("PFCOUNT foo").1, Access::Write, "it may write");
        assert_eq!(slots("SPUBLISH foo m").0, 12182);
        assert_eq!(slots("PUBLISH foo m").0, 12182, "in order");
        assert_eq!(slots("RENAME {foo}a {foo}b").0, 12182);
    }

    #[test]
    fn keys_of_several_slots_are_refused_but_for_six_commands() {
        for line in
            ["RENAME a b", "SUNION a b", "MSETNX a 1 b 2", "BITOP AND c a b", "EVAL x 2 a b"]
        {
            let Step::Answer(error) = spread(line) else { panic!("{line}") };
            assert_eq!(error.error_code(), Some(&b"CROSSSLOT"[..]), "{line}");
        }
        let mut split = 0;
        for line in ["DEL a b", "EXISTS a b", "MGET a b", "MSET a 1 b 2", "TOUCH a b", "UNLINK a b"]
        {
            assert!(matches!(spread(line), Step::Parts(parts, _) if parts.len() == 2), "{line}");
            split += 1;
        }
        assert_eq!(split, 6);
    }

    #[test]
    fn values_stand_where_their_keys_stood() {
        let values = |part: &str| {
            Message::array(part.split(' ').skip(1).map(|key| Message::bulk(key.as_bytes())))
        };
        let keys = "a b {a}1 c b {c}2";
        let got = answered(&format!("MGET {keys}"), values);
        let want = keys.split(' ').map(|k| format!("${}\r\n{k}\r\n", k.len())).collect::<String>();
        assert_eq!(got, format!("*6\r\n{want}"));
    }

    #[test]
    fn copies_are_spread_over_the_shards_of_their_own_cluster() {
        let one = View { shards: 0, nodes: 1, ..view() };
        let copy =
            |view: &View<'_>, line, target| replan(view, Version::Resp2, request(line), target);
        let (first, second) = (Target::Shard(0, Access::Write), Target::Shard(1, Access::Write));
        let whole = copy(&one, "MSET a 1 b 2", first);
        assert!(matches!(whole, Step::Shared(_, Target::Shard(0, Access::Write))));
        assert!(matches!(copy(&one, "GET a", first), Step::Shared(_, target) if target.is_read()));
        assert!(
            matches!(copy(&view(), "MSET a 1 b 2", first), Step::Parts(parts, _) if parts.len() == 2)
        );
        assert!(matches!(
            copy(&view(), "GET foo", second),
            Step::Shared(_, Target::Slot(12182, _))
        ));
        assert!(
            matches!(copy(&view(), "FLUSHALL", first), Step::Parts(parts, _) if parts.len() == 3)
        );
        assert!(matches!(copy(&view(), "SUNION a b", first), Step::Answer(_)));
        for line in ["FLUSHALL", "SCAN 0"] {
            assert!(matches!(copy(&view(), line, second), Step::Nothing), "{line}");
        }
        for target in [Target::Index(2), second] {
            assert!(matches!(copy(&one, "SCRIPT LOAD x", target), Step::Nothing));
        }
    }

    #[test]
    fn counts_are_added_and_pairs_kept_together() {
        let count = |part: &str| Message::integer(part.split(' ').count() as i64 - 1);
        assert_eq!(answered("DEL a b c {a}d", count), ":4\r\n");
        let Step::Parts(parts, _) = spread("MSET a 1 b 2 {a}c 3") else { panic!("not split") };
        let parts: Vec<_> = parts.iter().map(|part| text(&part.request)).collect();
        assert_eq!(parts, ["MSET a 1 {a}c 3", "MSET b 2"]);
        let ok = |_: &str| Message::simple("OK");
        assert_eq!(answered("MSET a 1 b 2", ok), "+OK\r\n");
    }

    #[test]
    fn an_error_of_any_part_is_the_answer() {
        let one = |part: &str| match part {
            "DEL b" => Message::error("READONLY no"),
            _ => Message::integer(1),
        };
        assert_eq!(answered("DEL a b c", one), "-READONLY no\r\n");
        let Step::Parts(_, mut gather) = spread("MGET a b") else { panic!("not split") };
        let redis = Redis::default();
        gather.reply(&redis, 0, Message::array([Message::bulk(b"1")]));
        let failure = wiremesh::Failure::new(wiremesh::Reason::Timeout, "no answer");
        gather.failed(&redis, 1, &failure);
        assert!(gather.finish(&redis).is_error());
    }

    #[test]
    fn without_keys_the_policy_says_where_to() {
        let targets = |line| match spread(line) {
            Step::Parts(parts, _) => parts.iter().map(|part| part.target).collect::<Vec<_>>(),
            Step::Shared(_, target) => vec![target],
            _ => panic!("{line}"),
        };
        let shards: Vec<_> = (0..3).map(|n| Target::Shard(n, Access::Write)).collect();
        let nodes: Vec<_> = (0..6).map(Target::Index).collect();
        for line in ["DBSIZE", "FLUSHALL", "KEYS *", "PING", "FUNCTION FLUSH"] {
            assert_eq!(targets(line), shards, "{line}");
        }
        for line in ["CONFIG SET maxmemory 0", "SLOWLOG LEN", "SCRIPT LOAD x"] {
            assert_eq!(targets(line), nodes, "{line}");
        }
        for line in ["TIME", "ECHO x", "EVAL x 0", "INFO", "NOSUCH"] {
            assert_eq!(targets(line), [Target::Any], "{line}");
        }
        for line in ["ACL SETUSER x on", "PUBSUB CHANNELS", "SAVE"] {
            assert_eq!(targets(line), nodes, "{line}");
        }
        for line in ["REPLICAOF NO ONE", "DEBUG SLEEP 0", "SWAPDB 0 1"] {
            assert!(matches!(spread(line), Step::Answer(error) if error.is_error()), "{line}");
        }
        assert_eq!(answered("DBSIZE", |_| Message::integer(7)), ":21\r\n");
        let counts = |_: &str| Message::array([Message::bulk(b"7"), Message::integer(2)]);
        assert_eq!(answered("PUBSUB NUMSUB 7", counts), "*2\r\n$1\r\n7\r\n:12\r\n");
        let channels = |_: &str| Message::array([Message::bulk(b"c")]);
        assert_eq!(answered("PUBSUB CHANNELS", channels), "*1\r\n$1\r\nc\r\n");
        let keys = |_: &str| Message::array([Message::bulk(b"k")]);
        assert_eq!(answered("KEYS *", keys), "*3\r\n$1\r\nk\r\n$1\r\nk\r\n$1\r\nk\r\n");
    }
}
