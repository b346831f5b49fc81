/// What keeps a connection with its client beyond a statement. The last ones last longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// `SET TRANSACTION` without `SESSION`, or a variable to that effect: until the next transaction has ended.
    NextTransaction,
    /// `LOCK TABLES`: until they are unlocked, which trackers tell.
    LockedTables,
    /// `FLUSH TABLES` with a lock.
    FlushedTables,
    /// `LOCK INSTANCE`, `BACKUP`.
    Backup,
    /// `GET_LOCK()` and what is about such locks.
    NamedLock,
    /// `SET` of a variable that is not known to be replayable.
    Variable,
    /// A user variable.
    UserVariable,
    /// `CREATE TEMPORARY TABLE`.
    TemporaryTable,
    /// `HANDLER`.
    Handler,
    /// `XA`.
    Xa,
    /// `SET ROLE`.
    Role,
    /// `SET RESOURCE GROUP`.
    ResourceGroup,
    /// `PREPARE`, `EXECUTE`, `DEALLOCATE` as statements.
    Prepare,
    /// `CALL`, or several statements in a block.
    Routine,
    /// A function that is not known to be the server's own.
    Function,
    /// A statement of a kind that is not known.
    Unknown,
    /// It can be read in more than one way.
    Unclear,
    /// Only its beginning was seen.
    Cut,
}

impl Pin {
    /// Whether the session may leave something that `COM_RESET_CONNECTION` does not take away: a role or a resource group, which
    /// a routine or a prepared text may have set. MySQL 8.0.33 and MariaDB 10.11 keep those.
    pub fn outlasts_reset(self) -> bool {
        self >= Self::Role
    }

    /// Whether something that is not seen may be executed, which may ask for what earlier statements have left on the connection.
    /// What begins with a word that is not known no server is known to execute so.
    pub fn hides(self) -> bool {
        self >= Self::Prepare && self != Self::Unknown
    }

    /// What it is, in words, for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NextTransaction => "next transaction",
            Self::LockedTables => "locked tables",
            Self::FlushedTables => "flushed tables",
            Self::Backup => "backup lock",
            Self::NamedLock => "named lock",
            Self::Variable => "variable",
            Self::Role => "role",
            Self::ResourceGroup => "resource group",
            Self::UserVariable => "user variable",
            Self::TemporaryTable => "temporary table",
            Self::Prepare => "text prepare",
            Self::Handler => "handler",
            Self::Xa => "xa",
            Self::Routine => "routine",
            Self::Function => "function",
            Self::Unknown => "unknown statement",
            Self::Unclear => "unclear text",
            Self::Cut => "long statement",
        }
    }
}
