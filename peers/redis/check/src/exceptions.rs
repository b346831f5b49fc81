//! The answers that need not be the same bytes, and why. Everything else has to be.

use crate::conn::Cmd;

/// What is compared instead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Treatment {
    /// The items, in any order, at every depth.
    Unordered,
    /// Names and values in turn, in any order.
    Pairs,
    /// Integers may differ by this much, at every depth.
    Within(i64),
    /// Type and number of items.
    Shape,
    /// Whether it is an error.
    Success,
    /// All but the values that stand behind these names.
    Without(&'static [&'static str]),
    /// In lines of `name=value`: these values.
    Fields(&'static [&'static str]),
    /// The names of fields, and how many keys each database has.
    Info,
}

use Treatment::{Fields, Info, Pairs, Shape, Success, Unordered, Within, Without};

struct Exception {
    /// The command, and for some its subcommand.
    commands: &'static [&'static str],
    treatment: Treatment,
    /// Why two servers, or one server behind a proxy, may answer differently.
    #[allow(dead_code, reason = "for who reads this file")]
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        commands: &["SMEMBERS", "SINTER", "SUNION", "SDIFF", "KEYS", "HKEYS", "HVALS", "SPOP"],
        treatment: Unordered,
        reason: "hash tables are walked in an order that each server process draws by lot",
    },
    Exception {
        commands: &["SCAN", "SSCAN", "HSCAN", "ZSCAN", "PUBSUB CHANNELS", "PUBSUB SHARDCHANNELS"],
        treatment: Unordered,
        reason: "the same",
    },
    Exception {
        commands: &["COMMAND", "FUNCTION LIST", "ACL CAT"],
        treatment: Unordered,
        reason: "the same",
    },
    Exception {
        commands: &["HGETALL", "CONFIG GET", "PUBSUB NUMSUB"],
        treatment: Pairs,
        reason: "the same",
    },
    Exception {
        commands: &["SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "RANDOMKEY", "ACL GENPASS"],
        treatment: Shape,
        reason: "random",
    },
    Exception { commands: &["DUMP"], treatment: Shape, reason: "has hash tables in their order" },
    Exception { commands: &["SORT"], treatment: Unordered, reason: "BY nosort of a hash table" },
    Exception { commands: &["TTL", "EXPIRETIME"], treatment: Within(10), reason: "time goes on" },
    Exception {
        commands: &["PTTL", "PEXPIRETIME", "XINFO", "XPENDING", "OBJECT IDLETIME", "LASTSAVE"],
        treatment: Within(10_000),
        reason: "time goes on",
    },
    Exception { commands: &["TIME", "LOLWUT"], treatment: Shape, reason: "time; art" },
    Exception {
        commands: &["SLOWLOG", "LATENCY", "MEMORY", "ACL LOG", "FUNCTION STATS"],
        treatment: Success,
        reason: "what one server process has seen and allocated",
    },
    Exception { commands: &["INFO"], treatment: Info, reason: "about one server process" },
    Exception {
        commands: &["CLUSTER"],
        treatment: Shape,
        reason: "about one server process; an error, without a cluster",
    },
    Exception {
        commands: &["CLIENT ID"],
        treatment: Shape,
        reason: "each server and each proxy counts its own connections",
    },
    Exception { commands: &["HELLO"], treatment: Without(&["id"]), reason: "the same" },
    Exception {
        commands: &["CLIENT INFO"],
        treatment: Fields(&["name", "db", "sub", "psub", "ssub", "multi", "cmd", "user", "resp"]),
        reason: "addresses, ages and buffers",
    },
    Exception {
        commands: &["CLIENT LIST"],
        treatment: Success,
        reason: "the connections of whoever else is there",
    },
];

/// How to compare this command's answers; nothing: byte for byte.
pub(crate) fn treatment(cmd: &Cmd) -> Option<Treatment> {
    let (name, sub) = (cmd.name(), format!("{} {}", cmd.name(), cmd.word(1)));
    let of =
        |e: &&Exception| e.commands.contains(&sub.as_str()) || e.commands.contains(&name.as_str());
    EXCEPTIONS.iter().find(of).map(|e| e.treatment)
}

/// What a proxy does not do, and says so; its error starts with `ERR wiremesh: `.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["CLIENT KILL", "CLIENT UNBLOCK", "CLIENT TRACKING"],
        "a number or an address names a client of the proxy, not one of the server",
    ),
    (
        &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"],
        "within a transaction: such an answer is not one answer",
    ),
    (&["MONITOR"], "within a transaction: the same"),
    (
        &["HELLO", "CLIENT REPLY"],
        "within a transaction: what follows would have another form, or not come",
    ),
    (&["SCRIPT DEBUG"], "the debugger takes the whole connection, or server"),
    (&["SYNC", "PSYNC", "REPLCONF"], "replication is between servers"),
];

/// May a proxy refuse it? (In a cluster it may say `CROSSSLOT` of more: words that are taken for keys are of other slots.)
pub(crate) fn may_be_refused(cmd: &Cmd) -> bool {
    let (name, sub) = (cmd.name(), format!("{} {}", cmd.name(), cmd.word(1)));
    REFUSED.iter().any(|(names, _)| names.contains(&&*sub) || names.contains(&&*name))
}
