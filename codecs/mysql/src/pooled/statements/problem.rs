use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::{
    Command,
    reply::ErrPacket,
    wire::{Reader, put_packet},
};

/// What a client is told instead of an answer to its command: an error in the words of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The error's number.
    pub number: u16,
    /// Its SQLSTATE.
    pub sqlstate: [u8; 5],
    /// Its text.
    pub text: Cow<'static, [u8]>,
}

impl Problem {
    /// Whether a statement is to be prepared again by who wants it.
    pub(in crate::pooled) fn is_to_prepare_again(&self) -> bool {
        self.number == 1615
    }

    /// The ERR packet.
    pub fn packet(&self, seq: u8) -> BytesMut {
        let mut body = Vec::with_capacity(self.text.len().saturating_add(9));
        body.put_u8(0xff);
        body.put_u16_le(self.number);
        body.put_u8(b'#');
        body.put_slice(&self.sqlstate);
        body.put_slice(&self.text);
        let mut packet = BytesMut::new();
        put_packet(&mut packet, seq, &body);
        packet
    }

    /// What the body of an ERR packet says.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let ErrPacket { number, sqlstate } = ErrPacket::parse(body).ok()?;
        let mut text = Reader::new(body);
        text.take(3).ok()?;
        if text.rest().first() == Some(&b'#') {
            text.take(6).ok()?;
        }
        Some(Self { number, sqlstate, text: text.rest().to_vec().into() })
    }

    fn general(number: u16, text: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { number, sqlstate: ErrPacket::GENERAL, text: text.into() }
    }

    /// `ER_UNKNOWN_STMT_HANDLER`, with the name of the server's function.
    pub(super) fn unknown(id: u32, command: Command, mariadb: bool) -> Self {
        let to = match command {
            _ if !mariadb => "mysql_stmt_precheck",
            Command::StmtReset => "mysqld_stmt_reset",
            Command::StmtFetch => "mysqld_stmt_fetch",
            _ => "mysqld_stmt_execute",
        };
        let text = format!("Unknown prepared statement handler ({id}) given to {to}");
        Self::general(1243, text.into_bytes())
    }

    /// What a session is told that asks for what only a connection knew that others have by now.
    pub(in crate::pooled) fn released(what: &str) -> Self {
        let text = format!(
            "wiremesh: {what} is asked about, and the connection that knew is not the session's any more; \
             ask at once, or in a transaction"
        );
        Self::general(1105, text.into_bytes())
    }

    /// `ER_STMT_HAS_NO_OPEN_CURSOR`
    pub(super) fn no_cursor(id: u32, mariadb: bool) -> Self {
        let end = if mariadb { "" } else { "." };
        Self::general(1421, format!("The statement ({id}) has no open cursor{end}").into_bytes())
    }

    /// `ER_MAX_PREPARED_STMT_COUNT_REACHED`
    pub(super) fn too_many(count: usize) -> Self {
        let text = format!(
            "Can't create more than max_prepared_stmt_count statements (current value: {count})"
        );
        Self { sqlstate: *b"42000", ..Self::general(1461, text.into_bytes()) }
    }

    /// The same number, for what their texts take.
    pub(super) fn too_much(bytes: usize) -> Self {
        let text = format!(
            "Can't create more prepared statements: the texts of a session's may take {bytes} bytes"
        );
        Self { sqlstate: *b"42000", ..Self::general(1461, text.into_bytes()) }
    }

    /// `ER_NET_PACKET_TOO_LARGE`
    pub(super) fn too_long() -> Self {
        let text = b"Got a packet bigger than 'max_allowed_packet' bytes";
        Self { sqlstate: *b"08S01", ..Self::general(1153, &text[..]) }
    }

    /// `ER_MALFORMED_PACKET`
    pub(in crate::pooled) fn malformed(mariadb: bool) -> Self {
        Self::general(
            1835,
            match mariadb {
                true => &b"Malformed communication packet"[..],
                false => b"Malformed communication packet.",
            },
        )
    }

    /// The types of the parameters were never said: to MariaDB `ER_WRONG_ARGUMENTS`.
    pub(super) fn no_types(mariadb: bool) -> Self {
        match mariadb {
            true => Self::general(1210, &b"Incorrect arguments to mysqld_stmt_execute"[..]),
            false => Self::malformed(false),
        }
    }

    /// `ER_NEED_REPREPARE`
    pub(super) fn prepare_again() -> Self {
        Self::general(1615, &b"Prepared statement needs to be re-prepared"[..])
    }

    /// The connection that had parts of parameters is not there any more.
    pub(super) fn long_data_lost() -> Self {
        Self::general(1105, &b"The parameters' long data were lost: send them again"[..])
    }

    /// `ER_NOT_SUPPORTED_YET`
    pub(in crate::pooled) fn unsupported(what: &str) -> Self {
        let text = format!("This version of MySQL doesn't yet support '{what}'");
        Self { sqlstate: *b"42000", ..Self::general(1235, text.into_bytes()) }
    }

    /// `ER_UNSUPPORTED_PS`
    pub(in crate::pooled) fn not_prepared() -> Self {
        let text = b"This command is not supported in the prepared statement protocol yet";
        Self::general(1295, &text[..])
    }

    /// `ER_QUERY_INTERRUPTED`
    pub(in crate::pooled) fn interrupted() -> Self {
        Self { sqlstate: *b"70100", ..Self::general(1317, &b"Query execution was interrupted"[..]) }
    }

    /// MariaDB's `ER_CONNECTION_KILLED`
    pub(in crate::pooled) fn killed() -> Self {
        Self { sqlstate: *b"70100", ..Self::general(1927, &b"Connection was killed"[..]) }
    }

    /// `ER_NO_SUCH_THREAD`
    pub(in crate::pooled) fn no_connection(number: u64) -> Self {
        Self::general(1094, format!("Unknown thread id: {number}").into_bytes())
    }

    /// `ER_KILL_DENIED_ERROR`
    pub(in crate::pooled) fn not_owner(number: u64) -> Self {
        Self::general(1095, format!("You are not owner of thread {number}").into_bytes())
    }

    /// `ER_UNKNOWN_COM_ERROR`
    pub(in crate::pooled) fn unknown_command() -> Self {
        Self { sqlstate: *b"08S01", ..Self::general(1047, &b"Unknown command"[..]) }
    }
}
