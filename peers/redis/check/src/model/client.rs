//! One client, the only one that writes its keys.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::Tally;
use super::key::Key;
use crate::conn::{Answer, Cmd, Conn, End};
use crate::resp::Value;

/// The proxy has to give up before.
const PATIENCE: Duration = Duration::from_secs(15);
const KEYS: u64 = 200;

pub(super) struct Client {
    name: String,
    address: SocketAddr,
    lossy: bool,
    waits: bool,
    rng: Rng,
    conn: Option<Conn>,
    keys: HashMap<String, Key>,
    counters: HashMap<String, (u64, u64)>,
    /// The last value that a replica has, and the last that was written at all.
    copied: HashMap<String, (u64, u64)>,
    tally: Tally,
    right: Instant,
}

impl Client {
    pub(super) fn new(n: usize, address: SocketAddr, seed: u64, lossy: bool, waits: bool) -> Self {
        Self {
            name: format!("m{seed}:{n}:"),
            address,
            lossy,
            waits,
            rng: Rng::with_seed(seed),
            conn: None,
            keys: HashMap::new(),
            counters: HashMap::new(),
            copied: HashMap::new(),
            tally: Tally::default(),
            right: Instant::now(),
        }
    }

    pub(super) fn run(mut self, end: Instant) -> Tally {
        while Instant::now() < end && self.tally.wrong.len() < 5 {
            match self.rng.usize(0..10) {
                0..5 => self.pipeline(),
                5 => self.many(),
                6 => self.transaction(),
                7 => self.count(),
                8 => self.list(),
                9 if self.waits => self.copy(),
                _ => self.echo(),
            }
        }
        self.tally
    }

    /// Writes and reads of many slots in one burst. Each read sees the writes before it.
    fn pipeline(&mut self) {
        let mut cmds = Vec::new();
        let mut about = Vec::new();
        for _ in 0..self.rng.usize(1..20) {
            let key = self.key();
            if self.rng.bool() {
                let value =
                    self.keys.entry(key.clone()).or_insert_with(|| Key::new(self.lossy)).next();
                cmds.push(Cmd::new(&["SET", &key, &format!("{key}={value}")]));
                about.push((key, Some(value)));
            } else {
                cmds.push(Cmd::new(&["GET", &key]));
                about.push((key, None));
            }
        }
        let answers = self.burst(&cmds);
        for ((key, written), answer) in about.into_iter().zip(&answers) {
            match written {
                Some(value) => self.wrote(&key, value, is_ok(answer)),
                None => self.has_read(&key, answer.values.first()),
            }
        }
    }

    /// Commands that are split over the shards.
    fn many(&mut self) {
        let keys: Vec<_> = (0..self.rng.usize(2..12)).map(|_| self.key()).collect();
        let mut keys = keys;
        keys.sort();
        keys.dedup();
        let mut args = vec!["MSET".to_owned()];
        let mut values = Vec::new();
        for key in &keys {
            let value = self.keys.entry(key.clone()).or_insert_with(|| Key::new(self.lossy)).next();
            args.extend([key.clone(), format!("{key}={value}")]);
            values.push(value);
        }
        let mut get = vec!["MGET"];
        get.extend(keys.iter().map(String::as_str));
        let get = Cmd::new(&get);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let answers = self.burst(&[Cmd::new(&args), get]);
        // With an error, some shards may have it and others not.
        let sure = answers.first().is_some_and(is_ok);
        for (key, value) in keys.iter().zip(values) {
            self.wrote(key, value, sure);
        }
        let Some(Value::Many(_, Some(items))) = answers.get(1).and_then(|a| a.values.first())
        else {
            return;
        };
        if items.len() != keys.len() {
            self.wrong(format!("MGET of {} keys has {} values", keys.len(), items.len()));
            return;
        }
        for (key, item) in keys.iter().zip(items.clone()) {
            self.has_read(key, Some(&item));
        }
    }

    /// Two keys of one slot that always hold the same.
    fn transaction(&mut self) {
        let tag = format!("{{{}t{}}}", self.name, self.rng.u64(..KEYS));
        let (a, b) = (format!("{tag}a"), format!("{tag}b"));
        let value = self.keys.entry(a.clone()).or_insert_with(|| Key::new(self.lossy)).next();
        let text = format!("{a}={value}");
        let cmds = [
            Cmd::new(&["MULTI"]),
            Cmd::new(&["SET", &a, &text]),
            Cmd::new(&["SET", &b, &text]),
            Cmd::new(&["GET", &a]),
            Cmd::new(&["GET", &b]),
            Cmd::new(&["EXEC"]),
        ];
        let answers = self.burst(&cmds);
        let done = answers.last().and_then(|a| a.values.first());
        let Some(Value::Many(_, Some(items))) = done else {
            self.wrote(&a, value, false);
            return;
        };
        self.wrote(&a, value, true);
        let (items, text) = (items.clone(), text.into_bytes());
        if items.len() != 4 || items[2].text() != Some(&text) || items[3].text() != Some(&text) {
            self.wrong(format!("{a}: EXEC answers {items:?}"));
        }
    }

    /// Every acknowledged increment counts once, the others once or not at all.
    fn count(&mut self) {
        let key = format!("{}c{}", self.name, self.rng.u64(..KEYS));
        let answers = self.burst(&[Cmd::new(&["INCR", &key])]);
        let (sure, maybe) = self.counters.entry(key.clone()).or_default();
        let Some(seen) = answers.first().and_then(|a| a.values.first()).and_then(Value::int) else {
            *maybe += 1;
            return;
        };
        let least = if self.lossy { 1 } else { *sure + 1 };
        let most = *sure + 1 + *maybe;
        let seen = seen.unsigned_abs();
        // What has not counted by now may still do so later; what has, has.
        *maybe = most.saturating_sub(seen);
        *sure = seen;
        if !(least..=most).contains(&seen) {
            self.wrong(format!("{key} is {seen}, not within {least} and {most}"));
        }
    }

    /// On a connection of its own at the proxy.
    fn list(&mut self) {
        let key = format!("{}l{}", self.name, self.rng.u64(..KEYS));
        let value = self.rng.u64(..).to_string();
        let [del, push] = [Cmd::new(&["DEL", &key]), Cmd::new(&["RPUSH", &key, &value])];
        let answers = self.burst(&[del, push, Cmd::new(&["BLPOP", &key, "1"])]);
        let seen = answers.iter().filter_map(|a| a.values.first()).cloned().collect::<Vec<_>>();
        let [_, pushed, popped] = seen.as_slice() else { return };
        if pushed.int() != Some(1) || popped.is_error() {
            return;
        }
        if popped.items().get(1).and_then(Value::text) != Some(value.as_bytes()) {
            self.wrong(format!("{key}: {value} was pushed, {popped:?} popped"));
        }
    }

    /// What a replica has outlives its primary. Watching a key keeps the client on one connection: whose replicas are
    /// waited for is whose write it was.
    fn copy(&mut self) {
        let key = format!("{}w{}", self.name, self.rng.u64(..KEYS));
        let (copied, last) = self.copied.get(&key).copied().unwrap_or_default();
        let read = self.burst(&[Cmd::new(&["GET", &key])]);
        let seen = match read.first().and_then(|a| a.values.first()) {
            Some(Value::Blob(_, None)) => Some(0),
            Some(Value::Blob(_, Some(text))) => String::from_utf8_lossy(text).parse().ok(),
            _ => None,
        };
        if let Some(seen) = seen
            && !(copied..=last).contains(&seen)
        {
            self.wrong(format!("{key} is {seen}, a replica had {copied}, {last} was the last"));
        }
        let value = last + 1;
        let text = value.to_string();
        let answers = self.burst(&[
            Cmd::new(&["WATCH", &key]),
            Cmd::new(&["SET", &key, &text]),
            Cmd::new(&["WAIT", "1", "200"]),
            Cmd::new(&["UNWATCH"]),
        ]);
        let had = answers.get(2).and_then(|a| a.values.first()).and_then(Value::int);
        let sure = answers.first().is_some_and(is_ok)
            && answers.get(1).is_some_and(is_ok)
            && had.is_some_and(|replicas| replicas > 0);
        self.tally.copied += usize::from(sure);
        self.copied.insert(key, (if sure { value } else { copied }, value));
    }

    fn echo(&mut self) {
        let texts: Vec<_> =
            (0..5).map(|n| format!("{}e{}", self.name, self.rng.u64(..) + n)).collect();
        let cmds: Vec<_> = texts.iter().map(|text| Cmd::new(&["ECHO", text])).collect();
        for (text, answer) in texts.iter().zip(self.burst(&cmds)) {
            if let [value] = answer.values.as_slice()
                && !value.is_error()
                && value.text() != Some(text.as_bytes())
            {
                self.wrong(format!("ECHO {text} answers {value:?}"));
            }
        }
    }

    fn key(&mut self) -> String {
        format!("{}k{}", self.name, self.rng.u64(..KEYS))
    }

    fn wrote(&mut self, key: &str, value: u64, sure: bool) {
        self.keys
            .entry(key.to_owned())
            .or_insert_with(|| Key::new(self.lossy))
            .written(value, sure);
    }

    fn has_read(&mut self, key: &str, answer: Option<&Value>) {
        let value = match answer {
            Some(Value::Blob(_, None)) => 0,
            Some(Value::Blob(_, Some(text))) => {
                let text = String::from_utf8_lossy(text).into_owned();
                let number = text.strip_prefix(&format!("{key}=")).and_then(|n| n.parse().ok());
                let Some(number) = number else {
                    self.wrong(format!("{key} holds {text}"));
                    return;
                };
                number
            }
            Some(Value::Line(b'-', _)) | None => return,
            Some(other) => {
                self.wrong(format!("GET {key} answers {other:?}"));
                return;
            }
        };
        let known = self.keys.entry(key.to_owned()).or_insert_with(|| Key::new(self.lossy));
        if let Err(wrong) = known.read(value) {
            // Tells a read that overtook a write from a write that is lost.
            let now = self.burst(&[Cmd::new(&["GET", key])]);
            self.wrong(format!("{key}: {wrong}; read again: {now:?}"));
        }
    }

    fn wrong(&mut self, what: String) {
        self.tally.wrong.push(what);
    }

    /// Answers for all, or none from where the connection ended.
    fn burst(&mut self, cmds: &[Cmd]) -> Vec<Answer> {
        let conn = match self.conn.take().filter(|conn| !conn.closed) {
            Some(conn) => conn,
            None => match Conn::open(self.address, PATIENCE) {
                Ok(conn) => conn,
                Err(e) => {
                    self.note(format!("cannot connect: {e:#}"));
                    thread::sleep(Duration::from_millis(10));
                    return cmds.iter().map(|_| Answer::default()).collect();
                }
            },
        };
        let conn = self.conn.insert(conn);
        let answers = conn.burst(cmds);
        for answer in &answers {
            match &answer.end {
                Some(End::Closed) => self.tally.closed += 1,
                Some(end) => self.tally.wrong.push(format!("{end:?} instead of an answer")),
                None => {}
            }
            for value in &answer.values {
                self.tally.answers += 1;
                // What EXEC aborts because of an error before it is no second one.
                if value.is_error() {
                    let text =
                        String::from_utf8_lossy(value.text().unwrap_or_default()).into_owned();
                    self.note(text.chars().take(60).collect());
                } else {
                    self.tally.gap = self.tally.gap.max(self.right.elapsed());
                    self.right = Instant::now();
                }
            }
        }
        answers
    }

    fn note(&mut self, error: String) {
        *self.tally.errors.entry(error).or_default() += 1;
    }
}

fn is_ok(answer: &Answer) -> bool {
    answer.values.first().and_then(Value::text) == Some(b"OK")
}
