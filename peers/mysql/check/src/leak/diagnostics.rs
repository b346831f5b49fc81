//! What a session knows of the statement before.

use wiremesh_mysql::Command;

use super::session::{Session, Step};
use crate::reply::{Answer, prepared};

/// The least [mark](Session::mark).
const MARKS: usize = 100;

impl Session<'_, '_> {
    pub(super) fn last_insert_id(&mut self) -> Step {
        match self.random.u8(..8) {
            0 => self.make_id()?,
            1 => {
                let id = self.random.u64(1000..1_000_000);
                self.set(&format!("select last_insert_id({id})"))?;
                self.model.last_insert_id = Some(id);
            }
            2 => return self.told_by_a_routine(),
            3 | 4 => return self.told_by_a_view(),
            _ => {}
        }
        let fresh = self.client.shared.defaults.at(self.model.collation, self.model.begin);
        let fresh = fresh.map_err(|e| self.wrong(e))?.last_insert_id.clone();
        let known = self.model.last_insert_id;
        let expected = known.map_or(fresh, |id| id.to_string());
        let text = match self.random.u8(..4) {
            0 => "select @@last_insert_id",
            1 => "select @@identity",
            _ => "select last_insert_id()",
        };
        self.expect(known.is_none(), text, Some(&expected))
    }

    fn make_id(&mut self) -> Step {
        let text = format!("insert into leak_a.counted (owner) values ('{}')", self.name);
        let reply = self.set(&text)?;
        self.inserted(&reply).map(drop)
    }

    /// Now and then something comes in between, by which others may get the connection.
    fn linger(&mut self) {
        if self.one_in(4) {
            self.pause();
        }
    }

    /// What it asks for within is seen by no proxy: the session's own, or nobody's.
    fn told_by_a_routine(&mut self) -> Step {
        self.find_rows()?;
        self.reading(self.model.last_insert_id.is_none());
        let seen = self.say("call leak_a.told()")?;
        let seen = self.fine(seen)?;
        let [Answer::Rows(table), ..] = &seen[..] else {
            return Err(self.wrong(format!("rows were to come, not {seen:?}")));
        };
        let rows = table.texts().map_err(|e| self.wrong(e))?;
        let [Some(id), found, changed] = &rows[0][..] else {
            return Err(self.wrong(format!("three values were to come, not {rows:?}")));
        };
        self.no_strangers_id(id)?;
        self.no_strangers(found.as_deref())?;
        self.no_strangers(changed.as_deref())
    }

    /// Of the text of such a statement nobody can tell that it asks for anything.
    fn told_by_a_view(&mut self) -> Step {
        // Connections are to be given back with an id on them, and nothing that would have them reset.
        if self.one_in(2) {
            self.make_id()?;
        }
        for _ in 0..10 {
            self.reading(self.model.last_insert_id.is_none());
            let id = self.value("select id from leak_a.last_id")?;
            self.no_strangers_id(id.as_deref().unwrap_or_default())?;
            self.linger();
        }
        Ok(())
    }

    fn no_strangers_id(&self, id: &str) -> Step {
        let fresh = self.client.shared.defaults.at(self.model.collation, self.model.begin);
        let fresh = &fresh.map_err(|e| self.wrong(e))?.last_insert_id;
        let own = self.model.last_insert_id.is_some_and(|own| own.to_string() == id);
        match own || id == fresh || id == "0" {
            true => Ok(()),
            false => Err(self.wrong(format!("the id {id} is seen by what nobody sees ask for it"))),
        }
    }

    /// How many rows this client finds or changes to be known by: no other has as many, nor anything else in any session.
    fn mark(&self) -> usize {
        MARKS + self.client.number
    }

    fn no_strangers(&self, count: Option<&str>) -> Step {
        let count = count.and_then(|count| count.parse().ok()).unwrap_or(0_usize);
        let marks = MARKS..MARKS + self.client.shared.options.clients;
        match marks.contains(&count) && count != self.mark() {
            true => Err(self.wrong(format!("{count} is client {}'s", count - MARKS))),
            false => Ok(()),
        }
    }

    /// Finds as many as the mark, whatever `sql_select_limit` is: a new connection of MariaDB's has what somebody else has found.
    fn find_rows(&mut self) -> Step {
        let text = format!("select n from leak_a.many where n <= {} limit 1000", self.mark());
        self.set(&text).map(drop)
    }

    /// Asks how many rows were found behind what does not count any, while the connection is held.
    fn found_rows_that_are_left(&mut self) -> Step {
        self.find_rows()?;
        self.linger();
        let begins = !self.model.in_transaction();
        if begins {
            self.set("begin")?;
        }
        self.leave_found_rows()?;
        self.reading(false);
        let seen = self.value("select found_rows()");
        if begins {
            self.set("rollback")?;
        }
        self.same(seen?.as_deref(), Some(&self.mark().to_string()))
    }

    /// Says something that counts no rows that are found.
    fn leave_found_rows(&mut self) -> Step {
        let reply = match self.random.u8(..9) {
            0 => self.conn.simple(Command::Ping, b""),
            1 => self.conn.simple(Command::SetOption, &[0, 0]),
            2 => self.conn.statistics(),
            3 => self.conn.field_list("five", ""),
            4 => {
                let reply = self.conn.prepare("select n from leak_a.five");
                let reply = self.heard(reply)?;
                let id = prepared(&reply).map_err(|e| self.wrong(format!("{e:#}")))?.id;
                return self.conn.close(id).map_err(|e| self.wrong(e));
            }
            5 => return self.set("savepoint a").map(drop),
            6 => return self.set("show create table leak_a.five").map(drop),
            7 => return self.set("checksum table leak_a.five").map(drop),
            _ => return self.set("show grants").map(drop),
        };
        self.heard(reply).map(drop)
    }

    /// Asks how many rows were changed behind a routine that changes none, which MySQL takes for no statement.
    fn row_count_that_is_left(&mut self) -> Step {
        let reply = self.set("call leak_a.nothing()")?;
        let affected = reply.last().and_then(Answer::done).map(|done| done.affected.to_string());
        self.no_strangers(affected.as_deref())?;
        self.reading(true);
        let seen = self.value("select row_count()")?;
        self.no_strangers(seen.as_deref())
    }

    pub(super) fn found_rows(&mut self) -> Step {
        match self.random.u8(..6) {
            0 => return self.find_rows(),
            1 | 2 => return self.found_rows_that_are_left(),
            _ => {}
        }
        let count = match self.random.u8(..2) {
            0 => {
                self.set("select sql_calc_found_rows n from leak_a.five limit 2")?;
                "5"
            }
            _ => {
                self.set("select n from leak_a.five where n < 4")?;
                "3"
            }
        };
        self.linger();
        self.expect(false, "select found_rows()", Some(count))
    }

    pub(super) fn row_count(&mut self) -> Step {
        let count = match self.random.u8(..6) {
            0 => self.mark(),
            1 => return self.row_count_that_is_left(),
            _ => self.random.usize(1..5),
        };
        let rows = vec![format!("('{}')", self.name); count].join(", ");
        let reply = self.set(&format!("insert into leak_a.counted (owner) values {rows}"))?;
        self.inserted(&reply)?;
        self.linger();
        self.expect(false, "select row_count()", Some(&count.to_string()))?;
        self.expect(false, "select row_count()", Some("-1"))
    }

    pub(super) fn warnings(&mut self) -> Step {
        match self.random.u8(..4) {
            0 => {
                let reply = self.say("select n from leak_a.five limit 1")?;
                self.fine(reply)?;
                self.linger();
                self.warned(None)
            }
            1 => {
                let value = self.nonce();
                self.counted().set += 1;
                self.say(&format!("select * from leak_a.`{value}`"))?;
                self.linger();
                self.reading(false);
                let seen = self.say("show errors")?;
                self.told(&seen, Some(&value))
            }
            _ => {
                let value = self.nonce();
                self.set(&format!("select cast('{value}' as signed)"))?;
                self.linger();
                if self.one_in(3) {
                    self.expect(false, "show count(*) warnings", Some("1"))?;
                }
                self.warned(Some(&value))
            }
        }
    }

    fn warned(&mut self, value: Option<&str>) -> Step {
        self.reading(value.is_none());
        let seen = self.say("show warnings")?;
        self.told(&seen, value)
    }

    /// One warning that says this, or none.
    fn told(&self, reply: &[Answer], value: Option<&str>) -> Step {
        let [Answer::Rows(table)] = reply else {
            return Err(self.wrong(format!("rows were to come, not {reply:?}")));
        };
        let rows = table.texts().map_err(|e| self.wrong(e))?;
        let texts: Vec<_> = rows.iter().filter_map(|row| row[2].clone()).collect();
        let right = match value {
            None => texts.is_empty(),
            Some(value) => texts.len() == 1 && texts[0].contains(value),
        };
        match right {
            true => Ok(()),
            false => Err(self.wrong(format!("{texts:?}, where {value:?} was to be told"))),
        }
    }

    pub(super) fn diagnostics(&mut self) -> Step {
        let value = self.nonce();
        self.counted().set += 1;
        self.say(&format!("select `{value}` from leak_a.five"))?;
        self.linger();
        self.set("get diagnostics condition 1 @told = message_text")?;
        self.reading(false);
        let seen = self.value("select @told")?.unwrap_or_default();
        match seen.contains(&value) {
            true => Ok(()),
            false => Err(self.wrong(format!("{seen:?}, where {value:?} was to be told"))),
        }
    }
}
