//! Sets of flags: what a command does, which ACL categories it is in, what it does with a key.

use std::fmt;

/// Declares a set of named bits.
macro_rules! bits {
    (
        $(#[$outer:meta])*
        $type:ident($int:ty) { $($(#[$inner:meta])* $name:ident = $bit:literal, $text:literal;)* }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $type(pub $int);

        impl $type {
            /// The empty set.
            pub const NONE: Self = Self(0);
            $($(#[$inner])* pub const $name: Self = Self(1 << $bit);)*

            /// Every single member and its name, as the server writes it (but for marks around it).
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];

            /// Both sets together.
            #[must_use]
            pub const fn or(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Whether all of `other` are in this set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any of `other` is in this set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The member of this name, in any case.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                let found = Self::NAMES.iter().find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name));
                found.map(|(member, _)| *member)
            }

            /// The names of its members.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES.iter().filter(move |(member, _)| self.contains(*member)).map(|(_, text)| *text)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.names()).finish()
            }
        }
    };
}

bits! {
    /// A set of command flags. Names as in `COMMAND`, and of tips without a value.
    Flags(u32) {
        /// May change data.
        WRITE = 0, "write";
        /// Changes no data.
        READONLY = 1, "readonly";
        /// Refused when the server is out of memory.
        DENYOOM = 2, "denyoom";
        /// For administrators.
        ADMIN = 3, "admin";
        /// Has to do with channels.
        PUBSUB = 4, "pubsub";
        /// Not allowed in scripts.
        NOSCRIPT = 5, "noscript";
        /// May wait for something to happen.
        BLOCKING = 6, "blocking";
        /// Allowed while the server loads its data.
        LOADING = 7, "loading";
        /// Allowed on a replica whose data is stale.
        STALE = 8, "stale";
        /// Not shown to `MONITOR`.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not in the slow log.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// In a cluster, accepted for a slot that is being imported.
        ASKING = 11, "asking";
        /// Takes constant or logarithmic time.
        FAST = 12, "fast";
        /// Allowed before the client has authenticated.
        NO_AUTH = 13, "no_auth";
        /// May be propagated to replicas although it does not write, so that a replica may not do it.
        MAY_REPLICATE = 14, "may_replicate";
        /// May have no keys although it has key specifications.
        NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
        /// Not allowed in a transaction.
        NO_MULTI = 16, "no_multi";
        /// Where its keys are depends on its arguments.
        MOVABLEKEYS = 17, "movablekeys";
        /// Allowed while a script runs for too long.
        ALLOW_BUSY = 18, "allow_busy";
        /// Refused while a replica loads its primary's data beside its own.
        NO_ASYNC_LOADING = 19, "no_async_loading";
        /// A tip: the same data does not give the same answer.
        NONDETERMINISTIC_OUTPUT = 20, "nondeterministic_output";
        /// A tip: the same data gives the same elements, not in the same order.
        NONDETERMINISTIC_OUTPUT_ORDER = 21, "nondeterministic_output_order";
    }
}

bits! {
    /// A set of ACL categories. Names as in `ACL CAT`.
    Categories(u32) {
        /// `@keyspace`
        KEYSPACE = 0, "keyspace";
        /// `@read`
        READ = 1, "read";
        /// `@write`
        WRITE = 2, "write";
        /// `@set`
        SET = 3, "set";
        /// `@sortedset`
        SORTEDSET = 4, "sortedset";
        /// `@list`
        LIST = 5, "list";
        /// `@hash`
        HASH = 6, "hash";
        /// `@string`
        STRING = 7, "string";
        /// `@bitmap`
        BITMAP = 8, "bitmap";
        /// `@hyperloglog`
        HYPERLOGLOG = 9, "hyperloglog";
        /// `@geo`
        GEO = 10, "geo";
        /// `@stream`
        STREAM = 11, "stream";
        /// `@pubsub`
        PUBSUB = 12, "pubsub";
        /// `@admin`
        ADMIN = 13, "admin";
        /// `@fast`
        FAST = 14, "fast";
        /// `@slow`
        SLOW = 15, "slow";
        /// `@blocking`
        BLOCKING = 16, "blocking";
        /// `@dangerous`
        DANGEROUS = 17, "dangerous";
        /// `@connection`
        CONNECTION = 18, "connection";
        /// `@transaction`
        TRANSACTION = 19, "transaction";
        /// `@scripting`
        SCRIPTING = 20, "scripting";
    }
}

bits! {
    /// What a command does with a key. Names as in `COMMAND GETKEYSANDFLAGS`.
    KeyFlags(u16) {
        /// Reads the key's value, and only that.
        RO = 0, "RO";
        /// Changes the value, or part of it.
        RW = 1, "RW";
        /// Overwrites the value, whatever it was.
        OW = 2, "OW";
        /// Removes the key.
        RM = 3, "RM";
        /// Returns data of the user's, copies it, or lets the answer depend on it.
        ACCESS = 4, "access";
        /// Changes data of the user's.
        UPDATE = 5, "update";
        /// Adds data, and changes or removes none.
        INSERT = 6, "insert";
        /// Removes data.
        DELETE = 7, "delete";
        /// No key, but routed to a shard as one: a channel of sharded publish/subscribe.
        NOT_KEY = 8, "not_key";
        /// There may be keys elsewhere, too.
        INCOMPLETE = 9, "incomplete";
        /// The arguments tell which of the flags hold.
        VARIABLE_FLAGS = 10, "variable_flags";
    }
}

impl KeyFlags {
    /// Whether it needs the permission to read the key (`%R~`).
    pub const fn reads(self) -> bool {
        self.intersects(Self::ACCESS)
    }

    /// Whether it needs the permission to write the key (`%W~`).
    pub const fn writes(self) -> bool {
        self.intersects(Self::UPDATE.or(Self::INSERT).or(Self::DELETE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let set = Flags::WRITE.or(Flags::FAST);
        assert!(set.contains(Flags::WRITE) && set.contains(set));
        assert!(!set.contains(Flags::WRITE.or(Flags::ADMIN)));
        assert!(set.intersects(Flags::WRITE.or(Flags::ADMIN)));
        assert!(!set.intersects(Flags::ADMIN));
        assert_eq!(set.names().collect::<Vec<_>>(), ["write", "fast"]);
        assert_eq!(format!("{set:?}"), r#"{"write", "fast"}"#);
        assert_eq!(Categories::from_name(b"DANGEROUS"), Some(Categories::DANGEROUS));
        assert_eq!(Categories::from_name(b"all"), None);
    }
}
