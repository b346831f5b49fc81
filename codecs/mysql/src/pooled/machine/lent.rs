//! The connection that a session has, and what is there of the session's.

use wiremesh::correlation::Access;

use crate::{
    StatusFlags,
    classify::{Diagnostics, Pin, Traits},
    pooled::Place,
    session::Transaction,
};

/// For so many statements after the one that made an id `LAST_INSERT_ID()` is waited for.
const ASKED_WITHIN: u8 = 5;

/// The connection that a session has, if it has one, and what is there of the session's and nowhere else.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// What is known of it, whoever has it.
    pub place: Option<Place>,
    /// For what it was lent.
    pub access: Access,
    pub transactions: Transactions,
    /// Which of the questions about the past it would answer right.
    pub past: Diagnostics,
    /// For so many further statements `LAST_INSERT_ID()` may be asked for.
    id_asked_within: u8,
    /// What was told of strangers on it was made nobody's.
    pub forgotten: bool,
    /// In which schema the session is nobody knows but it.
    pub adrift: bool,
    /// Of the session nothing is left that could be on it.
    pub ended: bool,
    /// What is to be done with it before others get it.
    pub owed: Owed,
    /// Nothing would make it as good as new.
    pub spoilt: bool,
}

/// What is to be done with a connection before others get it: the last does the first, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owed {
    #[default]
    Nothing,
    /// It knows an id that the session has made: a trigger or a view may ask for it, whosever session that is in.
    Forgetting,
    Reset,
}

/// What is known of the transaction, and of the next.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// As the server has told it last, if it tells.
    pub now: Option<Transaction>,
    /// What one is to be like was said before it.
    pub characteristics: bool,
    next: Next,
}

/// What a `SET TRANSACTION` is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    /// There was none.
    #[default]
    None,
    /// The transaction that comes next.
    Waits,
    /// The one that has begun.
    Begun,
}

impl Lent {
    pub fn new(place: Place, access: Access) -> Self {
        Self { place: Some(place), access, ..Self::default() }
    }

    /// The same connection, of another session.
    pub fn of_another(self) -> Self {
        let Self { place, access, spoilt, .. } = self;
        Self { place, access, spoilt, ..Self::default() }
    }

    /// This at least is to be done with it before others get it.
    pub fn owes(&mut self, owed: Owed) {
        self.owed = self.owed.max(owed);
    }

    /// It was reset.
    pub fn was_reset(&mut self) {
        (self.owed, self.ended) = (Owed::Nothing, false);
    }

    /// The session begins anew, and has no past.
    pub fn begin_anew(&mut self) {
        (self.past, self.id_asked_within) = (Diagnostics::NONE, 0);
        self.transactions = Transactions::default();
    }

    /// The session has made an id.
    pub fn makes_id(&mut self) {
        self.knows_id(ASKED_WITHIN);
    }

    fn knows_id(&mut self, asked_within: u8) {
        self.past = self.past.and(Diagnostics::LAST_INSERT_ID);
        // The statement that makes it counts, too.
        self.id_asked_within = asked_within.saturating_add(1);
        self.owes(Owed::Forgetting);
    }

    /// What it knows of the session's past when a statement with these traits has ended, which has counted this.
    pub fn remember(&mut self, counts: Diagnostics, traits: &Traits) {
        self.past = self.past.and(Diagnostics::WARNINGS).and(counts);
        if traits.sets_last_insert_id {
            self.knows_id(1);
        }
        if traits.takes_value {
            self.past = self.past.and(Diagnostics::LAST_VALUE);
        }
        self.id_asked_within = self.id_asked_within.saturating_sub(1);
    }

    /// An id that the session has made may be asked for next.
    pub fn awaits_question(&self) -> bool {
        self.id_asked_within > 0
    }

    /// Whether the session would not be the same on another.
    pub fn holds(&self) -> bool {
        self.transactions.hold()
            || self.place.as_ref().is_some_and(|place| !place.tells || place.prepared.holds())
    }

    /// Whether others can do anything with it.
    pub fn may_be_shared(&self) -> bool {
        self.place.as_ref().is_some_and(|place| {
            let fits = !place.bare || place.state.schema().is_empty();
            place.tells && fits && !self.spoilt
        })
    }
}

impl Transactions {
    fn hold(&self) -> bool {
        self.now.is_some_and(|it| it.is_open() || it.has_locked_tables())
            || self.characteristics
            || self.next != Next::None
    }

    /// A statement has ended with this status.
    pub fn on_status(&mut self, status: StatusFlags) {
        self.next = match self.next {
            Next::Waits | Next::Begun if status.has(StatusFlags::IN_TRANS) => Next::Begun,
            Next::Waits => Next::Waits,
            Next::None | Next::Begun => Next::None,
        };
    }

    /// Whether it is known by this when what pins has ended.
    pub fn know(&mut self, pin: Pin) -> bool {
        match pin {
            Pin::NextTransaction => {
                if self.next == Next::None {
                    self.next = Next::Waits;
                }
                true
            }
            // The server tells when they are unlocked.
            Pin::LockedTables => self.now.is_some(),
            _ => false,
        }
    }
}
