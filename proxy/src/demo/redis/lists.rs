//! Lists, and who waits for their elements.

use std::{collections::VecDeque, rc::Rc};

use super::{
    connection::{milliseconds, timeout},
    hub::Mailbox,
    out::{Fault, Out, integer},
    server::Server,
    session::{Call, Late, Session},
    store::Store,
};

type List = VecDeque<Vec<u8>>;

/// A client that waits for an element of one of these lists.
pub(super) struct Waiting {
    pub(super) mailbox: Rc<Mailbox>,
    db: usize,
    keys: Vec<Vec<u8>>,
    left: bool,
}

pub(super) fn run(call: &mut Call<'_>) -> Result<bool, Fault> {
    let (args, db) = (call.args, call.db);
    let mut store = call.server.store.borrow_mut();
    let out = &mut *call.out;
    match call.name {
        "lpush" | "rpush" => {
            let list: &mut List = store.made(db, args[1])?;
            for item in &args[2..] {
                match call.name {
                    "lpush" => list.push_front(item.to_vec()),
                    _ => list.push_back(item.to_vec()),
                }
            }
            out.count(list.len());
        }
        "lpop" | "rpop" => {
            let left = call.name == "lpop";
            let Some(count) = args.get(2) else {
                out.maybe(pop(&mut store, db, args[1], left)?);
                return Ok(true);
            };
            let count = usize::try_from(integer(count)?)
                .map_err(|_| "ERR value is out of range, must be positive")?;
            let Some(list) = store.existing::<List>(db, args[1])? else {
                out.null_array();
                return Ok(true);
            };
            let take = || if left { list.pop_front() } else { list.pop_back() };
            let taken: Vec<_> = std::iter::from_fn(take).take(count).collect();
            out.bulks(taken.iter());
            store.tidy(db, args[1]);
        }
        "llen" => out.count(store.read::<List>(db, args[1])?.map_or(0, VecDeque::len)),
        "lrange" => {
            let (first, last) = (integer(args[2])?, integer(args[3])?);
            let empty = List::new();
            let list = store.read::<List>(db, args[1])?.unwrap_or(&empty);
            let len = i64::try_from(list.len()).unwrap_or(i64::MAX);
            let place = |n: i64| if n < 0 { n.saturating_add(len).max(-1) } else { n };
            let first = usize::try_from(place(first).max(0)).unwrap_or(usize::MAX);
            let end = usize::try_from(place(last).saturating_add(1).min(len)).unwrap_or(0);
            let found = list.iter().take(end).skip(first);
            out.bulks(found.collect::<Vec<_>>().iter());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn pop(store: &mut Store, db: usize, key: &[u8], left: bool) -> Result<Option<Vec<u8>>, Fault> {
    let Some(list) = store.existing::<List>(db, key)? else { return Ok(None) };
    let item = if left { list.pop_front() } else { list.pop_back() };
    store.tidy(db, key);
    Ok(item)
}

/// Pops from the first of these lists that has something.
fn pop_any(
    store: &mut Store,
    db: usize,
    keys: &[impl AsRef<[u8]>],
    left: bool,
    out: &mut Out,
) -> Result<bool, Fault> {
    for key in keys.iter().map(AsRef::as_ref) {
        if let Some(item) = pop(store, db, key, left)? {
            out.bulks([key, &item].iter());
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives what was pushed to those who wait for it.
pub(super) fn serve(server: &Server) {
    let mut store = server.store.borrow_mut();
    server.waiting.borrow_mut().retain(|waiting| {
        let Waiting { mailbox, db, keys, left } = waiting;
        let version = mailbox.out.borrow().version;
        let mut out = Out { version, ..Out::default() };
        // Another type may have come in the place of a list: it waits on.
        let served = pop_any(&mut store, *db, keys, *left, &mut out).unwrap_or(false);
        if served {
            mailbox.blocked.set(false);
            mailbox.post(|to| to.bytes.extend_from_slice(&out.bytes));
        }
        !served
    });
}

impl Session {
    pub(super) fn on_blocking(
        &mut self,
        name: &str,
        args: &[&[u8]],
        out: &mut Out,
    ) -> Result<bool, Fault> {
        match (name, args) {
            ("blpop" | "brpop", [_, keys @ .., last]) => {
                let (left, timeout) = (name == "blpop", timeout(last)?);
                let popped =
                    pop_any(&mut self.server.store.borrow_mut(), self.db, keys, left, out)?;
                if popped {
                    return Ok(true);
                }
                if self.executing {
                    out.null_array();
                    return Ok(true);
                }
                let keys = keys.iter().map(|key| key.to_vec()).collect();
                let waiting = Waiting { mailbox: self.mailbox.clone(), db: self.db, keys, left };
                self.server.waiting.borrow_mut().push(waiting);
                self.wait(timeout, Late::Nothing);
            }
            // There are no replicas, and never will be.
            ("wait", [_, replicas, last]) => {
                let (replicas, timeout) = (integer(replicas)?, milliseconds(last)?);
                if replicas <= 0 || self.executing {
                    out.integer(0);
                } else {
                    self.wait(timeout, Late::Zero);
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
