use super::Kind;
use super::session::{Session, Step};

impl Kind {
    /// What the next statement makes moot: that it is refused spoils nothing else.
    pub(super) fn is_told_once(self) -> bool {
        matches!(
            self,
            Self::LastInsertId
                | Self::FoundRows
                | Self::RowCount
                | Self::Warnings
                | Self::Diagnostics
        )
    }
}

impl Session<'_, '_> {
    /// Sets or reads something of the kind.
    pub(super) fn step(&mut self) -> Step {
        match self.kind {
            Kind::UserVariables => self.user_variables(),
            Kind::SystemVariables => self.system_variables(),
            Kind::Charsets => self.charsets(),
            Kind::Schema => self.schema(),
            Kind::TemporaryTables => self.temporary_tables(),
            Kind::UserLocks => self.user_locks(),
            Kind::LockedTables => self.locked_tables(),
            Kind::Transactions => self.transactions(),
            Kind::Savepoints => self.savepoints(),
            Kind::NextTransaction => self.next_transaction(),
            Kind::Prepared => self.prepared(),
            Kind::LongData => self.long_data(),
            Kind::Cursors => self.cursors(),
            Kind::TextPrepared => self.text_prepared(),
            Kind::LastInsertId => self.last_insert_id(),
            Kind::FoundRows => self.found_rows(),
            Kind::RowCount => self.row_count(),
            Kind::Warnings => self.warnings(),
            Kind::Diagnostics => self.diagnostics(),
            Kind::Handlers => self.handlers(),
            Kind::MultiStatements => self.multi_statements(),
            Kind::Sequences => self.sequences(),
        }
    }
}
