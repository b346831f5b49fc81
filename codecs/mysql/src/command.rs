/// The first byte of what a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// Not for clients; answered by an error.
    Sleep = 0x00,
    /// The client leaves. No reply.
    Quit = 0x01,
    /// `USE`.
    InitDb = 0x02,
    /// A statement's text, or those of several.
    Query = 0x03,
    /// The columns of a table.
    FieldList = 0x04,
    /// Gone since 5.7.
    CreateDb = 0x05,
    /// Gone since 5.7.
    DropDb = 0x06,
    /// `FLUSH`.
    Refresh = 0x07,
    /// `SHUTDOWN`.
    Shutdown = 0x08,
    /// A line of text about the server: the one reply that is neither OK, error nor result set.
    Statistics = 0x09,
    /// `SHOW PROCESSLIST`.
    ProcessInfo = 0x0a,
    /// Not for clients; answered by an error.
    Connect = 0x0b,
    /// `KILL`.
    ProcessKill = 0x0c,
    /// The server writes to its log.
    Debug = 0x0d,
    /// Whether the server is there.
    Ping = 0x0e,
    /// Not for clients; answered by an error.
    Time = 0x0f,
    /// Not for clients; answered by an error.
    DelayedInsert = 0x10,
    /// Another login on this connection.
    ChangeUser = 0x11,
    /// The binary log, without end.
    BinlogDump = 0x12,
    /// Gone since 5.7.
    TableDump = 0x13,
    /// Not for clients; answered by an error.
    ConnectOut = 0x14,
    /// A replica tells who it is.
    RegisterSlave = 0x15,
    /// Prepares a statement.
    StmtPrepare = 0x16,
    /// Executes a prepared statement.
    StmtExecute = 0x17,
    /// A part of a parameter. No reply.
    StmtSendLongData = 0x18,
    /// Forgets a prepared statement. No reply.
    StmtClose = 0x19,
    /// Drops a statement's long data and cursor.
    StmtReset = 0x1a,
    /// Several statements in a query: on or off.
    SetOption = 0x1b,
    /// Rows of a cursor.
    StmtFetch = 0x1c,
    /// Not for clients; answered by an error.
    Daemon = 0x1d,
    /// The binary log from a set of transactions on, without end.
    BinlogDumpGtid = 0x1e,
    /// The session's state is as after the login, but for the schema.
    ResetConnection = 0x1f,
    /// The server's data, for a new replica.
    Clone = 0x20,
    /// Subscribes to the stream of a replication group.
    SubscribeGroupReplicationStream = 0x21,
    /// MariaDB: executes a prepared statement for many rows of parameters.
    StmtBulkExecute = 0xfa,
}

impl Command {
    /// Every command and its name in the documentation, in the order of their codes.
    pub const ALL: [(Self, &'static str); 35] = [
        (Self::Sleep, "COM_SLEEP"),
        (Self::Quit, "COM_QUIT"),
        (Self::InitDb, "COM_INIT_DB"),
        (Self::Query, "COM_QUERY"),
        (Self::FieldList, "COM_FIELD_LIST"),
        (Self::CreateDb, "COM_CREATE_DB"),
        (Self::DropDb, "COM_DROP_DB"),
        (Self::Refresh, "COM_REFRESH"),
        (Self::Shutdown, "COM_SHUTDOWN"),
        (Self::Statistics, "COM_STATISTICS"),
        (Self::ProcessInfo, "COM_PROCESS_INFO"),
        (Self::Connect, "COM_CONNECT"),
        (Self::ProcessKill, "COM_PROCESS_KILL"),
        (Self::Debug, "COM_DEBUG"),
        (Self::Ping, "COM_PING"),
        (Self::Time, "COM_TIME"),
        (Self::DelayedInsert, "COM_DELAYED_INSERT"),
        (Self::ChangeUser, "COM_CHANGE_USER"),
        (Self::BinlogDump, "COM_BINLOG_DUMP"),
        (Self::TableDump, "COM_TABLE_DUMP"),
        (Self::ConnectOut, "COM_CONNECT_OUT"),
        (Self::RegisterSlave, "COM_REGISTER_SLAVE"),
        (Self::StmtPrepare, "COM_STMT_PREPARE"),
        (Self::StmtExecute, "COM_STMT_EXECUTE"),
        (Self::StmtSendLongData, "COM_STMT_SEND_LONG_DATA"),
        (Self::StmtClose, "COM_STMT_CLOSE"),
        (Self::StmtReset, "COM_STMT_RESET"),
        (Self::SetOption, "COM_SET_OPTION"),
        (Self::StmtFetch, "COM_STMT_FETCH"),
        (Self::Daemon, "COM_DAEMON"),
        (Self::BinlogDumpGtid, "COM_BINLOG_DUMP_GTID"),
        (Self::ResetConnection, "COM_RESET_CONNECTION"),
        (Self::Clone, "COM_CLONE"),
        (Self::SubscribeGroupReplicationStream, "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM"),
        (Self::StmtBulkExecute, "COM_STMT_BULK_EXECUTE"),
    ];

    /// The command of this code; `None` where there is none.
    pub fn of(code: u8) -> Option<Self> {
        let usual = Self::ALL.get(usize::from(code)).map(|known| known.0);
        usual
            .filter(|known| *known as u8 == code)
            .or_else(|| (code == Self::StmtBulkExecute as u8).then_some(Self::StmtBulkExecute))
    }

    /// Its name in the documentation.
    pub fn name(self) -> &'static str {
        let index = usize::from(self as u8).min(Self::ALL.len().saturating_sub(1));
        Self::ALL.get(index).map_or("", |known| known.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_belong_together() {
        for (command, name) in Command::ALL {
            assert_eq!(Command::of(command as u8), Some(command));
            assert_eq!(command.name(), name);
        }
        let known = (0..=255).filter(|code| Command::of(*code).is_some()).count();
        assert_eq!(known, Command::ALL.len());
        assert_eq!(Command::of(0x1c), Some(Command::StmtFetch));
        assert_eq!(Command::of(0x22), None);
    }
}
