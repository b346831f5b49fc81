//! Statements that are prepared in binary.

use wiremesh_mysql::{Command, StatusFlags};

use super::model::{Statement, What};
use super::session::{Session, Step};
use crate::conn::{Execution, Parameter};
use crate::reply::{Answer, Reply, prepared};

const ECHO: &str =
    "select cast(? as char(60)), cast(@v0 as char(60)), cast(database() as char(60))";
const HERE: &str = "select name from here";
/// Open at a time.
const MOST: usize = 6;

impl Session<'_, '_> {
    pub(super) fn prepared(&mut self) -> Step {
        let count = self.model.statements.len();
        let open = self.model.statements.iter().filter(|one| !one.closed).count();
        if count == 0 || (open < MOST && self.one_in(4)) {
            return self.prepare_one();
        }
        let at = self.random.usize(..count);
        let statement = self.model.statements[at].clone();
        if statement.closed {
            return self.execute_closed(statement.id);
        }
        if self.one_in(8) {
            self.note(format!("close {}", statement.id));
            self.model.statements[at].closed = true;
            return self.conn.close(statement.id).map_err(|e| self.wrong(e));
        }
        match statement.what {
            What::Echo(schema) => self.echo(at, &statement, schema),
            What::Here(schema) => {
                let execution =
                    Execution { id: statement.id, parameters: &[], types: true, cursor: false };
                let reply = self.execute(execution)?;
                self.row(&reply, &[Some(schema)])
            }
        }
    }

    fn prepare(&mut self, text: &str) -> Step<Reply> {
        self.counted().set += 1;
        self.note(format!("prepare {text}"));
        let reply = self.conn.prepare(text);
        self.heard(reply)
    }

    fn prepare_fine(&mut self, text: &str) -> Step<u32> {
        let reply = self.prepare(text)?;
        let id = prepared(&reply).map_err(|e| self.wrong(format!("{e:#}")))?.id;
        // An id that is in use again is not that of a closed one any more.
        self.model.statements.retain(|one| one.id != id);
        Ok(id)
    }

    fn prepare_one(&mut self) -> Step {
        let what = match (self.random.bool(), self.model.schema) {
            (true, schema) => What::Echo(schema),
            (false, Some(schema)) => What::Here(schema),
            (false, None) => {
                let reply = self.prepare(HERE)?;
                return self.failed(&reply, 1046);
            }
        };
        let echoes = matches!(what, What::Echo(_));
        let id = self.prepare_fine(if echoes { ECHO } else { HERE })?;
        self.model.statements.push(Statement { id, what, told: false, closed: false });
        Ok(())
    }

    fn execute(&mut self, execution: Execution<'_>) -> Step<Reply> {
        self.reading(false);
        self.note(format!("{execution:?}"));
        let reply = self.conn.execute(execution);
        self.heard(reply)
    }

    fn execute_closed(&mut self, id: u32) -> Step {
        let reply = self.execute(Execution { id, parameters: &[], types: true, cursor: false })?;
        self.failed(&reply, 1243)
    }

    fn echo(&mut self, at: usize, statement: &Statement, schema: Option<&str>) -> Step {
        let value = self.nonce();
        let null = self.one_in(5);
        let parameters = [if null { Parameter::Null } else { Parameter::Text(&value) }];
        let types = !statement.told || self.one_in(4);
        let id = statement.id;
        let reply =
            self.execute(Execution { id, parameters: &parameters, types, cursor: false })?;
        self.model.statements[at].told = true;
        let variable = self.model.user[0].clone();
        let echoed = (!null).then_some(value.as_str());
        self.row(&reply, &[echoed, variable.as_deref(), schema])
    }

    /// One row of these strings.
    fn row(&self, reply: &Reply, expected: &[Option<&str>]) -> Step {
        let [Answer::Rows(table)] = &reply[..] else {
            return Err(self.wrong(format!("a row was to come, not {reply:?}")));
        };
        let rows = table.strings().map_err(|e| self.wrong(e))?;
        let seen: Vec<_> =
            rows.iter().flatten().map(|value| value.as_ref().map(String::as_str)).collect();
        match rows.len() == 1 && seen == expected {
            true => Ok(()),
            false => Err(self.wrong(format!("{rows:?} is seen, {expected:?} was to be"))),
        }
    }

    pub(super) fn long_data(&mut self) -> Step {
        let id = self.prepare_fine("select cast(concat(?, '.') as char(200))")?;
        let mut whole = String::new();
        for _ in 0..self.random.usize(1..4) {
            let part = self.nonce();
            self.note(format!("long data {part}"));
            self.conn.long_data(id, 0, part.as_bytes()).map_err(|e| self.wrong(e))?;
            whole += &part;
            if self.one_in(4) {
                self.read_user_variable(0)?;
            }
        }
        let (mut value, mut parameter) = (whole.clone(), Parameter::Long);
        let other = self.nonce();
        if self.one_in(3) {
            // Forgotten before it was used.
            self.note(format!("reset {id}"));
            let reply = self.conn.restart(id);
            let reply = self.heard(reply)?;
            self.fine(reply)?;
            (value, parameter) = (other.clone(), Parameter::Text(&other));
        }
        for _ in 0..2 {
            let parameters = [parameter];
            let reply = self.execute(Execution {
                id,
                parameters: &parameters,
                types: true,
                cursor: false,
            })?;
            self.row(&reply, &[Some(&format!("{value}."))])?;
            // It is good for one execution.
            (value, parameter) = (other.clone(), Parameter::Text(&other));
        }
        self.note(format!("close {id}"));
        self.conn.close(id).map_err(|e| self.wrong(e))
    }

    pub(super) fn cursors(&mut self) -> Step {
        const ROWS: &str = "select cast(n as char(9)) as n from leak_a.five order by n";
        let id = self.prepare_fine(ROWS)?;
        let reply = self.execute(Execution { id, parameters: &[], types: true, cursor: true })?;
        let opened = reply.last().and_then(Answer::done).map(|done| done.status);
        if !opened.is_some_and(|status| status.has(StatusFlags::CURSOR_EXISTS)) {
            return Err(self.wrong(format!("no cursor is opened: {reply:?}")));
        }
        let all: usize = match self.model.variable("sql_select_limit") {
            Some(limit) => limit.parse().unwrap_or_default(),
            None => 5,
        };
        let mut next = 1;
        while next <= all {
            if self.one_in(4) {
                self.read_user_variable(0)?;
            }
            if self.one_in(6) {
                break;
            }
            let count = self.random.usize(1..4);
            self.reading(false);
            self.note(format!("fetch {count} of {id}"));
            let reply = self.conn.fetch(id, count as u32);
            let reply = self.heard(reply)?;
            let [Answer::Rows(table)] = &reply[..] else {
                return Err(self.wrong(format!("rows were to come, not {reply:?}")));
            };
            // A fetched row has no columns of its own.
            let seen = table.rows.iter().map(|row| String::from_utf8_lossy(&row[3..]).into_owned());
            let expected = (next..=all).take(count).map(|n| n.to_string());
            if !seen.clone().eq(expected.clone()) {
                let (seen, expected): (Vec<_>, Vec<_>) = (seen.collect(), expected.collect());
                return Err(self.wrong(format!("{seen:?} is fetched, {expected:?} was to be")));
            }
            next += count;
        }
        if self.one_in(3) {
            self.note(format!("reset {id}"));
            let reply = self.conn.simple(Command::StmtReset, &id.to_le_bytes());
            let reply = self.heard(reply)?;
            self.fine(reply)?;
            let reply = self.conn.fetch(id, 1);
            let reply = self.heard(reply)?;
            self.failed(&reply, 1421)?;
        }
        self.note(format!("close {id}"));
        self.conn.close(id).map_err(|e| self.wrong(e))
    }
}
