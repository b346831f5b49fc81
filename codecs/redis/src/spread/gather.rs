//! The answers of several shards, made one. An error of any part is the answer; there are no partial ones.

use std::collections::HashSet;

use bytes::BytesMut;
use wiremesh::{Failure, Protocol, correlation::Gather};

use crate::{
    Message, Redis,
    resp::{Value, Version, write},
};

/// How answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// The first that is no error; an error if all are.
    OneSucceeded,
    /// Any.
    AllSucceeded,
    /// Integers, or arrays of them, element by element.
    And,
    Or,
    Min,
    Max,
    Sum,
    /// The elements of all, in the order of the shards.
    Concat,
    /// The same, but each only once.
    Union,
    /// The first that is not null.
    FirstValue,
}

/// Answers that are made one by a [`Fold`].
pub(super) struct Gathered {
    fold: Fold,
    version: Version,
    replies: Vec<Option<Message>>,
}

impl Gathered {
    pub(super) fn new(fold: Fold, version: Version) -> Self {
        Self { fold, version, replies: Vec::new() }
    }
}

impl Gather<Redis> for Gathered {
    fn reply(&mut self, _protocol: &Redis, part: usize, reply: Message) {
        note(&mut self.replies, part, reply);
    }

    fn failed(&mut self, protocol: &Redis, part: usize, failure: &Failure) {
        if let Some(reply) = protocol.reply(&None, failure) {
            note(&mut self.replies, part, reply);
        }
    }

    fn finish(&mut self, _protocol: &Redis) -> Message {
        let mut replies: Vec<_> = std::mem::take(&mut self.replies).into_iter().flatten().collect();
        let wanted = |reply: &Message| match self.fold {
            Fold::OneSucceeded => !reply.is_error(),
            Fold::FirstValue => reply.is_error() || !matches!(reply.value(), Value::Null),
            _ => reply.is_error(),
        };
        if let Some(n) = replies.iter().position(wanted) {
            return replies.swap_remove(n);
        }
        match self.fold {
            Fold::OneSucceeded | Fold::AllSucceeded | Fold::FirstValue => first(replies),
            Fold::Concat => concat(&replies, self.version, false),
            Fold::Union => concat(&replies, self.version, true),
            Fold::And => numbers(replies, |a, b| i64::from(a != 0 && b != 0)),
            Fold::Or => numbers(replies, |a, b| i64::from(a != 0 || b != 0)),
            Fold::Min => numbers(replies, i64::min),
            Fold::Max => numbers(replies, i64::max),
            Fold::Sum => numbers(replies, i64::saturating_add),
        }
    }
}

/// Answers to one key each, put where their keys stood.
pub(super) struct InOrder {
    len: usize,
    /// By part: where its keys stood among all.
    places: Vec<Vec<usize>>,
    replies: Vec<Option<Message>>,
}

impl InOrder {
    pub(super) fn new(len: usize, places: Vec<Vec<usize>>) -> Self {
        Self { len, places, replies: Vec::new() }
    }
}

impl Gather<Redis> for InOrder {
    fn reply(&mut self, _protocol: &Redis, part: usize, reply: Message) {
        note(&mut self.replies, part, reply);
    }

    fn failed(&mut self, protocol: &Redis, part: usize, failure: &Failure) {
        if let Some(reply) = protocol.reply(&None, failure) {
            note(&mut self.replies, part, reply);
        }
    }

    fn finish(&mut self, _protocol: &Redis) -> Message {
        let replies = std::mem::take(&mut self.replies);
        if let Some(error) = replies.iter().flatten().find(|reply| reply.is_error()) {
            return error.clone();
        }
        let mut values = vec![None; self.len];
        for (reply, places) in replies.iter().zip(&self.places) {
            let Some(reply) = reply else { continue };
            for (item, place) in reply.items().zip(places) {
                if let Some(value) = values.get_mut(*place) {
                    *value = Some(item);
                }
            }
        }
        if values.iter().any(Option::is_none) {
            return Message::error(
                "ERR wiremesh UPE: a shard answered for fewer keys than it was asked for",
            );
        }
        let mut all = BytesMut::new();
        write::array(&mut all, self.len);
        values.into_iter().flatten().for_each(|value| all.extend_from_slice(value));
        Message::raw(all)
    }
}

/// Keeps the answer of a part.
fn note(replies: &mut Vec<Option<Message>>, part: usize, reply: Message) {
    if replies.len() <= part {
        replies.resize_with(part.saturating_add(1), || None);
    }
    if let Some(place) = replies.get_mut(part) {
        *place = Some(reply);
    }
}

fn first(mut replies: Vec<Message>) -> Message {
    if replies.is_empty() {
        return Message::error("ERR wiremesh UH: the cluster has no shards");
    }
    replies.swap_remove(0)
}

/// The elements of all, under one head like theirs.
fn concat(replies: &[Message], version: Version, once: bool) -> Message {
    let head = replies.first().and_then(|reply| reply.bytes().first().copied());
    if !matches!(head, Some(b'*' | b'~' | b'%')) {
        return first(replies.to_vec());
    }
    let (mut body, mut count, mut seen) = (BytesMut::new(), 0usize, HashSet::new());
    for reply in replies {
        for item in reply.items() {
            if once && !seen.insert(item) {
                continue;
            }
            body.extend_from_slice(item);
            count = count.saturating_add(1);
        }
    }
    let mut all = BytesMut::new();
    match head {
        Some(b'~') => write::set(&mut all, count, version),
        Some(b'%') => write::map(&mut all, count / 2, version),
        _ => write::array(&mut all, count),
    }
    all.extend_from_slice(&body);
    Message::raw(all)
}

/// Integers, or arrays of them, made one by `fold`.
fn numbers(replies: Vec<Message>, fold: impl Fn(i64, i64) -> i64) -> Message {
    let odd =
        || Message::error("ERR wiremesh UPE: a shard answered by something else than numbers");
    let values: Vec<_> = replies.iter().map(Message::value).collect();
    let all = |values: Vec<Option<i64>>| -> Option<i64> {
        let mut numbers = values.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
        let first = numbers.next()?;
        Some(numbers.fold(first, &fold))
    };
    match values.first() {
        Some(Value::Array(first)) => {
            let rows = || replies.iter().map(|reply| reply.items().collect::<Vec<_>>());
            let columns = (0..first.len()).map(|n| {
                let column = values.iter().map(|value| value.as_array()?.get(n));
                let column = column.collect::<Option<Vec<_>>>()?;
                if column.iter().all(|value| matches!(value, Value::Integer(_))) {
                    all(column.into_iter().map(Value::as_integer).collect()).map(Message::integer)
                } else {
                    // The name of what is counted.
                    rows().next()?.get(n).map(|item| Message::raw((*item).into()))
                }
            });
            columns.collect::<Option<Vec<_>>>().map_or_else(odd, Message::array)
        }
        _ => all(values.iter().map(Value::as_integer).collect()).map_or_else(odd, Message::integer),
    }
}
