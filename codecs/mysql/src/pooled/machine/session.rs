//! What is known of a session, whichever connection it has.

use std::{mem, sync::Arc};

use crate::{
    Capabilities, StatusFlags,
    classify::Reading,
    collation::Collations,
    digest::{Charset, Dialect},
    identity::Identity,
    pooled::state::{SPACES, State},
};

/// What MySQL's sessions have after `COM_RESET_CONNECTION`, unless the server is configured otherwise: `utf8mb4_0900_ai_ci`.
const MYSQL_COLLATION: u16 = 255;

/// What is known of a session, whichever connection it has.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// What was agreed on with the client.
    pub capabilities: Capabilities,
    pub identity: Arc<Identity>,
    /// As replies have told it last.
    pub status: StatusFlags,
    /// Several statements in one text are allowed.
    pub multi: bool,
    /// Why it keeps its connection until it is reset.
    pin: Option<String>,
    /// What it began with, but for the schema.
    begun: State,
    state: State,
    /// Which server it is, as far as is known: until there is a connection, the one that clients are told of.
    server: Collations,
    met: bool,
    /// There was a `COM_RESET_CONNECTION` before that.
    anew: bool,
}

impl Session {
    /// One that begins in this state, of a client that is told of such a server.
    pub fn new(
        identity: Arc<Identity>,
        capabilities: Capabilities,
        state: State,
        server: Collations,
    ) -> Self {
        Self {
            capabilities,
            identity,
            status: StatusFlags::AUTOCOMMIT,
            multi: capabilities.has(Capabilities::MULTI_STATEMENTS),
            pin: None,
            begun: state.clone(),
            state,
            server,
            met: false,
            anew: false,
        }
    }

    pub fn pin(&self) -> Option<&str> {
        self.pin.as_deref()
    }

    pub fn pin_for(&mut self, why: impl Into<String>) {
        self.pin.get_or_insert_with(|| why.into());
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// It has this state.
    pub fn is_now(&mut self, state: State) {
        if self.state != state {
            if self.state.schema() != state.schema() {
                self.identity = Arc::new(self.identity.with_schema(state.schema()));
            }
            self.state = state;
        }
    }

    /// What it is like before anything is said, or after a reset.
    fn begins(&self, anew: bool) -> State {
        let mut state = self.begun.clone();
        if anew
            && self.server == Collations::Mysql8
            && let Some(collation) = self.server.get(MYSQL_COLLATION)
        {
            // MySQL takes the server's own character set then, MariaDB that of the login.
            state = State::begun(b"", &collation);
        }
        state.set_schema(self.state.schema());
        if anew { state.ignoring_spaces(false) } else { state }
    }

    /// It is as it was when it began, but for the schema.
    pub fn begin_anew(&mut self) {
        self.anew |= !self.met;
        self.is_now(self.begins(true));
        self.pin = None;
        self.status = StatusFlags::AUTOCOMMIT;
    }

    /// There is a connection, to such a server: where it is another than clients are told of, logins and resets mean what they
    /// mean there. What was set there `is_copied`, if it is of a session with another server.
    pub fn meets(&mut self, server: Collations, is_copied: bool) {
        let met = mem::replace(&mut self.met, true);
        if self.server == server {
            return;
        }
        let began = self.begins(self.anew);
        self.server = server;
        let collation = server.at_login(self.identity.collation);
        let spaces = self.capabilities.has(Capabilities::IGNORE_SPACE);
        self.begun = State::begun(b"", &collation).ignoring_spaces(spaces);
        let begins = self.begins(self.anew);
        if !met {
            self.is_now(begins);
        } else if is_copied {
            self.is_now(self.state.clone().beginning_as(&began, &begins));
        }
    }

    /// It follows this one, which has ended by a login on the same connection.
    pub fn begin_after(&mut self, before: &Self) {
        self.multi = before.multi;
        if before.met {
            self.meets(before.server, false);
        }
        if self.is_mariadb() {
            // It ignores spaces after the first login only.
            self.begun = self.begun.clone().ignoring_spaces(false);
            self.is_now(self.state.clone().ignoring_spaces(false));
        }
    }

    pub fn is_mariadb(&self) -> bool {
        self.server != Collations::Mysql8
    }

    pub fn dialect(&self) -> Dialect {
        let has = |name: &[u8]| self.modes().any(|one| one == name);
        Dialect {
            ansi_quotes: self.status.has(StatusFlags::ANSI_QUOTES) || has(b"ANSI_QUOTES"),
            no_backslash_escapes: self.status.has(StatusFlags::NO_BACKSLASH_ESCAPES),
            charset: Charset::of_name(self.state.charset()),
        }
    }

    /// How its statements are read. `whole`: they are not cut off.
    pub fn reading(&self, whole: bool) -> Reading {
        let mut modes = self.modes();
        Reading {
            dialect: self.dialect(),
            guessed: self.state.variable("sql_mode").is_none_or(|mode| mode == SPACES),
            ignore_space: modes
                .any(|one| one == b"IGNORE_SPACE" || one == b"ANSI" || one == SPACES),
            cut: !whole,
        }
    }

    /// What is in its `sql_mode`, as far as that is known.
    fn modes(&self) -> impl Iterator<Item = &[u8]> {
        let mode = self.state.variable("sql_mode").unwrap_or_default();
        mode.split(|byte| *byte == b',')
    }
}
