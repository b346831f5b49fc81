//! The request in progress.

use bytes::BytesMut;
use wiremesh::correlation::Access;

use super::{Pooled, prepare::Step, session::Session};
use crate::{
    Command,
    classify::Traits,
    pooled::{
        Entrance,
        state::{State, Tracking},
    },
};

/// The request in progress.
#[derive(Debug, Default)]
pub(super) struct Doing {
    pub command: Option<Command>,
    pub traits: Traits,
    /// What it needs.
    pub access: Access,
    /// The text, if it is nothing but `SET` and `USE`.
    pub set: Option<Box<[u8]>>,
    /// `COM_INIT_DB`, or a statement that is nothing but a `USE`: the schema.
    pub schema: Option<Box<[u8]>>,
    /// `COM_SET_OPTION`: several statements in one text are to be allowed, or not.
    pub multi: Option<bool>,
    /// What is sent in its place.
    pub instead: Instead,
    pub before: Before,
    pub heard: Heard,
    pub own: Own,
}

/// What is sent in a request's place.
#[derive(Debug, Default)]
pub(super) enum Instead {
    /// It is sent itself.
    #[default]
    None,
    /// This text: in its own, something is set that is the proxy's.
    Text(Box<Tracking>),
    /// The proxy does it by itself, and has the server say what is left of the session's status.
    Ping,
}

/// What goes before a request.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// What of it is under way.
    pub step: Step,
    /// The reply that this has come to, and the request with it.
    pub problem: Option<BytesMut>,
    /// The request may ask for an id that it need not have made: no other's is to be there.
    pub forgets_id: bool,
    /// The state that the connection is given for a statement to be prepared again in.
    pub detour: Option<State>,
}

/// What is known of the reply.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The first packet of the reply to a `COM_STMT_PREPARE` was looked at.
    pub named: bool,
    /// So many files were asked for.
    pub files: u32,
    /// There were warnings.
    pub warned: bool,
    /// What went wrong with what the server tells of the session.
    pub pin: Option<String>,
}

/// What the proxy has to answer by itself.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub answer: Option<BytesMut>,
    /// What the session becomes when that is given.
    pub becoming: Becoming,
}

/// What a session becomes with a request that the proxy answers.
#[derive(Debug, Default)]
pub(super) enum Becoming {
    /// What it was.
    #[default]
    Same,
    /// As it was when it began: `COM_RESET_CONNECTION`.
    Anew,
    /// Another client's, who is still asked who that is: `COM_CHANGE_USER`.
    Unsure(Box<Entrance>),
    /// That client's.
    Another(Box<Pooled>),
}

impl Doing {
    pub fn new(command: Option<Command>) -> Self {
        Self { command, ..Self::default() }
    }

    /// Whether it is a statement.
    pub fn executes(&self) -> bool {
        matches!(
            self.command,
            Some(Command::Query | Command::StmtExecute | Command::StmtBulkExecute)
        )
    }
}

impl Before {
    /// The state that the connection is to have.
    pub fn wants<'a>(&'a self, session: &'a Session) -> &'a State {
        self.detour.as_ref().unwrap_or_else(|| session.state())
    }
}

impl Becoming {
    pub fn is_unsure(&self) -> bool {
        matches!(self, Self::Unsure(_))
    }
}
