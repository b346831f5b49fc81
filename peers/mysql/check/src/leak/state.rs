//! State that lasts until it is set otherwise.

use wiremesh_mysql::Command;

use super::session::{Session, Step, Stop};
use super::variables::{CHARSETS, NAMES, Variable, readable};
use crate::conn::{Execution, Parameter};
use crate::reply::prepared;

impl Session<'_, '_> {
    pub(super) fn user_variables(&mut self) -> Step {
        let at = self.random.usize(..self.model.user.len());
        if self.random.bool() {
            return self.read_user_variable(at);
        }
        let value = self.nonce();
        let (mut at, mut other) = (at, None);
        match self.random.u8(..10) {
            0 => drop(self.set(&format!("set @v{at} = '{value}'"))?),
            1 => drop(self.set(&format!("select @v{at} := '{value}'"))?),
            2 => drop(self.set(&format!("select '{value}' into @v{at}"))?),
            3 => {
                at = 0;
                self.set(&format!("select leak_a.remember('{value}')"))?;
            }
            4 => {
                at = 1;
                self.set(&format!("call leak_a.recall('{value}')"))?;
            }
            5 => {
                self.set(&format!("SET @v{at} := '{value}', @v2 = '{value}'"))?;
                other = Some(2);
            }
            6 => self.execute_once(&format!("set @v{at} = ?"), &value)?,
            7 => drop(self.set(&format!("set @`v{at}` = '{value}'"))?),
            8 => drop(self.set(&format!("/* set names latin1 */ set/**/@v{at}='{value}'"))?),
            _ => drop(self.set(&format!("set @v{at} = (select '{value}' from leak_a.here)"))?),
        }
        for at in [Some(at), other].into_iter().flatten() {
            self.model.user[at] = Some(value.clone());
        }
        Ok(())
    }

    pub(super) fn read_user_variable(&mut self, at: usize) -> Step {
        let value = self.model.user[at].clone();
        let text = match self.random.u8(..3) {
            0 => format!("select @v{at}"),
            1 => format!("select concat(@v{at}, '')"),
            _ => format!("select @`v{at}` from leak_a.here"),
        };
        self.expect(value.is_none(), &text, value.as_deref())
    }

    /// Prepares in binary, executes with one parameter, and closes.
    fn execute_once(&mut self, text: &str, value: &str) -> Step {
        self.counted().set += 1;
        self.note(format!("prepare and execute {text} with {value}"));
        let reply = self.conn.prepare(text);
        let reply = self.heard(reply)?;
        let id = prepared(&reply).map_err(|e| self.wrong(format!("{e:#}")))?.id;
        let parameters = [Parameter::Text(value)];
        let reply = self.conn.execute(Execution {
            id,
            parameters: &parameters,
            types: true,
            cursor: false,
        });
        let reply = self.heard(reply)?;
        self.fine(reply)?;
        self.conn.close(id).map_err(|e| self.wrong(e))
    }

    pub(super) fn system_variables(&mut self) -> Step {
        let all = Variable::all(self.client.shared.maria);
        let at = self.random.usize(..all.len());
        let variable = all[at];
        if self.random.bool() {
            return self.read_system_variable(at, variable);
        }
        let (name, (literal, _)) =
            (variable.name, variable.values[self.random.usize(..variable.values.len())]);
        let mut kept = Some(literal);
        match self.random.u8(..10) {
            0 => drop(self.set(&format!("set session {name} = {literal}"))?),
            // Said of the isolation, this means the next transaction alone.
            1 if !name.ends_with("isolation") => {
                self.set(&format!("SET @@{name} = {literal}"))?;
            }
            2 => drop(self.set(&format!("set @@session.{name}={literal}"))?),
            3 => drop(self.set(&format!("set local {name} := {literal}"))?),
            4 => drop(self.set(&format!("/* a comment */ set -- another\n {name} = {literal}"))?),
            5 => drop(self.set(&format!("/*!50000 set {name} = {literal} */"))?),
            6 => {
                self.set(&format!("set {name} = default"))?;
                kept = None;
            }
            7 if name == "time_zone" => drop(self.set(&format!("call leak_a.zone({literal})"))?),
            7 => drop(self.set(&format!("do 1; set {name} = {literal}; do 2"))?),
            8 if literal.starts_with('\'') => {
                self.execute_once(&format!("set {name} = ?"), literal.trim_matches('\''))?;
            }
            _ => drop(self.set(&format!("set {name} = {literal}"))?),
        }
        self.model.set_variable(name, kept);
        Ok(())
    }

    fn read_system_variable(&mut self, at: usize, variable: &Variable) -> Step {
        let shared = self.client.shared;
        let set = self.model.variable(variable.name);
        let expected = match set {
            Some(literal) => {
                let known = variable.values.iter().find(|(known, _)| *known == literal);
                let Some((_, seen)) = known else { return Ok(()) };
                (*seen).to_owned()
            }
            None => {
                let fresh = shared.defaults.at(self.model.collation, self.model.begin);
                fresh.map_err(|e| self.wrong(e))?.variables[at].clone()
            }
        };
        self.expect(set.is_none(), &readable(variable), Some(&expected))
    }

    pub(super) fn charsets(&mut self) -> Step {
        if self.random.bool() {
            let (text, seen) = NAMES[self.random.usize(..NAMES.len())];
            self.set(text)?;
            self.model.charsets = Some(seen);
        }
        let fresh = self.client.shared.defaults.at(self.model.collation, self.model.begin);
        let fresh = fresh.map_err(|e| self.wrong(e))?.charsets.as_str();
        let expected = self.model.charsets.unwrap_or(fresh);
        self.expect(self.model.charsets.is_none(), CHARSETS, Some(expected))
    }

    pub(super) fn schema(&mut self) -> Step {
        let schema = if self.random.bool() { "leak_a" } else { "leak_b" };
        let now = self.model.schema;
        match self.random.u8(..9) {
            0 => drop(self.set(&format!("use {schema}"))?),
            1 => drop(self.set(&format!("USE `{schema}`"))?),
            2 => {
                self.counted().set += 1;
                self.note(format!("COM_INIT_DB {schema}"));
                let reply = self.conn.simple(Command::InitDb, schema.as_bytes());
                let reply = self.heard(reply)?;
                self.fine(reply)?;
            }
            3 => {
                self.set(&format!("set @v3 = null; use {schema}"))?;
                self.model.user[3] = None;
            }
            4 => return self.expect_error(now.is_none(), "use leak_of_nobody", 1049),
            5 => {
                let seen = self.say("call leak_a.schemas()")?;
                let seen = self.fine(seen)?[0].value().map_err(|e| self.wrong(e))?;
                return self.same(seen.as_deref(), Some("leak_a"));
            }
            6 | 7 => return self.expect(now.is_none(), "select database()", now),
            _ => {
                let text = "select name from here";
                return match now {
                    None => self.expect_error(true, text, 1046),
                    Some(schema) => self.expect(false, text, Some(schema)),
                };
            }
        }
        self.model.schema = Some(schema);
        Ok(())
    }

    pub(super) fn temporary_tables(&mut self) -> Step {
        let at = self.random.usize(..self.model.tables.len());
        let known = self.model.tables[at].clone();
        let quiet = !self.model.in_transaction();
        match (known, self.random.bool()) {
            (None, true) if quiet => {
                let value = self.nonce();
                match self.random.u8(..3) {
                    0 => {
                        self.set(&format!(
                            "create temporary table leak_a.t{at} (v varchar(60)) engine=innodb"
                        ))?;
                        self.set(&format!("insert into leak_a.t{at} values ('{value}')"))?;
                    }
                    1 if at == 0 => drop(self.set(&format!("call leak_a.keep('{value}')"))?),
                    _ => drop(self.set(&format!(
                        "create temporary table if not exists leak_a.t{at} as select '{value}' as v"
                    ))?),
                }
                self.model.tables[at] = Some(value);
                Ok(())
            }
            (Some(_), true) if quiet && self.one_in(3) => {
                let how = if self.random.bool() { "temporary " } else { "" };
                self.set(&format!("drop {how}table leak_a.t{at}"))?;
                self.model.tables[at] = None;
                Ok(())
            }
            (known, _) => {
                let text = format!("select v from leak_a.t{at}");
                match known {
                    None => self.expect_error(true, &text, 1146),
                    Some(value) => self.expect(false, &text, Some(&value)),
                }
            }
        }
    }

    pub(super) fn user_locks(&mut self) -> Step {
        let (me, at) = (self.client.number, self.random.usize(..2));
        let (name, held) = (self.lock(me, at), self.model.locks[at]);
        let watch = &self.client.shared.locks[me];
        match self.random.u8(..8) {
            0..=2 if !held => {
                self.counted().set += 1;
                watch.changing(at);
                let take = match self.random.bool() {
                    true => format!("select get_lock('{name}', 0)"),
                    false => format!("select leak_a.take('{name}')"),
                };
                // From here on it may be, whatever comes of it.
                self.model.locks[at] = true;
                self.expect(true, &take, Some("1"))?;
                watch.is(at, true);
                Ok(())
            }
            0 if held => {
                watch.changing(at);
                self.expect(false, &format!("select release_lock('{name}')"), Some("1"))?;
                self.model.locks[at] = false;
                watch.is(at, false);
                Ok(())
            }
            1 => {
                for at in 0..2 {
                    watch.changing(at);
                }
                let count = self.model.locks.iter().filter(|held| **held).count();
                let text = "select release_all_locks()";
                self.expect(count == 0, text, Some(&count.to_string()))?;
                for at in 0..2 {
                    self.model.locks[at] = false;
                    watch.is(at, false);
                }
                Ok(())
            }
            2 | 3 if held => {
                let text = format!("select is_used_lock('{name}') = connection_id()");
                self.expect(false, &text, Some("1"))
            }
            4 if !held => self.expect(true, &format!("select release_lock('{name}')"), None),
            5 => {
                let other = self.other();
                let text = format!("select release_lock('{}') = 1", self.lock(other, at));
                self.reading(true);
                match other == me || self.value(&text)?.as_deref() != Some("1") {
                    true => Ok(()),
                    false => Err(self.wrong("a stranger's lock was released")),
                }
            }
            6 => {
                let other = self.other();
                let text = format!("select is_free_lock('{}')", self.lock(other, at));
                let watch = &self.client.shared.locks[other];
                let (before, state) = watch.seen(at);
                let seen = self.value(&text)?;
                if watch.seen(at).0 == before
                    && let Some(held) = state
                {
                    self.reading(false);
                    self.same(seen.as_deref(), Some(if held { "0" } else { "1" }))?;
                }
                Ok(())
            }
            _ => {
                let free = if held { "0" } else { "1" };
                self.expect(!held, &format!("select is_free_lock('{name}')"), Some(free))
            }
        }
    }

    fn other(&mut self) -> usize {
        self.random.usize(..self.client.shared.options.clients)
    }

    /// For so long that nothing else of this session has to know.
    pub(super) fn locked_tables(&mut self) -> Step {
        let busy = self.model.in_transaction() || self.model.handlers.iter().any(Option::is_some);
        if busy || self.one_in(4) {
            return self.expect(true, "select name from leak_a.here", Some("leak_a"));
        }
        self.set("lock tables leak_a.five read")?;
        for _ in 0..self.random.usize(1..4) {
            match self.random.u8(..4) {
                0 => self.expect(false, "select count(*) from leak_a.five", Some("5"))?,
                1 => self.expect_error(false, "select name from leak_a.here", 1100)?,
                2 => self.expect_error(false, "insert into leak_a.five values (6)", 1099)?,
                _ => self.expect(false, "select 1", Some("1"))?,
            }
        }
        match self.random.u8(..6) {
            0 => return Err(Stop::Over),
            1 => {
                self.set("begin")?;
                self.set("rollback")?;
            }
            _ => drop(self.set("unlock tables")?),
        }
        self.expect(true, "select name from leak_a.here", Some("leak_a"))
    }

    pub(super) fn text_prepared(&mut self) -> Step {
        let at = self.random.usize(..self.model.named.len());
        match (self.model.named[at].clone(), self.random.u8(..4)) {
            (_, 0 | 1) => {
                let value = self.nonce();
                self.set(&format!("prepare p{at} from 'select ''{value}'' as v'"))?;
                self.model.named[at] = Some(value);
                Ok(())
            }
            (Some(_), 2) if self.one_in(3) => {
                self.set(&format!("deallocate prepare p{at}"))?;
                self.model.named[at] = None;
                Ok(())
            }
            (None, _) => self.expect_error(true, &format!("execute p{at}"), 1243),
            (Some(value), _) => self.expect(false, &format!("execute p{at}"), Some(&value)),
        }
    }

    pub(super) fn handlers(&mut self) -> Step {
        let at = self.random.usize(..self.model.handlers.len());
        match (self.model.handlers[at], self.random.u8(..4)) {
            (None, 0 | 1) => {
                self.set(&format!("handler leak_a.five open as h{at}"))?;
                self.expect(false, &format!("handler h{at} read first"), Some("1"))?;
                self.model.handlers[at] = Some(1);
                Ok(())
            }
            (None, _) => self.expect_error(true, &format!("handler h{at} read first"), 1109),
            (Some(row), 0..=2) if row < 5 => {
                let next = (row + 1).to_string();
                self.expect(false, &format!("handler h{at} read next"), Some(&next))?;
                self.model.handlers[at] = Some(row + 1);
                Ok(())
            }
            (Some(_), _) => {
                self.set(&format!("handler h{at} close"))?;
                self.model.handlers[at] = None;
                Ok(())
            }
        }
    }

    pub(super) fn multi_statements(&mut self) -> Step {
        if self.one_in(3) {
            self.reading(false);
            let reply = self.say("select 1; select nothing_of_this_name; select 2")?;
            return match reply.len() {
                2 => self.failed(&reply, 1054),
                other => Err(self.wrong(format!("{other} results"))),
            };
        }
        self.counted().set += 1;
        let value = self.nonce();
        let reply = self
            .say(&format!("set @v2 = '{value}'; select @v2; use leak_b; select database(), @v2"))?;
        let reply = self.fine(reply)?;
        self.model.user[2] = Some(value.clone());
        self.model.schema = Some("leak_b");
        self.reading(false);
        let seen = reply[1].value().map_err(|e| self.wrong(e))?;
        self.same(seen.as_deref(), Some(&value))?;
        self.read_user_variable(2)
    }

    pub(super) fn sequences(&mut self) -> Step {
        if self.random.bool() {
            self.counted().set += 1;
            self.model.sequence = self.value("select nextval(leak_a.numbers)")?;
        }
        let last = self.model.sequence.clone();
        self.expect(last.is_none(), "select lastval(leak_a.numbers)", last.as_deref())
    }
}
