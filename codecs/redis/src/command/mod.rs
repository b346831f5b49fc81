//! The commands of Redis 7: what they do, where their keys are, how they are spread over shards.
//!
//! [`find`] gives the [`Command`] of a name. The table was written from what a server of version 7.0 says of itself.

mod class;
mod find;
mod flags;
mod keys;
mod table;

pub use class::Class;
pub use find::find;
pub(crate) use find::find_exactly;
pub use flags::{Categories, Flags, KeyFlags};
pub use keys::{Key, KeyError};
pub(crate) use keys::{SortOption, sort_options};
pub use table::COMMANDS;

/// One command, or one subcommand of a container such as `CONFIG`.
#[derive(Debug)]
pub struct Command {
    /// Its place in the table, subcommands counted; [`LEARNT`](Self::LEARNT) if it is not from there. (It may change from
    /// one version of this crate to the next.)
    pub id: u16,
    /// Its name in lower case; a subcommand's as `config|get`.
    pub name: &'static str,
    /// Its name for people: `CONFIG GET`.
    pub title: &'static str,
    /// The group in which it is documented.
    pub group: &'static str,
    /// The version of Redis that had it first.
    pub since: &'static str,
    /// How many arguments it takes, its name (and subcommand) included; `-n`: n or more.
    pub arity: i32,
    /// What it does.
    pub flags: Flags,
    /// The ACL categories it is in.
    pub categories: Categories,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// To which shards or nodes of a cluster it goes, where its keys don't say it.
    pub request_policy: Option<RequestPolicy>,
    /// How the answers of several become one.
    pub response_policy: Option<ResponsePolicy>,
    /// What it may need of its connection; its arguments may lessen it, see [`Command::class`].
    pub(crate) class: Class,
    /// Its subcommands, where it is a container.
    pub subcommands: &'static [Self],
}

impl Command {
    /// The [`id`](Self::id) of commands that are not in the table: a server has told of them.
    pub const LEARNT: u16 = u16::MAX;

    /// Whether it is known from a server only: nobody has looked at what it does.
    #[inline]
    pub fn is_learnt(&self) -> bool {
        self.id == Self::LEARNT
    }
}

/// Where some of a command's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What becomes of them.
    pub flags: KeyFlags,
    /// Where the search for them begins.
    pub begin: Begin,
    /// Which arguments they are from there.
    pub find: Find,
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument; 0 is the command's name.
    Index(usize),
    /// Behind this word, looked for from argument `from` on (negative: from the end, backwards).
    Keyword {
        /// The word, in lower case.
        word: &'static str,
        /// Where to begin to look for it.
        from: i32,
    },
    /// It cannot be told from the arguments alone.
    Unknown,
}

/// Which arguments are keys, from where the search began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// A range.
    Range {
        /// The last key, relative to the first; negative: from the end of the arguments (-1 is the last argument).
        last: i32,
        /// Every so many arguments there is a key.
        step: usize,
        /// Where `last` is -1: only 1/limit of the arguments that are left are searched; 0 and 1: all.
        limit: usize,
    },
    /// An argument tells how many.
    Count {
        /// Where that argument is, relative to the beginning.
        at: usize,
        /// Where the first key is, relative to the beginning.
        first: usize,
        /// Every so many arguments there is a key.
        step: usize,
    },
    /// It cannot be told from the arguments alone.
    Unknown,
}

/// To which shards or nodes of a cluster a command goes. Names as in the tips of `COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPolicy {
    /// To every node, replicas included.
    AllNodes,
    /// To the primary of every shard.
    AllShards,
    /// In parts, to the shards of its keys.
    MultiShard,
    /// In a way of its own.
    Special,
}

/// How the answers of several shards become one. Names as in the tips of `COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponsePolicy {
    /// The first that is no error.
    OneSucceeded,
    /// Any, if none is an error.
    AllSucceeded,
    /// Their logical and.
    AggLogicalAnd,
    /// Their logical or.
    AggLogicalOr,
    /// The least.
    AggMin,
    /// The greatest.
    AggMax,
    /// Their sum.
    AggSum,
    /// In a way of its own.
    Special,
}
