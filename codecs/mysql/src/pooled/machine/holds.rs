//! Whether a client keeps its connection.

use wiremesh::correlation::Hold;

use super::{Pooled, client::Doing, prepare::forget_id};
use crate::{
    Command, Mysql, MysqlFrame, StatusFlags,
    classify::{Diagnostics, Pin, Traits},
    frame::What,
    handshake::reset_connection,
    pooled::{state::Tracking, statements::Problem},
    session::Changes,
};

impl Pooled {
    /// The reply is complete: what becomes of the connection.
    pub(super) fn verdict(&mut self, mysql: &Mysql) -> Hold<Mysql> {
        let outcome = *self.transcoder.outcome();
        let failed = outcome.error.is_some();
        if let Some(ok) = outcome.ok {
            self.status = ok.status;
        }
        if mysql.causal_reads.is_some() {
            let changed = outcome.ok.is_some_and(|ok| ok.affected > 0) && outcome.rows == 0;
            self.causal.answered(changed, failed && self.doing.traits.multi);
        }
        let doing = std::mem::take(&mut self.doing);
        if self.place.as_ref().is_some_and(|place| !place.tells) {
            self.infer(&doing, failed);
        }
        let Some(place) = &mut self.place else { return Hold::Close };
        self.statements.on_reply(failed, self.status, &mut place.prepared);
        place.state = self.state.clone();
        if let Some(multi) = doing.multi.filter(|_| !failed) {
            (self.multi, place.multi) = (multi, multi);
        }
        // What was prepared without a schema cannot be prepared again in one.
        let stuck = place.bare && !place.state.schema().is_empty() && !self.statements.is_empty();
        self.transactions();
        if let Some(Tracking { names, .. }) = doing.instead.filter(|_| !failed) {
            self.transcoder.tell_also(names);
        }
        let executes = !matches!(doing.command, Some(Command::StmtPrepare));
        if executes && let Some(pin) = doing.traits.pin {
            self.pin_by(pin);
        }
        if stuck {
            self.pin_for("statements prepared without a schema");
        }
        if let Some(why) = doing.pin {
            self.pin_for(why);
        }
        // What a routine or a trigger has changed before it failed servers tell with a later statement, or never.
        self.reset |= failed && executes && doing.set.is_none();
        if executes {
            self.remember(doing.command, &doing.traits, failed);
        }
        if self.must_hold() || (failed && !self.status.has(StatusFlags::AUTOCOMMIT)) {
            return Hold::Held;
        }
        let warned = doing.warned || failed;
        // With MariaDB, what uses no table leaves warnings as they are: whoever is next would see them.
        self.reset |= warned;
        // Who asks for warnings leaves them where they are.
        let told = self.reset && doing.traits.asks.has(Diagnostics::WARNINGS);
        let doing = &doing.traits;
        let kept = doing.calc_found_rows || doing.takes_value || self.insert > 0;
        let asked_for = warned || told || kept;
        if asked_for { Hold::Linger } else { self.released() }
    }

    /// What the server does not tell of the session and the client's next connection has to have: the schema, which outlives a
    /// reset. Where the text does not say which it is, nobody does.
    fn infer(&mut self, doing: &Doing, failed: bool) {
        let Doing { command, traits, set, schema, .. } = doing;
        let mut state = self.state.clone();
        if let Some(set) = set.as_deref().filter(|_| !failed) {
            // What cannot be read need not be: the connection stays the client's.
            let _ = state.follow_text(Changes::new(b""), set);
        }
        let utf8 = state.charset().starts_with(b"utf8");
        match schema.as_deref() {
            _ if failed && !traits.multi => {}
            Some(schema) if schema.is_ascii() || utf8 => {
                state.set_schema(schema);
                self.adrift = false;
            }
            Some(_) => self.adrift = true,
            None => {
                // There may be more statements in it than were seen.
                let unseen = matches!(traits.pin, Some(Pin::Unclear | Pin::Cut)) && self.multi;
                let executes = !matches!(command, Some(Command::StmtPrepare));
                let drops = traits.drops_schema && !state.schema().is_empty();
                self.adrift |= executes && (traits.uses || drops || unseen);
            }
        }
        self.is_now(state);
    }

    /// What goes with the end of a transaction.
    fn transactions(&mut self) {
        let open = self.status.has(StatusFlags::IN_TRANS);
        self.next_transaction = match self.next_transaction {
            Some(_) if open => Some(true),
            Some(true) => None,
            waits => waits,
        };
    }

    fn pin_by(&mut self, pin: Pin) {
        self.spoilt |= pin.outlasts_reset();
        match pin {
            Pin::NextTransaction if self.next_transaction.is_none() => {
                self.next_transaction = Some(false);
            }
            Pin::NextTransaction => {}
            // The server tells when they are unlocked.
            Pin::LockedTables if self.transaction.is_some() => {}
            pin => self.pin_for(pin.reason()),
        }
    }

    /// What the connection knows of the session's past now.
    fn remember(&mut self, command: Option<Command>, traits: &Traits, failed: bool) {
        let counts = match command {
            Some(Command::Query | Command::StmtExecute | Command::StmtBulkExecute) if !failed => {
                traits.counts
            }
            // Which of them has failed is not known.
            Some(Command::Query) if traits.multi => Diagnostics::NONE,
            Some(Command::Query | Command::StmtExecute | Command::StmtBulkExecute) => {
                traits.counts.without(Diagnostics::FOUND_ROWS)
            }
            Some(Command::Statistics) => Diagnostics::NONE,
            _ => Diagnostics::ROW_COUNT,
        };
        self.past = self.past.and(Diagnostics::WARNINGS).and(counts);
        if traits.sets_last_insert_id {
            self.past = self.past.and(Diagnostics::LAST_INSERT_ID);
            self.insert = 2;
            self.knows_id = true;
        }
        if traits.takes_value {
            self.past = self.past.and(Diagnostics::LAST_VALUE);
        }
        self.insert = self.insert.saturating_sub(1);
    }

    /// Whether the session would not be the same on another connection.
    pub(super) fn must_hold(&self) -> bool {
        let transaction = self.transaction.is_some_and(|it| it.is_open() || it.has_locked_tables());
        self.pin.is_some()
            || self.characteristics
            || self.next_transaction.is_some()
            || transaction
            || self.status.has(StatusFlags::IN_TRANS)
            || self.place.as_ref().is_some_and(|place| !place.tells || place.prepared.holds())
    }

    /// The connection is for others.
    pub(super) fn released(&mut self) -> Hold<Mysql> {
        let knows_id = std::mem::take(&mut self.knows_id);
        let reset = match std::mem::take(&mut self.reset) {
            true => {
                let what = What::Command(Some(Command::ResetConnection));
                Some(MysqlFrame::new(what, reset_connection()))
            }
            false => self.place.as_ref().filter(|_| knows_id).map(forget_id),
        };
        self.may_be_shared().map_or(Hold::Close, |()| Hold::Release { reset })
    }

    /// Whether others can do anything with the connection.
    pub(super) fn may_be_shared(&self) -> Option<()> {
        let place = self.place.as_ref()?;
        let fits = !place.bare || place.state.schema().is_empty();
        (place.tells && fits && !self.spoilt).then_some(())
    }
}

/// What a session is told that cannot be given a connection.
pub(super) fn unfit() -> Problem {
    Problem::released("the session without a schema")
}
