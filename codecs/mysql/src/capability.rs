use std::ops::{BitAnd, BitOr, Not};

/// What client and server agree on in the handshake: MySQL's 32 flags, and above them MariaDB's own.
///
/// MariaDB's travel in four bytes that MySQL leaves zero, in both the greeting and the answer, and only where
/// [`CLIENT_MYSQL`](Self::CLIENT_MYSQL) is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u64);

macro_rules! flags {
    ($type:ident: $($(#[$doc:meta])* $name:ident = $bit:expr;)*) => {
        impl $type {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// The flags' names, in the order of their bits.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];

            /// Whether all of `flags` are set.
            pub const fn has(self, flags: Self) -> bool {
                self.0 & flags.0 == flags.0
            }

            /// These without `flags`.
            #[must_use]
            pub const fn without(self, flags: Self) -> Self {
                Self(self.0 & !flags.0)
            }

            /// These with `flags`.
            #[must_use]
            pub const fn with(self, flags: Self) -> Self {
                Self(self.0 | flags.0)
            }
        }

        impl BitOr for $type {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl BitAnd for $type {
            type Output = Self;
            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        impl Not for $type {
            type Output = Self;
            fn not(self) -> Self {
                Self(!self.0)
            }
        }
    };
}
pub(crate) use flags;

flags! { Capabilities:
    /// `LONG_PASSWORD` of old; MariaDB calls it `CLIENT_MYSQL` and leaves it out to say that it is MariaDB.
    CLIENT_MYSQL = 0;
    /// An UPDATE's count is of rows found, not of rows changed.
    FOUND_ROWS = 1;
    /// Of no meaning since 4.1.
    LONG_FLAG = 2;
    /// The answer names a schema.
    CONNECT_WITH_DB = 3;
    /// `schema.table.column` is refused.
    NO_SCHEMA = 4;
    /// The zlib layer under the packets, after the login.
    COMPRESS = 5;
    /// For ODBC; of no meaning.
    ODBC = 6;
    /// `LOAD DATA LOCAL` may ask the client for a file.
    LOCAL_FILES = 7;
    /// Blanks before `(` are ignored.
    IGNORE_SPACE = 8;
    /// The protocol since 4.1: SQLSTATE in errors, status in OK.
    PROTOCOL_41 = 9;
    /// The idle timeout of interactive clients applies.
    INTERACTIVE = 10;
    /// TLS from here on.
    SSL = 11;
    /// Of no meaning.
    IGNORE_SIGPIPE = 12;
    /// OK and EOF tell the status.
    TRANSACTIONS = 13;
    /// Old name of the 4.1 protocol.
    RESERVED = 14;
    /// Passwords by 20 bytes of salt.
    SECURE_CONNECTION = 15;
    /// A query may be several statements.
    MULTI_STATEMENTS = 16;
    /// A query may have several results.
    MULTI_RESULTS = 17;
    /// An execution may have several results.
    PS_MULTI_RESULTS = 18;
    /// The answer names an authentication plugin.
    PLUGIN_AUTH = 19;
    /// The answer has attributes of the connection.
    CONNECT_ATTRS = 20;
    /// The length of the authentication data is length-encoded.
    PLUGIN_AUTH_LENENC = 21;
    /// The client can go on with an expired password.
    EXPIRED_PASSWORDS = 22;
    /// OK packets tell of changes of the session's state.
    SESSION_TRACK = 23;
    /// No EOF after columns, and OK instead of EOF after rows.
    DEPRECATE_EOF = 24;
    /// Result sets may come without descriptions of their columns.
    OPTIONAL_RESULTSET_METADATA = 25;
    /// The zstd layer under the packets, after the login.
    ZSTD = 26;
    /// Queries and executions carry named attributes.
    QUERY_ATTRIBUTES = 27;
    /// Several authentication methods one after the other.
    MULTI_FACTOR = 28;
    /// Reserved for a further extension of the flags.
    CAPABILITY_EXTENSION = 29;
    /// The client wants the server's certificate checked. Never on the wire.
    SSL_VERIFY_SERVER_CERT = 30;
    /// The client keeps options over a reconnection. Never on the wire.
    REMEMBER_OPTIONS = 31;
    /// MariaDB: long statements report their progress.
    MARIADB_PROGRESS = 32;
    /// MariaDB: reserved.
    MARIADB_COM_MULTI = 33;
    /// MariaDB: `COM_STMT_BULK_EXECUTE`.
    MARIADB_STMT_BULK = 34;
    /// MariaDB: descriptions of columns have a further field with their extended type.
    MARIADB_EXTENDED_METADATA = 35;
    /// MariaDB: descriptions of columns that have not changed are left out.
    MARIADB_CACHE_METADATA = 36;
    /// MariaDB: a bulk execution answers for each of its rows.
    MARIADB_BULK_UNIT_RESULTS = 37;
}

impl Capabilities {
    /// Whether one of the layers that compress is under the packets.
    pub const fn is_compressed(self) -> bool {
        self.has(Self::COMPRESS) || self.has(Self::ZSTD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_where_servers_have_them() {
        assert_eq!(Capabilities::SSL.0, 0x800);
        assert_eq!(Capabilities::PLUGIN_AUTH.0, 0x80000);
        assert_eq!(Capabilities::QUERY_ATTRIBUTES.0, 0x0800_0000);
        assert_eq!(Capabilities::MARIADB_STMT_BULK.0, 0x4_0000_0000);
        assert_eq!(Capabilities::NAMES.len(), 38);
        for (bit, (flag, name)) in Capabilities::NAMES.iter().enumerate() {
            assert_eq!(flag.0, 1 << bit, "{name}");
        }
    }

    #[test]
    fn sets_of_flags() {
        let both = Capabilities::SSL | Capabilities::COMPRESS;
        assert!(both.has(Capabilities::SSL) && both.is_compressed());
        assert!(!Capabilities::SSL.has(both));
        assert_eq!(both.without(Capabilities::SSL), Capabilities::COMPRESS);
        assert_eq!(both & !Capabilities::SSL, Capabilities::COMPRESS);
        assert_eq!(Capabilities::SSL.with(Capabilities::COMPRESS), both);
    }
}
