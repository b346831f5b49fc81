use crate::Command;

/// What the reply to a command is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// There is none.
    None,
    /// One packet: OK, EOF or ERR.
    Single,
    /// One packet: a text, or ERR.
    Text,
    /// Results, one after the other: each OK, ERR, a request for a file, or rows.
    Results,
    /// As [`Results`](Self::Results), and of rows that a cursor was opened for only the columns come.
    Execution,
    /// Rows without their columns: those fetched from a cursor.
    Rows,
    /// Columns without rows.
    Fields,
    /// A prepared statement: its parameters and columns.
    Prepared,
    /// An exchange, until OK or ERR.
    Login,
    /// Anything, without an end: the binary log, or another protocol altogether.
    Relay,
}

impl Shape {
    /// That of the reply to this command; of one that is unknown servers say so.
    pub fn of(command: Option<Command>) -> Self {
        use Command as C;
        match command {
            Some(C::Quit | C::StmtSendLongData | C::StmtClose) => Self::None,
            Some(C::Statistics) => Self::Text,
            Some(C::Query | C::ProcessInfo) => Self::Results,
            Some(C::StmtExecute | C::StmtBulkExecute) => Self::Execution,
            Some(C::StmtFetch) => Self::Rows,
            Some(C::FieldList) => Self::Fields,
            Some(C::StmtPrepare) => Self::Prepared,
            Some(C::ChangeUser) => Self::Login,
            Some(
                C::BinlogDump
                | C::BinlogDumpGtid
                | C::TableDump
                | C::Clone
                | C::SubscribeGroupReplicationStream,
            ) => Self::Relay,
            _ => Self::Single,
        }
    }
}
