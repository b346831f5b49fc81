//! Transactions.

use wiremesh_redis::Message;

use super::{
    out::{Fault, Out},
    session::Session,
};

/// What a client has queued, and which keys must not change before.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    queue: Option<Vec<Message>>,
    spoilt: bool,
    /// Database, key, and its version then.
    watched: Vec<(usize, Box<[u8]>, u64)>,
}

impl Transaction {
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    pub(super) fn queue(&mut self, request: Message) {
        if let Some(queue) = &mut self.queue {
            queue.push(request);
        }
    }

    /// A command was refused: nothing will be executed.
    pub(super) fn spoil(&mut self) {
        self.spoilt |= self.is_open();
    }
}

impl Session {
    pub(super) fn on_transaction(
        &mut self,
        name: &str,
        args: &[&[u8]],
        out: &mut Out,
    ) -> Result<bool, Fault> {
        match name {
            "multi" if self.transaction.is_open() => {
                return Err("ERR MULTI calls can not be nested".into());
            }
            "multi" => {
                self.transaction.queue = Some(Vec::new());
                out.ok();
            }
            "discard" if !self.transaction.is_open() => {
                return Err("ERR DISCARD without MULTI".into());
            }
            "discard" => {
                self.transaction = Transaction::default();
                out.ok();
            }
            "watch" if self.transaction.is_open() => {
                return Err("ERR WATCH inside MULTI is not allowed".into());
            }
            "watch" => {
                let mut store = self.server.store.borrow_mut();
                for key in &args[1..] {
                    let version = store.version(self.db, key);
                    self.transaction.watched.push((self.db, (*key).into(), version));
                }
                out.ok();
            }
            "unwatch" => {
                self.transaction.watched.clear();
                out.ok();
            }
            "exec" => self.exec(out)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn exec(&mut self, out: &mut Out) -> Result<(), Fault> {
        let Transaction { queue, spoilt, watched } = std::mem::take(&mut self.transaction);
        let queue = queue.ok_or("ERR EXEC without MULTI")?;
        if spoilt {
            return Err("EXECABORT Transaction discarded because of previous errors.".into());
        }
        let unchanged = {
            let mut store = self.server.store.borrow_mut();
            watched.iter().all(|(db, key, version)| store.version(*db, key) == *version)
        };
        if !unchanged {
            out.null_array();
            return Ok(());
        }
        out.array(queue.len());
        self.executing = true;
        for request in &queue {
            let Some(command) = request.command() else { continue };
            let args: Vec<_> = request.args().collect();
            let mark = out.bytes.len();
            if let Err(fault) = self.run(command, &args, out) {
                out.bytes.truncate(mark);
                out.error(&fault);
            }
        }
        self.executing = false;
        Ok(())
    }
}
