//! Subscriptions to the channels of shards, in a cluster. Each server that has some is spoken to on a connection of the
//! client's own, apart from the one that everything else is on; the client sees one connection with all of them.

use std::collections::{BTreeSet, VecDeque};

use bytes::BytesMut;
use wiremesh::{
    Lane,
    correlation::{Access, Expect, Own, Release, Step, Target, View},
};

use super::attached::{LIMITED, MOVED};
use crate::{
    Message, Redis,
    lane::Setting,
    resp::{Value, Version, write},
    slot::slot,
    spread::{self, CROSSSLOT, Place},
};

/// What a client is subscribed to, server by server.
#[derive(Debug, Default)]
pub(super) struct Sharded {
    lines: Vec<Line>,
    /// All channels, if nothing that was asked for is refused. Answers of several servers come in any order, and the client
    /// is told as many as there are when its requests are carried out one after the other.
    wanted: BTreeSet<Box<[u8]>>,
}

/// A connection of the client's own.
#[derive(Debug)]
struct Line {
    own: Own,
    lane: Lane,
    /// What was asked for and not answered yet.
    pending: VecDeque<Asked>,
    channels: BTreeSet<Box<[u8]>>,
}

#[derive(Debug)]
struct Asked {
    /// They are wanted, or not any more.
    wanted: bool,
    /// The channels that are still to be told of, each with how many there are then.
    left: Vec<(Box<[u8]>, usize)>,
}

/// What is said to a client that would speak another version while it is told messages in this.
const SUBSCRIBED: &str =
    "ERR wiremesh: the version stays as it is while shard channels are subscribed to";

impl Sharded {
    /// Whether nothing is subscribed to, nor was asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Something that was asked for does not come about.
    fn resync(&mut self) {
        if !self.is_owed() {
            self.wanted =
                self.lines.iter().flat_map(|line| line.channels.iter().cloned()).collect();
        }
    }

    fn is_owed(&self) -> bool {
        self.lines.iter().any(|line| !line.pending.is_empty())
    }

    fn line(&mut self, own: Own, lane: Lane) -> Option<&mut Line> {
        let found = self.lines.iter().position(|line| line.own == own);
        let at = found.unwrap_or_else(|| {
            let (pending, channels) = (VecDeque::new(), BTreeSet::new());
            self.lines.push(Line { own, lane, pending, channels });
            self.lines.len().saturating_sub(1)
        });
        self.lines.get_mut(at)
    }

    /// A `SSUBSCRIBE`.
    pub(super) fn subscribe(&mut self, view: &View<'_>, request: Message) -> Step<Redis> {
        let slot = match spread::place(&request) {
            Place::Slot(slot) => slot,
            Place::Several => return Step::Answer(Message::error(CROSSSLOT)),
            Place::Anywhere => return Step::Shared(request, Target::Any),
        };
        // Where nobody has the slot, the proxy says so.
        let own = view.homes.and_then(|homes| homes.home(slot)).unwrap_or(Own::MAX);
        let channels = request.args().skip(1).map(Box::from).collect();
        self.ask(own, slot, channels, true, request)
    }

    /// A `SUNSUBSCRIBE`: of each server in turn; of channels that nobody has, it is answered here.
    pub(super) fn unsubscribe(&mut self, version: Version, request: Message) -> Step<Redis> {
        if self.is_owed() {
            return Step::Wait(request);
        }
        let mut named: Vec<Box<[u8]>> = request.args().skip(1).map(Box::from).collect();
        if named.is_empty() {
            named = self.wanted.iter().cloned().collect();
        }
        let mut asked: Vec<(Own, Vec<Box<[u8]>>)> = Vec::new();
        let mut unknown = BytesMut::new();
        if named.is_empty() {
            confirmation(&mut unknown, version, b"sunsubscribe", None, 0);
        }
        for channel in named {
            let Some(line) = self.lines.iter().find(|line| line.channels.contains(&channel)) else {
                let count = self.wanted.len();
                confirmation(&mut unknown, version, b"sunsubscribe", Some(&channel), count);
                continue;
            };
            // Channels of several slots in one request would be refused.
            let together = |(own, channels): &&mut (Own, Vec<Box<[u8]>>)| {
                *own == line.own && channels.first().is_some_and(|it| slot(it) == slot(&channel))
            };
            match asked.iter_mut().find(together) {
                Some((_, channels)) => channels.push(channel),
                None => asked.push((line.own, vec![channel])),
            }
        }
        let mut steps = Vec::new();
        if !unknown.is_empty() {
            steps.push(Step::Answer(Message::raw(unknown)));
        }
        let word: &[u8] = b"SUNSUBSCRIBE";
        for (own, channels) in asked {
            let slot = channels.first().map_or(0, |channel| slot(channel));
            let mut part =
                Message::request([word].into_iter().chain(channels.iter().map(|it| &**it)));
            part.set_lane(request.lane());
            steps.push(self.ask(own, slot, channels, false, part));
        }
        Step::Each(steps)
    }

    fn ask(
        &mut self,
        own: Own,
        slot: u16,
        channels: Vec<Box<[u8]>>,
        wanted: bool,
        mut request: Message,
    ) -> Step<Redis> {
        let note = |channel: Box<[u8]>| {
            if wanted {
                self.wanted.insert(channel.clone());
            } else {
                self.wanted.remove(&channel);
            }
            (channel, self.wanted.len())
        };
        let left = channels.into_iter().map(note).collect();
        if let Some(line) = self.line(own, request.lane()) {
            line.pending.push_back(Asked { wanted, left });
            request.set_lane(line.lane);
        }
        request.set_expect(Expect::Stream);
        let target = Target::Slot(slot, Access::Write);
        Step::Private { before: Vec::new(), request, target, own, patient: false }
    }

    /// What becomes of any other request of a subscriber's; one that is as good as ever is given back. `elsewhere`: it is
    /// subscribed to channels of other kinds, too.
    pub(super) fn refuse(
        &mut self,
        setting: &Setting,
        elsewhere: bool,
        request: Message,
    ) -> Result<Step<Redis>, Message> {
        if request.command().is_some_and(|command| !command.takes(request.argc())) {
            return Err(request);
        }
        let name = request.command().map_or("", |command| command.name);
        if name == "reset" {
            if self.is_owed() {
                return Ok(Step::Wait(request));
            }
            *self = Self::default();
            return Err(request);
        }
        let [two, three]: [&[u8]; 2] = [b"2", b"3"];
        let own = if setting.version == Version::Resp2 { two } else { three };
        if name == "hello" && request.arg(1).is_some_and(|version| version != own) {
            return Ok(Step::Answer(Message::error(SUBSCRIBED)));
        }
        let among = ["subscribe", "psubscribe", "unsubscribe", "punsubscribe", "quit"];
        if setting.version == Version::Resp3 || among.contains(&name) {
            return Err(request);
        }
        if name != "ping" {
            let text =
                unknown(&request).unwrap_or_else(|| format!("Can't execute '{name}': {LIMITED}"));
            return Ok(Step::Answer(Message::error(&format!("ERR {text}"))));
        }
        if elsewhere || request.argc() > 2 {
            return Err(request);
        }
        let said = Message::bulk(request.arg(1).unwrap_or_default());
        Ok(Step::Answer(Message::array([Message::bulk(b"pong"), said])))
    }

    /// Something that came on one of the connections.
    pub(super) fn on_reply(&mut self, own: Own, version: Version, reply: &mut Message) {
        let Some(line) = self.lines.iter_mut().find(|line| line.own == own) else { return };
        let Some((word, channel)) = told(reply) else {
            line.pending.pop_front();
            if matches!(reply.error_code(), Some(b"MOVED" | b"ASK")) {
                *reply = Message::error(MOVED);
            }
            return self.resync();
        };
        let wanted = match &word[..] {
            b"smessage" => return reply.set_push(),
            word => word == b"ssubscribe",
        };
        if wanted {
            line.channels.insert(channel.clone());
        } else {
            line.channels.remove(&channel);
        }
        let asked = line.pending.front_mut().filter(|asked| asked.wanted == wanted);
        let asked = asked.and_then(|Asked { left, .. }| {
            let at = left.iter().position(|(it, _)| *it == channel)?;
            Some((left.remove(at).1, !left.is_empty()))
        });
        let count = asked.map_or_else(
            || {
                // A server takes channels away when their slot moves: nobody has asked for that.
                self.wanted.remove(&channel);
                self.wanted.len()
            },
            |(count, _)| count,
        );
        let mut told = BytesMut::new();
        confirmation(&mut told, version, &word, Some(&channel), count);
        *reply = Message::raw(told);
        match asked {
            Some((_, more)) => {
                reply.set_reply();
                reply.set_more(more);
                if !more {
                    line.pending.pop_front();
                }
            }
            None => reply.set_push(),
        }
    }

    /// A request was not sent, or its connection is lost.
    pub(super) fn on_failed(&mut self, own: Own) {
        self.lines.retain(|line| line.own != own);
        self.resync();
    }

    /// What may become of one of the connections.
    pub(super) fn release(&mut self, own: Own, gone: bool) -> Release<Redis> {
        let Some(at) = self.lines.iter().position(|line| line.own == own) else {
            return Release::Close;
        };
        let used = |line: &Line| !line.channels.is_empty() || !line.pending.is_empty();
        let used = self.lines.get(at).is_some_and(used);
        match (used, gone) {
            (true, true) => Release::Close,
            (true, false) => Release::Hold,
            (false, _) => Release::Clean(self.lines.swap_remove(at).lane),
        }
    }
}

/// What a server says of a request that names no command, or no subcommand of one, whoever sends it. (A command of a module
/// that is not known here is refused as well, in the wrong words.)
fn unknown(request: &Message) -> Option<String> {
    const LONGEST: usize = 128;
    let shown = |text: &[u8], most: usize| {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text.get(..most).unwrap_or(text)).into_owned()
    };
    let mut args = request.args();
    let name = shown(args.next()?, LONGEST);
    let Some(command) = request.command() else {
        let mut list = String::new();
        for arg in args {
            let Some(left) = LONGEST.checked_sub(list.len()).filter(|left| *left > 0) else {
                break;
            };
            list += &format!("'{}' ", shown(arg, left));
        }
        return Some(format!("unknown command '{name}', with args beginning with: {list}"));
    };
    let contains = !command.subcommands.is_empty() && !command.name.contains('|');
    let sub = shown(args.next().filter(|_| contains)?, LONGEST);
    Some(format!("unknown subcommand '{sub}'. Try {} HELP.", name.to_uppercase()))
}

/// What a message about shard channels says, and of which.
fn told(reply: &Message) -> Option<(Vec<u8>, Box<[u8]>)> {
    if !matches!(reply.bytes().first(), Some(b'*' | b'>')) {
        return None;
    }
    let mut items = reply.items();
    let mut text = || Some(Value::parse(items.next()?)?.as_bytes()?.to_vec());
    let word = text()?;
    let known = matches!(&word[..], b"smessage" | b"ssubscribe" | b"sunsubscribe");
    known.then(|| Some((word, text()?.into())))?
}

/// Appends what a client is told when it is subscribed to a channel, or not any more.
fn confirmation(
    out: &mut BytesMut,
    version: Version,
    word: &[u8],
    channel: Option<&[u8]>,
    count: usize,
) {
    write::push(out, 3, version);
    write::bulk(out, word);
    match channel {
        Some(channel) => write::bulk(out, channel),
        None => write::null(out, version),
    }
    write::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
}
