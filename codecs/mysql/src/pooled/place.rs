use wiremesh::correlation::{Cancel, Extent};

use super::{
    login::query,
    state::State,
    statements::{Prepared, PreparedLimits},
};
use crate::{Capabilities, MysqlFrame, collation::is_mariadb, session::Gtids};

/// What is known of an upstream connection, whoever has it.
#[derive(Debug)]
pub struct Place {
    /// What was agreed on with the server.
    pub capabilities: Capabilities,
    /// The server's version, as it greets.
    pub version: Box<[u8]>,
    /// The server's number of the connection.
    pub thread: u32,
    /// It tells what changes of the session's state. Where it does not, the connection is one client's alone.
    pub tells: bool,
    /// It is for sessions without a schema: once it has one, it is for nobody.
    pub bare: bool,
    /// Several statements in one text are allowed: agreed on, and switched by `COM_SET_OPTION`, which no reset undoes.
    pub(super) multi: bool,
    /// What is set on it.
    pub(super) state: State,
    /// What is prepared on it.
    pub(super) prepared: Prepared,
    /// Which transactions were waited for on it.
    pub(super) reached: Gtids,
}

impl Place {
    /// A connection that has just been logged in on, without a schema, and [set up](super::state::setup) if it `tells`.
    pub fn new(
        capabilities: Capabilities,
        version: &[u8],
        thread: u32,
        tells: bool,
        bare: bool,
    ) -> Self {
        let prepared = Prepared::new(capabilities, PreparedLimits::default());
        Self {
            capabilities,
            version: version.into(),
            thread,
            tells,
            bare,
            multi: capabilities.has(Capabilities::MULTI_STATEMENTS),
            state: State::set_up(b""),
            prepared: if tells { prepared } else { prepared.private() },
            reached: Gtids::default(),
        }
    }
}

impl Place {
    /// What, sent on this connection, ends what is done on the other that the server knows by this number. `None`: that one is
    /// not this server's, which counts its connections: it was made earlier, and has a higher number.
    pub(crate) fn kill(&self, number: u64, cancel: &Cancel) -> Option<MysqlFrame> {
        if u64::from(self.thread) <= number {
            return None;
        }
        let soft = if cancel.gently && is_mariadb(&self.version) { " SOFT" } else { "" };
        let what = match cancel.extent {
            Extent::Request => "QUERY",
            Extent::Connection => "CONNECTION",
        };
        Some(query(&format!("KILL{soft} {what} {number}"), self.capabilities))
    }
}

impl Default for Place {
    /// That of no connection.
    fn default() -> Self {
        Self {
            capabilities: Capabilities(0),
            version: Box::default(),
            thread: 0,
            tells: false,
            bare: true,
            multi: false,
            state: State::set_up(b""),
            prepared: Prepared::new(Capabilities(0), PreparedLimits::default()),
            reached: Gtids::default(),
        }
    }
}
