//! A client connection that knows how many replies each command has.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::resp::{Text, Value, request};

/// Something to send.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Cmd {
    /// A request as clients write it.
    Args(Vec<Vec<u8>>),
    /// Bytes as they are, to which the server has this many replies; then it may hang up.
    Raw { bytes: Vec<u8>, replies: usize, closes: bool },
}

impl Cmd {
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::Args(args.iter().map(|arg| arg.as_bytes().to_vec()).collect())
    }

    /// The name in capitals; what is raw has none.
    pub(crate) fn name(&self) -> String {
        self.word(0)
    }

    /// One argument in capitals.
    pub(crate) fn word(&self, n: usize) -> String {
        let args = if let Self::Args(args) = self { args.as_slice() } else { &[] };
        args.get(n).map_or_else(String::new, |a| String::from_utf8_lossy(a).to_uppercase())
    }

    pub(crate) fn args(&self) -> &[Vec<u8>] {
        if let Self::Args(args) = self { args } else { &[] }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Args(args) => request(args, out),
            Self::Raw { bytes, .. } => out.extend_from_slice(bytes),
        }
    }
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Args(args) => {
                for (n, arg) in args.iter().enumerate() {
                    let space = if n == 0 { "" } else { " " };
                    let quote = if arg.is_empty() || arg.contains(&b' ') { "\"" } else { "" };
                    write!(f, "{space}{quote}{:?}{quote}", Text(arg))?;
                }
                Ok(())
            }
            Self::Raw { bytes, .. } => write!(f, "bytes {:?}", Text(bytes)),
        }
    }
}

/// What came for one command.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Answer {
    pub(crate) values: Vec<Value>,
    pub(crate) end: Option<End>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for value in &self.values {
            write!(f, "{space}{value:?}")?;
            space = " ";
        }
        match &self.end {
            Some(end) => write!(f, "{space}<{end:?}>"),
            None if self.values.is_empty() => f.write_str("<nothing>"),
            None => Ok(()),
        }
    }
}

/// Why no more came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Closed,
    Silent,
    Garbage(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Replies {
    #[default]
    On,
    Off,
    SkipNext,
}

/// One connection.
pub(crate) struct Conn {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How far the buffer is used up.
    at: usize,
    /// Kind (`subscribe`, `psubscribe`, `ssubscribe`) and name.
    subscriptions: BTreeSet<(Vec<u8>, Vec<u8>)>,
    replies: Replies,
    /// Messages and invalidations, in the order of their coming.
    pub(crate) pushed: Vec<Value>,
    pub(crate) closed: bool,
}

impl Conn {
    /// `patience`: how long an answer may take.
    pub(crate) fn open(address: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            at: 0,
            subscriptions: BTreeSet::new(),
            replies: Replies::On,
            pushed: Vec::new(),
            closed: false,
        })
    }

    /// One command that has one reply.
    pub(crate) fn ask(&mut self, args: &[&str]) -> anyhow::Result<Value> {
        let mut answers = self.burst(&[Cmd::new(args)]);
        let answer = answers.pop().context("an answer for each")?;
        let value = answer.values.into_iter().next();
        value.with_context(|| format!("{args:?}: {:?}", answer.end))
    }

    /// Sends all at once and collects what each has for an answer.
    pub(crate) fn burst(&mut self, cmds: &[Cmd]) -> Vec<Answer> {
        let mut bytes = Vec::new();
        for cmd in cmds {
            cmd.write(&mut bytes);
        }
        const SMALL: usize = 16 * 1024;
        if bytes.len() <= SMALL {
            // Whether it could be written is seen by what comes back.
            let _ = self.stream.write_all(&bytes);
            return self.collect(cmds);
        }
        let writer = self.stream.try_clone();
        thread::scope(|scope| {
            // Somebody has to read while much is written.
            scope.spawn(move || writer.and_then(|mut w| w.write_all(&bytes)));
            self.collect(cmds)
        })
    }

    /// Sends, and leaves the answers for `collect`.
    pub(crate) fn send(&mut self, cmds: &[Cmd]) {
        let mut bytes = Vec::new();
        for cmd in cmds {
            cmd.write(&mut bytes);
        }
        let _ = self.stream.write_all(&bytes);
    }

    /// The answers to what was sent.
    pub(crate) fn collect(&mut self, cmds: &[Cmd]) -> Vec<Answer> {
        cmds.iter().map(|cmd| self.answer(cmd)).collect()
    }

    /// Waits until all that was sent has been carried out, in whatever state the connection is.
    pub(crate) fn settle(&mut self) {
        const LAST: &str = "the last that is sent here";
        self.send(&[Cmd::new(&["RESET"]), Cmd::new(&["ECHO", LAST])]);
        while let Ok(value) = self.value() {
            if value.text() == Some(LAST.as_bytes()) {
                break;
            }
        }
    }

    /// Waits until this many pushes have come, or for a second.
    pub(crate) fn await_pushes(&mut self, count: usize) {
        let before = self.stream.read_timeout().unwrap_or_default();
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        while self.pushed.len() < count && !self.closed {
            match self.value() {
                Ok(value) => self.pushed.push(value),
                Err(_) => break,
            }
        }
        let _ = self.stream.set_read_timeout(before);
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    fn answer(&mut self, cmd: &Cmd) -> Answer {
        let mut answer = Answer::default();
        if self.closed {
            return answer;
        }
        let (count, closes) = match cmd {
            Cmd::Raw { replies, closes, .. } => (*replies, *closes),
            Cmd::Args(_) => (self.expected(cmd), cmd.name() == "QUIT"),
        };
        for _ in 0..count {
            match self.reply() {
                Ok(value) => answer.values.push(value),
                Err(end) => {
                    answer.end = Some(end);
                    return answer;
                }
            }
        }
        if count > 0 {
            self.follow(cmd, &mut answer);
        }
        if closes && answer.end.is_none() {
            match self.reply() {
                Ok(value) => answer.values.push(value),
                Err(end) => answer.end = Some(end),
            }
        }
        answer
    }

    /// How many replies are certain.
    fn expected(&mut self, cmd: &Cmd) -> usize {
        let is_reply = cmd.name() == "CLIENT" && cmd.word(1) == "REPLY" && cmd.args().len() == 3;
        match (self.replies, is_reply.then(|| cmd.word(2)).as_deref()) {
            (_, Some("OFF")) => self.replies = Replies::Off,
            (Replies::On, Some("SKIP")) => self.replies = Replies::SkipNext,
            (_, Some("ON")) => {
                self.replies = Replies::On;
                return 1;
            }
            (Replies::SkipNext, _) => self.replies = Replies::On,
            (Replies::On, _) => return usize::from(!cmd.args().is_empty()),
            (Replies::Off, _) => {}
        }
        0
    }

    /// Reads the rest of what has more replies than one, and remembers what it subscribed to.
    fn follow(&mut self, cmd: &Cmd, answer: &mut Answer) {
        let first = answer.values[0].clone();
        let kind = first.first().to_vec();
        let name = cmd.name().to_lowercase();
        if name == "reset" && !first.is_error() {
            self.subscriptions.clear();
            self.replies = Replies::On;
        }
        if name == "exec" {
            for item in first.items() {
                self.note(item);
            }
        }
        if !name.ends_with("subscribe") || kind != name.as_bytes() {
            return;
        }
        let adds = name.trim_start_matches(['p', 's']) == "ubscribe";
        self.note(&first);
        let more = match cmd.args().len() - 1 {
            // All there are, or a single reply that there are none.
            0 if !adds => self.subscriptions.iter().filter(|s| is_of(s, &name)).count(),
            n => n - 1,
        };
        for _ in 0..more {
            match self.reply() {
                Ok(value) => {
                    self.note(&value);
                    answer.values.push(value);
                }
                Err(end) => {
                    answer.end = Some(end);
                    return;
                }
            }
        }
    }

    /// A reply to (un)subscribe.
    fn note(&mut self, reply: &Value) {
        let kind = reply.first().to_vec();
        let Some(channel) = reply.items().get(1).and_then(Value::text) else { return };
        if kind.ends_with(b"unsubscribe") {
            let base = String::from_utf8_lossy(&kind).replace("unsubscribe", "subscribe");
            self.subscriptions.remove(&(base.into_bytes(), channel.to_vec()));
        } else if kind.ends_with(b"subscribe") {
            self.subscriptions.insert((kind, channel.to_vec()));
        }
    }

    /// The next value that is no message.
    fn reply(&mut self) -> Result<Value, End> {
        loop {
            let value = self.value()?;
            if !self.is_push(&value) {
                return Ok(value);
            }
            self.pushed.push(value);
        }
    }

    fn is_push(&self, value: &Value) -> bool {
        let message = matches!(value.first(), b"message" | b"pmessage" | b"smessage");
        match value {
            Value::Many(b'>', _) => message || value.first() == b"invalidate",
            Value::Many(b'*', _) => message && self.is_subscribed(),
            _ => false,
        }
    }

    fn value(&mut self) -> Result<Value, End> {
        loop {
            match Value::parse(&self.buffer[self.at..]) {
                Err(e) => {
                    self.closed = true;
                    return Err(End::Garbage(format!("{e:#}")));
                }
                Ok(Some((value, took))) => {
                    self.at += took;
                    return Ok(value);
                }
                Ok(None) => {}
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.closed = true;
                    return Err(End::Closed);
                }
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    // What comes after all would be taken for something else's answer.
                    self.closed = true;
                    return Err(End::Silent);
                }
                Err(_) => {
                    self.closed = true;
                    return Err(End::Closed);
                }
            }
        }
    }
}

/// Is this one of what `unsubscribe`, `punsubscribe` or `sunsubscribe` gives up?
fn is_of(subscription: &(Vec<u8>, Vec<u8>), unsubscribe: &str) -> bool {
    subscription.0 == unsubscribe.replace("unsubscribe", "subscribe").as_bytes()
}
