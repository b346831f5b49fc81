//! What reaches clients that have not asked for it just now: messages of channels, and what others do.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;
use wiremesh_redis::acl::matches;

use super::{out::Out, session::Session};

/// So much may wait for a client that does not read; then it is dropped.
const MAX_OUT: usize = 32 << 20;

/// Where what goes to a client is put.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) id: u64,
    pub(super) out: RefCell<Out>,
    pub(super) wake: Notify,
    /// The client waits, and its next command with it.
    pub(super) blocked: Cell<bool>,
}

impl Mailbox {
    pub(super) fn new(id: u64) -> Self {
        Self { id, out: RefCell::default(), wake: Notify::new(), blocked: Cell::new(false) }
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.out.borrow().bytes.len() > MAX_OUT
    }

    /// Puts something there, and wakes the client's task.
    pub(super) fn post(&self, put: impl FnOnce(&mut Out)) {
        if !self.is_overrun() {
            put(&mut self.out.borrow_mut());
        }
        self.wake.notify_one();
    }
}

/// Who gets what.
#[derive(Debug, Default)]
pub(super) struct Hub {
    channels: Subscribers,
    patterns: Subscribers,
    shard_channels: Subscribers,
    monitors: Vec<Rc<Mailbox>>,
}

type Subscribers = BTreeMap<Vec<u8>, Vec<Rc<Mailbox>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Channel,
    Pattern,
    Shard,
}

impl Hub {
    fn of(&mut self, topic: Topic) -> &mut Subscribers {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shard_channels,
        }
    }

    pub(super) fn monitor(&mut self, mailbox: Rc<Mailbox>) {
        self.monitors.push(mailbox);
    }

    /// Nothing goes to this connection any more.
    pub(super) fn forget(&mut self, id: u64) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::Shard] {
            self.of(topic).retain(|_, all| {
                all.retain(|mailbox| mailbox.id != id);
                !all.is_empty()
            });
        }
        self.monitors.retain(|mailbox| mailbox.id != id);
    }

    /// Tells who monitors of a command.
    pub(super) fn show(&self, db: usize, peer: SocketAddr, args: &[&[u8]]) {
        if self.monitors.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let words: String = args.iter().map(|arg| format!(" \"{}\"", arg.escape_ascii())).collect();
        let line = format!("{now:.6} [{db} {peer}]{words}");
        self.monitors.iter().for_each(|mailbox| mailbox.post(|out| out.simple(&line)));
    }

    fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        let mut told = 0;
        for mailbox in self.channels.get(channel).into_iter().flatten() {
            mailbox.post(|out| {
                out.push(3);
                [b"message", channel, message].iter().for_each(|part| out.bulk(part));
            });
            told += 1;
        }
        let patterns = self.patterns.iter().filter(|(pattern, _)| matches(pattern, channel));
        for (pattern, mailbox) in patterns.flat_map(|(p, all)| all.iter().map(move |m| (p, m))) {
            mailbox.post(|out| {
                out.push(4);
                [b"pmessage", &pattern[..], channel, message].iter().for_each(|p| out.bulk(p));
            });
            told += 1;
        }
        told
    }

    fn publish_to_shard(&self, channel: &[u8], message: &[u8]) -> usize {
        let all = self.shard_channels.get(channel).map_or(&[][..], |all| all);
        for mailbox in all {
            mailbox.post(|out| {
                out.push(3);
                [b"smessage", channel, message].iter().for_each(|part| out.bulk(part));
            });
        }
        all.len()
    }
}

impl Session {
    /// How many channels and patterns the client is subscribed to.
    pub(super) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(super) fn on_subscription(&mut self, name: &str, args: &[&[u8]], out: &mut Out) -> bool {
        let hub = || self.server.hub.borrow();
        match name {
            "publish" => out.count(hub().publish(args[1], args[2])),
            "spublish" => out.count(hub().publish_to_shard(args[1], args[2])),
            "subscribe" => self.subscribe(Topic::Channel, args, out),
            "psubscribe" => self.subscribe(Topic::Pattern, args, out),
            "ssubscribe" => self.subscribe(Topic::Shard, args, out),
            "unsubscribe" => self.unsubscribe(Topic::Channel, args, out),
            "punsubscribe" => self.unsubscribe(Topic::Pattern, args, out),
            "sunsubscribe" => self.unsubscribe(Topic::Shard, args, out),
            "monitor" => {
                self.server.hub.borrow_mut().monitor(self.mailbox.clone());
                out.ok();
            }
            _ => return false,
        }
        true
    }

    fn subscribe(&mut self, topic: Topic, args: &[&[u8]], out: &mut Out) {
        let word = match topic {
            Topic::Channel => "subscribe",
            Topic::Pattern => "psubscribe",
            Topic::Shard => "ssubscribe",
        };
        for name in &args[1..] {
            if self.topics(topic).insert(name.to_vec()) {
                let mut hub = self.server.hub.borrow_mut();
                hub.of(topic).entry(name.to_vec()).or_default().push(self.mailbox.clone());
            }
            self.tell(word, Some(name), topic, out);
        }
    }

    fn unsubscribe(&mut self, topic: Topic, args: &[&[u8]], out: &mut Out) {
        let word = match topic {
            Topic::Channel => "unsubscribe",
            Topic::Pattern => "punsubscribe",
            Topic::Shard => "sunsubscribe",
        };
        let names: Vec<Vec<u8>> = match &args[1..] {
            [] => self.topics(topic).iter().cloned().collect(),
            names => names.iter().map(|name| name.to_vec()).collect(),
        };
        if names.is_empty() {
            self.tell(word, None, topic, out);
        }
        for name in names {
            if self.topics(topic).remove(&name) {
                let mut hub = self.server.hub.borrow_mut();
                if let Some(all) = hub.of(topic).get_mut(&name) {
                    all.retain(|mailbox| mailbox.id != self.id);
                    if all.is_empty() {
                        hub.of(topic).remove(&name);
                    }
                }
            }
            self.tell(word, Some(&name), topic, out);
        }
    }

    fn topics(&mut self, topic: Topic) -> &mut BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::Shard => &mut self.shard_channels,
        }
    }

    fn tell(&self, word: &str, name: Option<&[u8]>, topic: Topic, out: &mut Out) {
        out.push(3);
        out.bulk(word);
        out.maybe(name);
        match topic {
            Topic::Shard => out.count(self.shard_channels.len()),
            Topic::Channel | Topic::Pattern => out.count(self.subscriptions()),
        }
    }
}
