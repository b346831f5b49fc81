//! What a connection is subscribed to, and the messages that tell of it.

use crate::{Message, resp::Value};

/// How many channels, patterns and shard channels a connection is subscribed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscribed {
    channels: u64,
    patterns: u64,
    shards: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Channel,
    Pattern,
    Shard,
}

impl Subscribed {
    pub(super) fn any(self) -> bool {
        self != Self::default()
    }

    fn of(self, topic: Topic) -> u64 {
        match topic {
            Topic::Channel => self.channels,
            Topic::Pattern => self.patterns,
            Topic::Shard => self.shards,
        }
    }

    /// The server says how many there are now: channels and patterns together, shard channels by themselves.
    pub(super) fn note(&mut self, event: &Event) {
        let (Event::Subscribed(topic, count) | Event::Unsubscribed(topic, count)) = *event else {
            return;
        };
        match topic {
            Topic::Channel => self.channels = count.saturating_sub(self.patterns),
            Topic::Pattern => self.patterns = count.saturating_sub(self.channels),
            Topic::Shard => self.shards = count,
        }
    }
}

/// What a message about subscriptions says.
pub(super) enum Event {
    /// A message of a channel's, or an invalidation.
    Message,
    /// To what, and how many there are then.
    Subscribed(Topic, u64),
    Unsubscribed(Topic, u64),
}

impl Event {
    /// What it says, if it is one.
    pub(super) fn of(reply: &Message) -> Option<Self> {
        let pushed = reply.bytes().first() == Some(&b'>');
        let mut items = reply.items();
        let word = Value::parse(items.next()?)?;
        let mut count = || u64::try_from(Value::parse(items.nth(1)?)?.as_integer()?).ok();
        Some(match word.as_bytes()? {
            b"message" | b"pmessage" | b"smessage" => Self::Message,
            b"subscribe" => Self::Subscribed(Topic::Channel, count()?),
            b"psubscribe" => Self::Subscribed(Topic::Pattern, count()?),
            b"ssubscribe" => Self::Subscribed(Topic::Shard, count()?),
            b"unsubscribe" => Self::Unsubscribed(Topic::Channel, count()?),
            b"punsubscribe" => Self::Unsubscribed(Topic::Pattern, count()?),
            b"sunsubscribe" => Self::Unsubscribed(Topic::Shard, count()?),
            _ if pushed => Self::Message,
            _ => return None,
        })
    }
}

/// The events by which a request is answered, as many as are owed yet.
#[derive(Debug)]
pub(super) enum Owed {
    Subscribed(Topic, u64),
    /// `None`: from all that there are.
    Unsubscribed(Topic, Option<u64>),
}

impl Owed {
    /// What is owed to a request, if it is about subscriptions.
    pub(super) fn of(name: &str, request: &Message) -> Option<Self> {
        let named = request.argc().saturating_sub(1) as u64;
        let some = (named > 0).then_some(named);
        Some(match name {
            "subscribe" => Self::Subscribed(Topic::Channel, named),
            "psubscribe" => Self::Subscribed(Topic::Pattern, named),
            "ssubscribe" => Self::Subscribed(Topic::Shard, named),
            "unsubscribe" => Self::Unsubscribed(Topic::Channel, some),
            "punsubscribe" => Self::Unsubscribed(Topic::Pattern, some),
            "sunsubscribe" => Self::Unsubscribed(Topic::Shard, some),
            _ => return None,
        })
    }

    /// Takes one off. Whether more are owed; `None`: this is none of them. (The server takes subscriptions away itself,
    /// too: the slot has moved, or the user may not any more.) `before`: what there was before the event.
    pub(super) fn take(&mut self, event: &Event, before: Subscribed) -> Option<bool> {
        let left = match (self, event) {
            (Self::Subscribed(asked, left), Event::Subscribed(topic, _)) if asked == topic => left,
            (Self::Unsubscribed(asked, left), Event::Unsubscribed(topic, _)) if asked == topic => {
                left.get_or_insert_with(|| before.of(*topic).max(1))
            }
            _ => return None,
        };
        *left = left.saturating_sub(1);
        Some(*left > 0)
    }
}
