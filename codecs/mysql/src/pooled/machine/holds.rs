//! Whether a client keeps its connection.

use wiremesh::correlation::Hold;

use super::{
    Pooled,
    doing::{Doing, Instead},
    lent::Owed,
    prepare::forget_id,
};
use crate::{
    Command, Mysql, MysqlFrame, StatusFlags,
    classify::{Diagnostics, Pin, Traits},
    frame::What,
    handshake::reset_connection,
    pooled::statements::Problem,
    session::Changes,
};

impl Pooled {
    /// The reply is complete: what becomes of the connection.
    pub(super) fn verdict(&mut self, mysql: &Mysql) -> Hold<Mysql> {
        let outcome = *self.transcoder.outcome();
        let failed = outcome.error.is_some();
        if let Some(ok) = outcome.ok {
            self.session.status = ok.status;
        }
        if mysql.causal_reads.is_some() {
            let changed = outcome.ok.is_some_and(|ok| ok.affected > 0) && outcome.rows == 0;
            self.causal.answered(changed, failed && self.doing.traits.multi);
        }
        let doing = std::mem::take(&mut self.doing);
        if self.lent.place.as_ref().is_some_and(|place| !place.tells) {
            self.infer(&doing, failed);
        }
        let Some(place) = &mut self.lent.place else { return Hold::Close };
        self.statements.on_reply(failed, self.session.status, &mut place.prepared);
        place.state = self.session.state().clone();
        if let Some(multi) = doing.multi.filter(|_| !failed) {
            (self.session.multi, place.multi) = (multi, multi);
        }
        // What was prepared without a schema cannot be prepared again in one.
        let stuck = place.bare && !place.state.schema().is_empty() && !self.statements.is_empty();
        self.lent.transactions.on_status(self.session.status);
        let executes = doing.command != Some(Command::StmtPrepare);
        if executes && let Some(pin) = doing.traits.pin {
            self.pin_by(pin);
        }
        if stuck {
            self.session.pin_for("statements prepared without a schema");
        }
        if let Some(why) = doing.heard.pin {
            self.session.pin_for(why);
        }
        if executes {
            // What a routine or a trigger has changed before it failed servers tell with a later statement, or never.
            if failed && doing.set.is_none() {
                self.lent.owes(Owed::Reset);
            }
            let counts = counted(doing.command, &doing.traits, failed);
            self.lent.remember(counts, &doing.traits);
        }
        if let Instead::Text(tracking) = doing.instead
            && !failed
        {
            self.transcoder.tell_also(tracking.names);
        }
        if self.must_hold() || (failed && !self.session.status.has(StatusFlags::AUTOCOMMIT)) {
            return Hold::Held;
        }
        let warned = doing.heard.warned || failed;
        // With MariaDB, what uses no table leaves warnings as they are: whoever is next would see them.
        if warned {
            self.lent.owes(Owed::Reset);
        }
        let traits = &doing.traits;
        // Who asks for warnings leaves them where they are.
        let told = self.lent.owed == Owed::Reset && traits.asks.has(Diagnostics::WARNINGS);
        let kept = traits.calc_found_rows || traits.takes_value || self.lent.awaits_question();
        if warned || told || kept { Hold::Linger } else { self.released() }
    }

    /// What the server does not tell of the session and the client's next connection has to have: the schema, which outlives a
    /// reset. Where the text does not say which it is, nobody does.
    fn infer(&mut self, doing: &Doing, failed: bool) {
        let Doing { command, traits, set, schema, .. } = doing;
        let mut state = self.session.state().clone();
        if let Some(set) = set.as_deref().filter(|_| !failed) {
            // What cannot be read need not be: the connection stays the client's.
            let _ = state.follow_text(Changes::new(b""), set);
        }
        let utf8 = state.charset().starts_with(b"utf8");
        match schema.as_deref() {
            _ if failed && !traits.multi => {}
            Some(schema) if schema.is_ascii() || utf8 => {
                state.set_schema(schema);
                self.lent.adrift = false;
            }
            Some(_) => self.lent.adrift = true,
            None => {
                // There may be more statements in it than were seen.
                let unseen =
                    matches!(traits.pin, Some(Pin::Unclear | Pin::Cut)) && self.session.multi;
                let executes = !matches!(command, Some(Command::StmtPrepare));
                let drops = traits.drops_schema && !state.schema().is_empty();
                self.lent.adrift |= executes && (traits.uses || drops || unseen);
            }
        }
        self.session.is_now(state);
    }

    fn pin_by(&mut self, pin: Pin) {
        self.lent.spoilt |= pin.outlasts_reset();
        if !self.lent.transactions.know(pin) {
            self.session.pin_for(pin.reason());
        }
    }

    /// Whether the session would not be the same on another connection.
    pub(super) fn must_hold(&self) -> bool {
        self.pin().is_some() || self.session.status.has(StatusFlags::IN_TRANS) || self.lent.holds()
    }

    /// The connection is for others.
    pub(super) fn released(&mut self) -> Hold<Mysql> {
        let reset = match std::mem::take(&mut self.lent.owed) {
            Owed::Nothing => None,
            Owed::Forgetting => self.lent.place.as_ref().map(forget_id),
            Owed::Reset => {
                let what = What::Command(Some(Command::ResetConnection));
                Some(MysqlFrame::new(what, reset_connection()))
            }
        };
        if self.lent.may_be_shared() { Hold::Release { reset } } else { Hold::Close }
    }
}

/// Which of the counters a command has certainly set.
fn counted(command: Option<Command>, traits: &Traits, failed: bool) -> Diagnostics {
    match command {
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
    }
}

/// What a session is told that cannot be given a connection.
pub(super) fn unfit() -> Problem {
    Problem::released("the session without a schema")
}
