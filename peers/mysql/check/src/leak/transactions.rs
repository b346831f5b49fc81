//! Rows that are not committed yet, of this session and of strangers.

use wiremesh_mysql::StatusFlags;

use super::session::{Session, Step};
use crate::reply::{Answer, Reply};

impl Session<'_, '_> {
    pub(super) fn transactions(&mut self) -> Step {
        match self.random.u8(..12) {
            0 | 1 if !self.model.open => self.begin(),
            2 | 3 => self.insert(),
            4 => self.commit(),
            5 => self.roll_back(),
            6 if self.model.autocommit => {
                // What is open stays open, and is committed by none but a statement that does.
                self.set("set autocommit = 0")?;
                self.model.autocommit = false;
                Ok(())
            }
            6 | 7 if !self.model.autocommit => {
                self.settle()?;
                self.set("set autocommit = 1")?;
                self.model.autocommit = true;
                self.model.end_transaction(true);
                Ok(())
            }
            8 => {
                let on = self.model.autocommit;
                self.expect(on, "select @@autocommit", Some(if on { "1" } else { "0" }))
            }
            9 | 10 if self.sees_committed_rows() => {
                let text = format!(
                    "select count(*) from leak_a.entries where done = 0 and owner <> '{}'",
                    self.name
                );
                self.expect(true, &text, Some("0"))
            }
            _ => self.count_rows(),
        }
    }

    /// Not where this session wants to see what is not committed.
    fn sees_committed_rows(&self) -> bool {
        ["tx_isolation", "transaction_isolation"]
            .iter()
            .all(|name| self.model.variable(name) != Some("'READ-UNCOMMITTED'"))
            && !self.model.in_transaction()
    }

    fn begin(&mut self) -> Step {
        // It commits what is pending by autocommit=0.
        self.settle()?;
        let text = match self.random.u8(..4) {
            0 => "begin",
            1 => "start transaction",
            2 => "START TRANSACTION READ WRITE",
            _ => "/* now */ begin work",
        };
        let reply = self.set(text)?;
        self.model.end_transaction(true);
        self.model.open = true;
        self.status(&reply, true)
    }

    fn commit(&mut self) -> Step {
        self.settle()?;
        let reply = self.set("commit")?;
        self.model.end_transaction(true);
        self.status(&reply, false)
    }

    fn roll_back(&mut self) -> Step {
        let text = if self.random.bool() { "rollback" } else { "ROLLBACK WORK" };
        let reply = self.set(text)?;
        self.model.end_transaction(false);
        self.status(&reply, false)
    }

    /// What the server says of the transaction.
    fn status(&self, reply: &Reply, open: bool) -> Step {
        let status = reply.last().and_then(Answer::done).map(|done| done.status);
        let status = status.unwrap_or_default();
        let (autocommit, known) = (status.has(StatusFlags::AUTOCOMMIT), self.model.autocommit);
        match (status.has(StatusFlags::IN_TRANS), autocommit) == (open, known) {
            true => Ok(()),
            false => Err(self.wrong(format!(
                "status {:#x}, where a transaction is open: {open}, autocommit: {known}",
                status.0
            ))),
        }
    }

    /// Marks what is pending, so that strangers may see it.
    fn settle(&mut self) -> Step {
        if self.model.pending.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = self.model.pending.iter().map(u64::to_string).collect();
        let ids = ids.join(", ");
        self.set(&format!("update leak_a.entries set done = 1 where id in ({ids})"))?;
        Ok(())
    }

    pub(super) fn insert(&mut self) -> Step {
        let pending = self.model.in_transaction();
        let name = self.name.clone();
        let reply = self.set(&format!(
            "insert into leak_a.entries (owner, done) values ('{name}', {})",
            u8::from(!pending)
        ))?;
        let id = self.inserted(&reply)?;
        match pending {
            true => self.model.pending.push(id),
            false => self.model.settled += 1,
        }
        Ok(())
    }

    /// The id that was made up for a row.
    pub(super) fn inserted(&mut self, reply: &Reply) -> Step<u64> {
        match reply.last().and_then(Answer::done) {
            Some(done) if done.insert_id > 0 => {
                self.model.last_insert_id = Some(done.insert_id);
                Ok(done.insert_id)
            }
            _ => Err(self.wrong(format!("an insert id was to come, not {reply:?}"))),
        }
    }

    /// Own rows, and nobody else's.
    fn count_rows(&mut self) -> Step {
        let count = self.model.settled + self.model.pending.len();
        let text = format!("select count(*) from leak_a.entries where owner = '{}'", self.name);
        self.expect(count == 0, &text, Some(&count.to_string()))
    }

    pub(super) fn savepoints(&mut self) -> Step {
        let depth = self.model.savepoints.len();
        match self.random.u8(..8) {
            _ if !self.model.open => {
                if self.random.bool() || !self.model.autocommit {
                    return self.expect_error(true, "rollback to savepoint sp0", 1305);
                }
                self.begin()?;
                self.savepoint()
            }
            0..=2 => self.savepoint(),
            3 | 4 if depth > 0 => {
                let at = self.random.usize(..depth);
                self.set(&format!("rollback to savepoint sp{at}"))?;
                self.model.pending.truncate(self.model.savepoints[at]);
                self.model.savepoints.truncate(at + 1);
                self.count_rows()
            }
            5 if depth > 0 => {
                let at = self.random.usize(..depth);
                self.set(&format!("release savepoint sp{at}"))?;
                self.model.savepoints.truncate(at);
                Ok(())
            }
            _ => {
                let text = format!("rollback to savepoint sp{depth}");
                self.expect_error(true, &text, 1305)?;
                self.count_rows()
            }
        }
    }

    fn savepoint(&mut self) -> Step {
        let depth = self.model.savepoints.len();
        self.set(&format!("savepoint sp{depth}"))?;
        self.model.savepoints.push(self.model.pending.len());
        self.insert()
    }

    /// It is read-only, once.
    pub(super) fn next_transaction(&mut self) -> Step {
        if self.model.open {
            return self.expect_error(false, "set transaction read only", 1568);
        }
        if !self.model.autocommit {
            return Ok(());
        }
        if self.one_in(3) {
            // A stranger's would make it fail.
            self.reading(true);
            return self.insert();
        }
        self.set("set transaction read only")?;
        if self.one_in(3) {
            self.pause();
        }
        let reply = self.set("start transaction")?;
        let read_only = |reply: &Reply| {
            let status = reply.last().and_then(Answer::done).map(|done| done.status);
            status.is_some_and(|status| status.has(StatusFlags::IN_TRANS_READONLY))
        };
        if !read_only(&reply) {
            return Err(self.wrong("the transaction is not read-only"));
        }
        self.expect_error(false, "insert into leak_a.counted (owner) values ('nobody')", 1792)?;
        let reply = self.set("rollback")?;
        if read_only(&reply) {
            return Err(self.wrong("it is read-only for longer than one transaction"));
        }
        self.reading(true);
        self.insert()
    }
}
