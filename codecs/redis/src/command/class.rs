//! What a command needs of the connection it is sent on.

use super::Command;

/// What a command needs of the connection it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing: it may go between the commands of other clients.
    Plain,
    /// Nothing either; it brings a script, or has scripts forgotten.
    Script,
    /// A connection of its own until it is answered, or until the server closes it: others would wait behind it.
    Blocking,
    /// A connection of the client's own from `WATCH` or `MULTI` to `EXEC` or `DISCARD`.
    Transaction,
    /// A connection of the client's own: messages come without being asked for.
    Subscription,
    /// It is about the state of the client's own connection.
    Connection,
    /// A connection of the client's own, which is good for nothing else any more: every command that the server executes.
    Monitor,
    /// It turns the connection into a replica's.
    Replication,
    /// What it does to its connection is not known.
    Unknown,
}

impl Command {
    /// What it needs of its connection, when called with these arguments; argument 0 is its name.
    pub fn class<'a>(&self, arg: impl Fn(usize) -> Option<&'a [u8]>) -> Class {
        match (self.class, self.name) {
            (Class::Blocking, "xread" | "xreadgroup") if !has_block(&arg) => Class::Plain,
            (class, _) => class,
        }
    }
}

/// Whether the options of an `XREAD` or `XREADGROUP` have `BLOCK` among them.
fn has_block<'a>(arg: &impl Fn(usize) -> Option<&'a [u8]>) -> bool {
    let mut at: usize = 1;
    while let Some(option) = arg(at) {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        let values = match () {
            () if is("block") => return true,
            () if is("streams") => return false,
            () if is("group") => 2,
            () if is("count") => 1,
            () => 0,
        };
        at = at.saturating_add(1).saturating_add(values);
    }
    false
}

/// The class of the command of this name. (In the table as a constant; of those that depend on arguments, the more demanding.)
pub(super) const fn class(name: &str) -> Class {
    match listed(name) {
        Some(class) => class,
        None => Class::Plain,
    }
}

/// What is known of every command that is not simply read or write: a command that has a flag which might make it special is
/// listed here even if it is plain (checked by a test).
const fn listed(name: &str) -> Option<Class> {
    Some(match name.as_bytes() {
        // They wait for elements of a list or sorted set, or time out.
        b"blmove" | b"blmpop" | b"blpop" | b"brpop" | b"brpoplpush" => Class::Blocking,
        b"bzmpop" | b"bzpopmax" | b"bzpopmin" => Class::Blocking,
        // They wait for entries if told BLOCK.
        b"xread" | b"xreadgroup" => Class::Blocking,
        // They wait for replicas, or the disk, to have what the same connection has written before.
        b"wait" | b"waitaof" => Class::Blocking,
        // It waits for replicas, and answers by closing the connection.
        b"shutdown" => Class::Blocking,

        b"multi" | b"exec" | b"discard" | b"watch" | b"unwatch" => Class::Transaction,

        b"subscribe" | b"psubscribe" | b"ssubscribe" => Class::Subscription,
        b"unsubscribe" | b"punsubscribe" | b"sunsubscribe" => Class::Subscription,

        // Who the client is, which version it speaks, which database it sees.
        b"auth" | b"hello" | b"select" | b"reset" | b"quit" => Class::Connection,
        b"acl|whoami" => Class::Connection,
        // Whether a replica, or a node that imports the slot, answers it.
        b"readonly" | b"readwrite" | b"asking" => Class::Connection,
        // The connection's name, id, replies, invalidation; and other connections, by ids that only the proxy knows.
        b"client" | b"client|caching" | b"client|getname" | b"client|getredir" => Class::Connection,
        b"client|setinfo" | b"client|no-touch" => Class::Connection,
        b"client|help" | b"client|id" | b"client|info" | b"client|kill" => Class::Connection,
        b"client|list" | b"client|no-evict" | b"client|pause" | b"client|reply" => {
            Class::Connection
        }
        b"client|setname" | b"client|tracking" | b"client|trackinginfo" => Class::Connection,
        b"client|unblock" | b"client|unpause" => Class::Connection,
        // The scripts that follow on the connection run in the debugger.
        b"script|debug" => Class::Connection,

        b"monitor" => Class::Monitor,

        b"sync" | b"psync" | b"replconf" => Class::Replication,

        // Not allowed in scripts since they are for administrators, or for the script's caller.
        b"acl|cat" | b"acl|deluser" | b"acl|dryrun" | b"acl|genpass" | b"acl|getuser" => {
            Class::Plain
        }
        b"acl|list" | b"acl|load" | b"acl|log" | b"acl|save" | b"acl|setuser" => Class::Plain,
        b"acl|users" => Class::Plain,
        b"bgrewriteaof" | b"bgsave" | b"save" => Class::Plain,
        b"cluster|reset" | b"debug" | b"failover" | b"replicaof" | b"slaveof" | b"role" => {
            Class::Plain
        }
        b"config|get" | b"config|resetstat" | b"config|rewrite" | b"config|set" => Class::Plain,
        b"latency|doctor" | b"latency|graph" | b"latency|histogram" => Class::Plain,
        b"latency|history" | b"latency|latest" | b"latency|reset" => Class::Plain,
        b"module|list" | b"module|load" | b"module|loadex" | b"module|unload" => Class::Plain,
        b"pfdebug" | b"pfselftest" => Class::Plain,
        // Scripts: what they call neither blocks nor changes the connection.
        b"eval" | b"eval_ro" | b"script|load" | b"script|flush" => Class::Script,
        b"evalsha" | b"evalsha_ro" | b"fcall" | b"fcall_ro" => Class::Plain,
        b"function|delete" | b"function|dump" | b"function|flush" | b"function|kill" => {
            Class::Plain
        }
        b"function|list" | b"function|load" | b"function|restore" => Class::Plain,
        b"function|stats" => Class::Plain,
        b"script|exists" | b"script|kill" => Class::Plain,
        // They speak of channels and subscribe to none.
        b"publish" | b"spublish" => Class::Plain,
        b"pubsub" | b"pubsub|channels" | b"pubsub|help" | b"pubsub|numpat" => Class::Plain,
        b"pubsub|numsub" | b"pubsub|shardchannels" | b"pubsub|shardnumsub" => Class::Plain,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{COMMANDS, Flags, find};
    use super::*;

    #[test]
    fn what_might_be_special_is_classed_on_purpose() {
        let special = [
            Flags::BLOCKING,
            Flags::PUBSUB,
            Flags::NOSCRIPT,
            Flags::NO_MULTI,
            Flags::NO_AUTH,
            Flags::ALLOW_BUSY,
            Flags::ASKING,
        ];
        let special = special.into_iter().fold(Flags::NONE, Flags::or);
        let mut checked = 0;
        for command in
            COMMANDS.iter().flat_map(|command| [command].into_iter().chain(command.subcommands))
        {
            assert_eq!(command.class, class(command.name));
            if command.flags.intersects(special) && command.name != "restore-asking" {
                assert!(listed(command.name).is_some(), "{}: {:?}", command.name, command.flags);
                checked += 1;
            }
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn depends_on_arguments() {
        for (line, expected) in [
            ("get k", Class::Plain),
            ("blpop k 0", Class::Blocking),
            ("xread streams s $", Class::Plain),
            ("xread count 2 streams block 0", Class::Plain),
            ("XREAD BLOCK 0 STREAMS s $", Class::Blocking),
            ("xread count 1 block 0 streams s $", Class::Blocking),
            ("xreadgroup group block block streams s >", Class::Plain),
            ("xreadgroup group g c noack block 5 streams s >", Class::Blocking),
            ("xreadgroup group g", Class::Plain),
            ("client id", Class::Connection),
            ("client nosuch", Class::Connection),
            ("script load x", Class::Script),
            ("script debug yes", Class::Connection),
        ] {
            let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
            let command = find(args[0], args.get(1).copied()).unwrap();
            assert_eq!(command.class(|at| args.get(at).copied()), expected, "{line}");
        }
    }
}
