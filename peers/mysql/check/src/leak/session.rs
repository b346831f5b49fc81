//! One client: its sessions one after the other, and how they begin and end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use wiremesh_mysql::Command;

use super::counted::Counted;
use super::defaults::{Begin, COLLATIONS};
use super::model::Model;
use super::{Kind, NOTICE, Shared};
use crate::conn::{Conn, Login};
use crate::reply::{Answer, Failure, Reply};

/// Whether a client holds its user locks, for others to see: a count that is odd while it changes or is not known, and
/// twice the count's state otherwise.
#[derive(Default)]
pub(super) struct LockWatch([AtomicU64; 2]);

impl LockWatch {
    pub(super) fn changing(&self, at: usize) {
        let now = self.0[at].load(Ordering::SeqCst);
        self.0[at].store(now | 1, Ordering::SeqCst);
    }

    pub(super) fn is(&self, at: usize, held: bool) {
        // The lowest bit says that it changes, the next that it is held.
        let now = self.0[at].load(Ordering::SeqCst) & !3;
        self.0[at].store((now + 4) | (u64::from(held) << 1), Ordering::SeqCst);
    }

    /// A number that changes with the state, and whether it is held, where that is known.
    pub(super) fn seen(&self, at: usize) -> (u64, Option<bool>) {
        let now = self.0[at].load(Ordering::SeqCst);
        (now, (now & 1 == 0).then_some(now & 2 != 0))
    }
}

/// Why a step does not go on.
pub(super) enum Stop {
    /// A proxy says that it cannot tell any more.
    Refused,
    /// The session is to end as it is.
    Over,
    Wrong(String),
}

pub(super) type Step<T = ()> = Result<T, Stop>;

pub(super) struct Client<'a> {
    pub(super) shared: &'a Shared,
    pub(super) number: usize,
    counted: Counted,
    /// Of the session before: its connection, where there is one, the schema, and the collation of the last login.
    left: Option<(Conn, Option<&'static str>, u8)>,
    /// Of the session before: its name, and how many rows it has committed.
    rows: Option<(String, usize)>,
}

pub(super) struct Session<'a, 'c> {
    pub(super) client: &'c mut Client<'a>,
    pub(super) conn: Conn,
    pub(super) random: Rng,
    pub(super) model: Model,
    pub(super) name: String,
    pub(super) kind: Kind,
    nonces: usize,
    said: Vec<String>,
}

impl<'a> Client<'a> {
    pub(super) fn new(shared: &'a Shared, number: usize) -> Self {
        Self { shared, number, counted: Counted::default(), left: None, rows: None }
    }

    /// Every session whose number is this client's, modulo their count.
    pub(super) fn run(mut self) -> Counted {
        let options = &self.shared.options;
        for session in (self.number..options.sessions).step_by(options.clients) {
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            self.shared.begun.fetch_add(1, Ordering::Relaxed);
            let random = Rng::with_seed(options.seed.wrapping_mul(1_000_003) + session as u64);
            if let Err(error) = self.session(session, random) {
                let seed = options.seed;
                let kind = self.shared.kinds[0];
                self.counted.of(kind).wrong += 1;
                self.shared
                    .complain(format!("FAIL seed {seed} session {session}: no session: {error:#}"));
            }
        }
        self.counted
    }

    fn session(&mut self, number: usize, mut random: Rng) -> anyhow::Result<()> {
        let options = &self.shared.options;
        let collation = random.choice(COLLATIONS).unwrap_or(45);
        let schema = random.choice([None, Some("leak_a"), Some("leak_b")]).flatten();
        let login = Login {
            collation,
            schema: schema.unwrap_or_default().into(),
            ..Login::new(&options.user, &options.password)
        };
        let (conn, model) = match self.left.take() {
            Some((mut conn, kept, of_login)) if random.bool() => {
                let reply = conn.simple(Command::ResetConnection, &[])?;
                anyhow::ensure!(reply[0].failure().is_none(), "reset: {reply:?}");
                (conn, Model::new(Begin::Reset, of_login, kept))
            }
            Some((mut conn, ..)) => {
                conn.change_user(&login)?;
                (conn, Model::new(Begin::ChangeUser, collation, schema))
            }
            None => (
                Conn::login(options.address, &login)?,
                Model::new(Begin::Connect, collation, schema),
            ),
        };
        let name = format!("s{}-{number}", options.seed);
        let kind = self.shared.kinds[0];
        let (nonces, said) = (0, Vec::new());
        let mut session = Session { client: self, conn, random, model, name, kind, nonces, said };
        let verdict = session.run();
        session.end(verdict, number);
        Ok(())
    }
}

impl Session<'_, '_> {
    fn run(&mut self) -> Step {
        self.begun()?;
        let kinds = &self.client.shared.kinds;
        // A few of all, so that what is set is read, too.
        let few: Vec<_> = (0..5).map(|_| kinds[self.random.usize(..kinds.len())]).collect();
        for _ in 0..self.random.usize(3..25) {
            let from = if self.one_in(5) { kinds } else { &few };
            self.kind = from[self.random.usize(..from.len())];
            if self.random.u8(..) < 6 {
                self.pause();
            }
            match self.step() {
                Err(Stop::Refused) if self.kind.is_told_once() => self.count_refused(),
                other => other?,
            }
        }
        Ok(())
    }

    /// What the session before has left behind on the server is gone.
    fn begun(&mut self) -> Step {
        let begin = self.model.begin;
        let watch = &self.client.shared.locks[self.client.number];
        for at in 0..2 {
            if watch.seen(at).1 == Some(false) {
                continue;
            }
            self.kind = Kind::UserLocks;
            let ask = format!("select is_free_lock('{}')", self.lock(self.client.number, at));
            let end = Instant::now() + NOTICE;
            // Who leaves without a word is noticed when the server gets round to it.
            while begin == Begin::Connect && self.value(&ask)?.as_deref() != Some("1") {
                if Instant::now() > end || self.client.shared.stop.load(Ordering::Relaxed) {
                    return Err(self.wrong("the lock of a session that is over is not free"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            self.expect(true, &ask, Some("1"))?;
            watch.is(at, false);
        }
        if let Some((before, settled)) = self.client.rows.take() {
            self.kind = Kind::Transactions;
            let ask = format!("select count(*) from leak_a.entries where owner = '{before}'");
            self.expect(true, &ask, Some(&settled.to_string()))?;
        }
        Ok(())
    }

    fn end(mut self, verdict: Step, number: usize) {
        let mut keep = false;
        match verdict {
            Ok(()) | Err(Stop::Over) => {
                self.client.rows = self
                    .client
                    .shared
                    .kinds
                    .contains(&Kind::Transactions)
                    .then(|| (self.name.clone(), self.model.settled));
                match self.random.u8(..10) {
                    0..6 => keep = true,
                    6 | 7 => drop(self.conn.send(Command::Quit, &[])),
                    // In the middle of an answer, or of nothing.
                    8 => drop(self.conn.send(
                        Command::Query,
                        b"select a.n, b.n, c.n from leak_a.five a, leak_a.five b, leak_a.five c",
                    )),
                    _ => {}
                }
            }
            Err(Stop::Refused) => self.count_refused(),
            Err(Stop::Wrong(what)) => {
                let shared = self.client.shared;
                self.client.counted.of(self.kind).wrong += 1;
                let said = self.said.split_off(self.said.len().saturating_sub(16)).join("; ");
                shared.complain(format!(
                    "FAIL seed {} session {number} client {} begun by {:?}: {}: {what}\n  after: {said}",
                    shared.options.seed,
                    self.client.number,
                    self.model.begin,
                    self.kind.name(),
                ));
            }
        }
        let watch = &self.client.shared.locks[self.client.number];
        for at in 0..2 {
            if self.model.locks[at] {
                watch.changing(at);
            }
        }
        if keep {
            self.client.left = Some((self.conn, self.model.schema, self.model.collation));
        }
    }

    fn count_refused(&mut self) {
        self.counted().refused += 1;
    }

    pub(super) fn counted(&mut self) -> &mut super::counted::Line {
        self.client.counted.of(self.kind)
    }

    /// Long enough for others to come in between, sometimes.
    pub(super) fn pause(&mut self) {
        let longest = self.client.shared.options.pause;
        std::thread::sleep(Duration::from_millis(self.random.u64(0..=longest)));
    }

    /// A value that nobody else has.
    pub(super) fn nonce(&mut self) -> String {
        self.nonces += 1;
        format!("{}-{}", self.name, self.nonces)
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.random.usize(..n) == 0
    }

    /// The name of a client's user lock.
    pub(super) fn lock(&self, client: usize, at: usize) -> String {
        format!("leak-{client}-{at}")
    }

    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Stop {
        Stop::Wrong(what.to_string())
    }

    /// For the list of what was said before.
    pub(super) fn note(&mut self, what: impl Into<String>) {
        self.said.push(what.into());
    }

    /// What came of a command, unless it was refused.
    pub(super) fn heard(&self, reply: anyhow::Result<Reply>) -> Step<Reply> {
        let reply = reply.map_err(|e| self.wrong(format!("no answer: {e:#}")))?;
        match reply.iter().filter_map(Answer::failure).any(is_refusal) {
            true => Err(Stop::Refused),
            false => Ok(reply),
        }
    }

    pub(super) fn say(&mut self, text: &str) -> Step<Reply> {
        self.note(text);
        let reply = self.conn.query(text);
        self.heard(reply)
    }

    /// It makes state, and succeeds.
    pub(super) fn set(&mut self, text: &str) -> Step<Reply> {
        self.counted().set += 1;
        let reply = self.say(text)?;
        self.fine(reply)
    }

    /// No answer is an error.
    pub(super) fn fine(&self, reply: Reply) -> Step<Reply> {
        match reply.iter().find_map(Answer::failure) {
            Some(failure) => Err(self.wrong(failure)),
            None => Ok(reply),
        }
    }

    pub(super) fn value(&mut self, text: &str) -> Step<Option<String>> {
        let reply = self.say(text)?;
        let reply = self.fine(reply)?;
        reply[0].value().map_err(|e| self.wrong(format!("{e:#}")))
    }

    /// It is answered by this one value; `fresh`: because this session has set none.
    pub(super) fn expect(&mut self, fresh: bool, text: &str, value: Option<&str>) -> Step {
        self.reading(fresh);
        let seen = self.value(text)?;
        self.same(seen.as_deref(), value)
    }

    pub(super) fn same(&self, seen: Option<&str>, value: Option<&str>) -> Step {
        match seen == value {
            true => Ok(()),
            false => Err(self.wrong(format!("{seen:?} is seen, {value:?} was to be"))),
        }
    }

    /// It is answered by an error.
    pub(super) fn expect_error(&mut self, fresh: bool, text: &str, number: u16) -> Step {
        self.reading(fresh);
        let reply = self.say(text)?;
        self.failed(&reply, number)
    }

    pub(super) fn failed(&self, reply: &Reply, number: u16) -> Step {
        match reply.iter().find_map(Answer::failure) {
            Some(failure) if failure.number == number => Ok(()),
            _ => Err(self.wrong(format!("error {number} was to come, not {reply:?}"))),
        }
    }

    pub(super) fn reading(&mut self, fresh: bool) {
        let line = self.counted();
        match fresh {
            true => line.fresh += 1,
            false => line.read += 1,
        }
    }
}

/// What a proxy says when it will not guess.
fn is_refusal(failure: &Failure) -> bool {
    failure.number == 1105 && failure.text.starts_with("wiremesh")
}
