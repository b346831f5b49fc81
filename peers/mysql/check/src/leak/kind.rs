/// A kind of state that sessions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    UserVariables,
    SystemVariables,
    Charsets,
    Schema,
    TemporaryTables,
    UserLocks,
    LockedTables,
    Transactions,
    Savepoints,
    NextTransaction,
    Prepared,
    LongData,
    Cursors,
    TextPrepared,
    LastInsertId,
    FoundRows,
    RowCount,
    Warnings,
    Diagnostics,
    Handlers,
    MultiStatements,
    /// MariaDB's
    Sequences,
}

impl Kind {
    pub(super) const ALL: [Self; 22] = [
        Self::UserVariables,
        Self::SystemVariables,
        Self::Charsets,
        Self::Schema,
        Self::TemporaryTables,
        Self::UserLocks,
        Self::LockedTables,
        Self::Transactions,
        Self::Savepoints,
        Self::NextTransaction,
        Self::Prepared,
        Self::LongData,
        Self::Cursors,
        Self::TextPrepared,
        Self::LastInsertId,
        Self::FoundRows,
        Self::RowCount,
        Self::Warnings,
        Self::Diagnostics,
        Self::Handlers,
        Self::MultiStatements,
        Self::Sequences,
    ];

    /// Those of `only`, or all, that this server has.
    pub(super) fn wanted(only: &[Self], maria: bool) -> Vec<Self> {
        let mut all = Self::ALL.to_vec();
        all.retain(|kind| only.is_empty() || only.contains(kind));
        all.retain(|kind| maria || *kind != Self::Sequences);
        all
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UserVariables => "user variables",
            Self::SystemVariables => "system variables",
            Self::Charsets => "character sets",
            Self::Schema => "schema",
            Self::TemporaryTables => "temporary tables",
            Self::UserLocks => "user locks",
            Self::LockedTables => "locked tables",
            Self::Transactions => "transactions",
            Self::Savepoints => "savepoints",
            Self::NextTransaction => "the next transaction",
            Self::Prepared => "prepared statements",
            Self::LongData => "long data",
            Self::Cursors => "cursors",
            Self::TextPrepared => "statements prepared by name",
            Self::LastInsertId => "last insert id",
            Self::FoundRows => "found rows",
            Self::RowCount => "row count",
            Self::Warnings => "warnings",
            Self::Diagnostics => "diagnostics",
            Self::Handlers => "handlers",
            Self::MultiStatements => "several statements at once",
            Self::Sequences => "sequences",
        }
    }
}
