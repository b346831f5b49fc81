//! What a session knows of the statement before.

use super::session::{Session, Step};
use crate::reply::Answer;

impl Session<'_, '_> {
    pub(super) fn last_insert_id(&mut self) -> Step {
        match self.random.u8(..6) {
            0 => {
                let name = self.name.clone();
                let text = format!("insert into leak_a.counted (owner) values ('{name}')");
                let reply = self.set(&text)?;
                self.inserted(&reply)?;
            }
            1 => {
                let id = self.random.u64(1000..1_000_000);
                self.set(&format!("select last_insert_id({id})"))?;
                self.model.last_insert_id = Some(id);
            }
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

    /// Now and then something comes in between, by which others may get the connection.
    fn linger(&mut self) {
        if self.one_in(4) {
            self.pause();
        }
    }

    pub(super) fn found_rows(&mut self) -> Step {
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
        let count = self.random.usize(1..5);
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
