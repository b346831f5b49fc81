//! One command, as a server defines it.

use crate::command::{
    Begin, Categories, Class, Command, Find, Flags, KeyFlags, KeySpec, RequestPolicy,
    ResponsePolicy,
};

/// One command or subcommand that is not in the table, as a server defines it.
///
/// - One that may wait has a connection of its own. One that has to do with the connection itself (the categories
///   `@connection` and `@transaction`, and what subscribes) is refused: the proxy could not undo it.
/// - Keys that cannot be told (specifications that are unknown or incomplete, movable keys that none of them explains) are
///   told as far as they can be: by the first one a request is routed. Of rules about keys only those that permit all keys
///   permit it.
/// - It is not taken apart, whatever it says, and needs a login even if it says that it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// In lower case; a subcommand's as `config|get`.
    pub(super) name: String,
    pub(super) arity: i32,
    pub(super) flags: Flags,
    pub(super) categories: Categories,
    pub(super) keys: Vec<Keys>,
    pub(super) request_policy: Option<RequestPolicy>,
    pub(super) response_policy: Option<ResponsePolicy>,
}

/// Where some of its keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) flags: KeyFlags,
    pub(super) begin: Start,
    pub(super) find: Find,
}

/// [`Begin`], with a word of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Index(usize),
    Keyword(String, i32),
    Unknown,
}

impl Keys {
    /// Somewhere.
    pub(super) const UNKNOWN: Self =
        Self { flags: KeyFlags::INCOMPLETE, begin: Start::Unknown, find: Find::Unknown };

    /// Where it is does not depend on what the arguments are.
    fn is_fixed(&self) -> bool {
        matches!((&self.begin, self.find), (Start::Index(_), Find::Range { .. }))
            && !self.flags.contains(KeyFlags::INCOMPLETE)
    }
}

impl Definition {
    /// Takes away what nobody vouches for.
    pub(super) fn doubted(mut self) -> Self {
        self.flags = Flags(self.flags.0 & !Flags::NO_AUTH.0);
        if self.request_policy == Some(RequestPolicy::MultiShard) {
            self.request_policy = None;
        }
        if self.flags.contains(Flags::MOVABLEKEYS) && self.keys.iter().all(Keys::is_fixed) {
            self.keys.push(Keys::UNKNOWN);
        }
        for keys in &mut self.keys {
            let changes = KeyFlags::ACCESS.or(KeyFlags::UPDATE);
            if keys.flags.contains(KeyFlags::VARIABLE_FLAGS) {
                let flags = KeyFlags(keys.flags.0 & !KeyFlags::VARIABLE_FLAGS.0);
                keys.flags = flags.or(changes);
            }
            if !(keys.flags.reads() || keys.flags.writes()) {
                keys.flags = keys.flags.or(changes);
            }
        }
        self
    }

    /// What it needs of its connection.
    fn class(&self) -> Class {
        let of_connection = Categories::CONNECTION.or(Categories::TRANSACTION);
        if self.categories.intersects(of_connection)
            || self.flags.contains(Flags::PUBSUB.or(Flags::NOSCRIPT))
        {
            Class::Unknown
        } else if self.flags.contains(Flags::BLOCKING) {
            Class::Blocking
        } else {
            Class::Plain
        }
    }

    /// The command, until the process ends.
    pub(super) fn leak(&self) -> &'static Command {
        let keys: Vec<_> = self.keys.iter().map(Keys::leak).collect();
        Box::leak(Box::new(Command {
            id: Command::LEARNT,
            name: self.name.clone().leak(),
            title: self.name.replace('|', " ").to_ascii_uppercase().leak(),
            group: "",
            since: "",
            arity: self.arity,
            flags: self.flags,
            categories: self.categories,
            keys: keys.leak(),
            request_policy: self.request_policy,
            response_policy: self.response_policy,
            class: self.class(),
            subcommands: &[],
        }))
    }
}

impl Keys {
    fn leak(&self) -> KeySpec {
        let begin = match &self.begin {
            Start::Index(at) => Begin::Index(*at),
            Start::Keyword(word, from) => Begin::Keyword { word: word.clone().leak(), from: *from },
            Start::Unknown => Begin::Unknown,
        };
        KeySpec { flags: self.flags, begin, find: self.find }
    }
}
