//! Whether a copy of the data will do for a request, and whether the copy has come far enough.

use std::{cell::RefCell, fmt::Write};

use wiremesh::correlation::{Access, Ready};

use super::{Pooled, prepare::Step};
use crate::{
    Command, Mysql, MysqlFrame, StatusFlags,
    classify::{ReadCache, Traits},
    collation::is_mariadb,
    digest::{Dialect, digest},
    frame::What,
    pooled::{
        Place,
        login::query,
        state::State,
        statements::{COUNT_AVAILABLE, Statement},
    },
    reply::Shape,
    session::{Change, Gtids},
    wire::HEAD,
};

/// What was found of so many statements is remembered, by each thread.
const STATEMENTS: usize = 4096;

/// Where the flags of a `COM_STMT_EXECUTE` are: behind the command's code and the statement's id.
const FLAGS: usize = HEAD + 1 + 4;

thread_local! {
    /// Which statements only read, and room for a digest. What is in it depends on statements alone, whosever they are.
    static READS: RefCell<(ReadCache, Vec<u8>)> =
        RefCell::new((ReadCache::new(STATEMENTS), Vec::new()));
}

/// What is known of a prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub traits: Traits,
    /// The state that it was prepared under.
    pub state: State,
    /// How its text was read.
    pub dialect: Dialect,
    /// What its executions need, when that was asked for.
    pub access: Option<Access>,
}

/// What a session knows of its own writes.
#[derive(Debug, Default)]
pub(super) struct Causal {
    own: Gtids,
    /// There are more than can be waited for.
    many: bool,
    /// It may have written since what nobody has told a number of.
    untold: bool,
    /// What was waited for did not come in time.
    pub late: bool,
}

impl Causal {
    /// The server tells which transactions were written.
    pub fn wrote(&mut self, gtids: &[u8]) {
        self.many |= !self.own.add(gtids);
        // Those before it come before it on a copy, too; or were rolled back.
        self.untold = false;
    }

    /// A request was answered. `changed`: so many rows that there are some. `torn`: some of its statements may have been
    /// carried out, and the server tells nothing of these.
    pub fn answered(&mut self, changed: bool, torn: bool) {
        self.untold |= torn || changed && self.own.is_empty();
    }

    /// It was waited for on this connection.
    pub fn waited(&mut self, reached: bool, place: &mut Place) {
        match reached {
            true => place.reached.learn(&self.own),
            false => self.late = true,
        }
    }

    fn wait(&self, mariadb: bool, seconds: f64) -> String {
        let mut text = "SELECT 1 FROM DUAL WHERE ".to_owned();
        let (own, text_ref) = (&self.own, &mut text);
        // Writing to a string cannot fail.
        let _ = match mariadb {
            // A server that is no copy would be waited for in vain; and behind an `OR` for several times as long.
            true => write!(
                text_ref,
                "IF(CONCAT(@@global.read_only) IN ('0','OFF'),0,MASTER_GTID_WAIT('{own}',{seconds}))=0 LIMIT 1"
            ),
            false => write!(text_ref, "WAIT_FOR_EXECUTED_GTID_SET('{own}',{seconds})=0 LIMIT 1"),
        };
        text
    }
}

impl Pooled {
    /// What the request in progress needs.
    pub(super) fn judge(&mut self, request: &MysqlFrame) -> Access {
        let traits = self.doing.traits;
        if !traits.asks.is_empty() {
            // Where it is asked now, somebody knows the answer.
            return if traits.looks && self.lent.place.is_some() {
                Access::Read
            } else {
                Access::Write
            };
        }
        let alone = self.sending.is_over()
            && !self.must_hold()
            && self.session.status.has(StatusFlags::AUTOCOMMIT)
            && !(self.causal.untold || self.causal.many);
        if !alone {
            return Access::Write;
        }
        match self.doing.command {
            Some(Command::Query) => {
                let asked = request.asked_route();
                access_of(request.text(), &traits, self.session.dialect(), asked.as_deref())
            }
            Some(Command::StmtExecute) => {
                let flags = request.bytes.get(FLAGS);
                match flags.is_some_and(|flags| flags & !COUNT_AVAILABLE == 0) {
                    true => self.access_of_prepared(request),
                    false => Access::Write,
                }
            }
            _ => Access::Write,
        }
    }

    fn access_of_prepared(&mut self, request: &MysqlFrame) -> Access {
        let id = self.statements.id_of(&request.bytes);
        let Some(prepared) = id.and_then(|id| self.prepared.get_mut(&id)) else {
            return Access::Write;
        };
        let statements = &self.statements;
        let (traits, dialect) = (&prepared.traits, prepared.dialect);
        let access = |asked: Option<&str>| {
            let text = statements.statement(&request.bytes).map(Statement::text);
            access_of(text.unwrap_or_default(), traits, dialect, asked)
        };
        match request.asked_route() {
            Some(asked) => access(Some(&asked)),
            None => *prepared.access.get_or_insert_with(|| access(None)),
        }
    }

    /// What a request on a connection for reads needs besides.
    pub(super) fn before_read(
        &mut self,
        mysql: &Mysql,
        request: &MysqlFrame,
    ) -> Option<Ready<Mysql>> {
        if self.lent.access == Access::Write || !matches!(request.what, What::Command(_)) {
            return None;
        }
        let traits = &self.doing.traits;
        let is_statement =
            matches!(self.doing.command, Some(Command::Query | Command::StmtExecute));
        if self.lent.place.as_ref().is_some_and(|place| !place.tells) {
            // It would be held, and with it the session kept to reads.
            (self.lent.ended, self.doing.access) = (true, Access::Write);
            return Some(Ready::Elsewhere);
        }
        let held = self.must_hold();
        if std::mem::take(&mut self.causal.late)
            || held && is_statement && !(traits.looks || traits.may_read || traits.explained)
        {
            self.doing.access = Access::Write;
            return Some(Ready::Elsewhere);
        }
        let (timeout, place) = (mysql.causal_reads?, self.lent.place.as_ref()?);
        if held || place.reached.cover(&self.causal.own) {
            return None;
        }
        self.doing.before.step = Step::Wait;
        self.transcoder.begin(Shape::Results, 1, self.session.status);
        let text = self.causal.wait(is_mariadb(&place.version), timeout.as_secs_f64());
        Some(Ready::First(query(&text, place.capabilities)))
    }
}

/// What a statement needs by its text, outside of transactions and with nothing of the session's on a connection. `asked`:
/// where an attribute says that it is to go, whatever the text says.
fn access_of(text: &[u8], traits: &Traits, dialect: Dialect, asked: Option<&str>) -> Access {
    let route = asked.or_else(|| traits.route(text));
    let asked = |value: &str| route.is_some_and(|route| route.eq_ignore_ascii_case(value));
    let read = match () {
        () if asked("primary") => false,
        () if asked("replica") && traits.looks => true,
        () => traits.may_read && is_read(text, dialect),
    };
    if read { Access::Read } else { Access::Write }
}

fn is_read(text: &[u8], dialect: Dialect) -> bool {
    READS.with_borrow_mut(|(reads, room)| {
        room.clear();
        digest(text, dialect, true, room);
        reads.is_read(room, text, dialect)
    })
}

/// Which transaction was written, if that is what is told. MariaDB tells it as a variable: 11.4 says `timestamp` where it means
/// `last_gtid`.
pub(super) fn gtid<'a>(change: &Change<'a>, mariadb: bool) -> Option<&'a [u8]> {
    match *change {
        Change::Gtid(gtid) => Some(gtid),
        Change::Variable { name: b"last_gtid", value } => {
            (mariadb && !value.is_empty()).then_some(value)
        }
        Change::Variable { name: b"timestamp", value } => {
            (mariadb && value.contains(&b'-')).then_some(value)
        }
        _ => None,
    }
}
