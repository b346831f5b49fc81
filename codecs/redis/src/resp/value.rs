use super::head::{integer, line_end, number};

/// How deep [`Value`] looks: deeper values read as [`Value::Null`]. What was decoded is no deeper than the limits allow.
const MAX_DEPTH: usize = 256;

/// A value taken apart, attributes left out.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `+`
    Simple(&'a [u8]),
    /// `-` or `!`
    Error(&'a [u8]),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(&'a [u8]),
    /// `_`, `$-1` or `*-1`
    Null,
    /// `*`
    Array(Vec<Self>),
    /// `%`
    Map(Vec<(Self, Self)>),
    /// `~`
    Set(Vec<Self>),
    /// `>`
    Push(Vec<Self>),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `(`: its digits
    BigNumber(&'a [u8]),
    /// `=`: three letters for the format, and the text
    Verbatim(&'a [u8], &'a [u8]),
}

impl<'a> Value<'a> {
    /// The value that `bytes` begin with; `None` where they begin with none.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        parse(bytes, MAX_DEPTH).map(|(value, _)| value)
    }

    /// The bytes of a string of any kind.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(_, text) => Some(text),
            _ => None,
        }
    }

    /// A string of any kind, if it is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer, also one that is written as a string.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            other => integer(other.as_bytes()?),
        }
    }

    /// The elements of an array, set or push.
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Value::Array(values) | Value::Set(values) | Value::Push(values) => Some(values),
            _ => None,
        }
    }

    /// The pairs of a map, or of an array that stands for one as in RESP2.
    pub fn pairs(&self) -> impl Iterator<Item = (&Self, &Self)> {
        let (map, flat) = match self {
            Value::Map(pairs) => (&pairs[..], &[][..]),
            other => (&[][..], other.as_array().unwrap_or_default()),
        };
        let of_map = map.iter().map(|(key, value)| (key, value));
        let of_array = flat.chunks_exact(2).filter_map(|pair| match pair {
            [key, value] => Some((key, value)),
            _ => None,
        });
        of_map.chain(of_array)
    }

    /// The value of a key, in [`pairs`](Self::pairs).
    pub fn get(&self, key: &str) -> Option<&Self> {
        let mut pairs = self.pairs();
        pairs.find(|(name, _)| name.as_bytes() == Some(key.as_bytes())).map(|(_, value)| value)
    }
}

/// The elements of a collection as they stand in `bytes`, attributes included: keys and values of a map in turn. None of
/// anything else.
pub fn items(bytes: &[u8]) -> Items<'_> {
    let bytes = without_attributes(bytes);
    match Head::of(bytes) {
        Some(Head { body: Body::Values(left), len, .. }) => {
            Items { left, rest: bytes.get(len..).unwrap_or_default() }
        }
        _ => Items { left: 0, rest: &[] },
    }
}

/// See [`items`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = self.rest.split_at_checked(end_of(self.rest)?)?;
        self.rest = rest;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Each takes three bytes at least.
        (0, Some(self.left.min(self.rest.len() / 3)))
    }
}

/// The head of a value, and what it announces.
pub(super) struct Head<'a> {
    pub(super) kind: u8,
    pub(super) body: Body<'a>,
    /// Of the head; of the whole value where it is no collection.
    pub(super) len: usize,
}

pub(super) enum Body<'a> {
    /// Of a line, or of a bulk.
    Text(&'a [u8]),
    /// `$-1` and `*-1`
    Null,
    /// So many values follow.
    Values(usize),
}

impl<'a> Head<'a> {
    #[inline]
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let sized = matches!(kind, b'$' | b'=' | b'!');
        if !sized && !matches!(kind, b'*' | b'%' | b'~' | b'>' | b'|') {
            let end = line_end(bytes, 1).ok()?;
            let body = Body::Text(bytes.get(1..end)?);
            return Some(Self { kind, body, len: end.checked_add(2)? });
        }
        let (number, len) = number(rest)?.ok()?;
        let len = len.checked_add(1)?;
        let Ok(number) = usize::try_from(number) else {
            return Some(Self { kind, body: Body::Null, len });
        };
        if sized {
            let end = len.checked_add(number)?;
            let body = Body::Text(bytes.get(len..end)?);
            return Some(Self { kind, body, len: end.checked_add(2)? });
        }
        let count = if matches!(kind, b'%' | b'|') { number.checked_mul(2)? } else { number };
        Some(Self { kind, body: Body::Values(count), len })
    }
}

/// The length of the value that `bytes` begin with, attributes included.
pub(super) fn end_of(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut left) = (0usize, 1usize);
    while let Some(others) = left.checked_sub(1) {
        let head = Head::of(bytes.get(at..)?)?;
        at = at.checked_add(head.len)?;
        left = match (head.kind, head.body) {
            // They are no value of their own.
            (b'|', Body::Values(count)) => left.checked_add(count)?,
            (_, Body::Values(count)) => others.checked_add(count)?,
            _ => others,
        };
    }
    (at <= bytes.len()).then_some(at)
}

/// What follows the attributes that `bytes` may begin with.
pub(super) fn without_attributes(mut bytes: &[u8]) -> &[u8] {
    while bytes.first() == Some(&b'|') {
        match attributes_end(bytes).and_then(|end| bytes.get(end..)) {
            Some(rest) => bytes = rest,
            None => return &[],
        }
    }
    bytes
}

pub(super) fn attributes_end(bytes: &[u8]) -> Option<usize> {
    let head = Head::of(bytes)?;
    let Body::Values(count) = head.body else { return None };
    let mut at = head.len;
    for _ in 0..count {
        at = at.checked_add(end_of(bytes.get(at..)?)?)?;
    }
    Some(at)
}

fn parse(bytes: &[u8], depth: usize) -> Option<(Value<'_>, usize)> {
    let value = without_attributes(bytes);
    let before = bytes.len().checked_sub(value.len())?;
    let head = Head::of(value)?;
    let (parsed, len) = match head.body {
        Body::Null => (Value::Null, head.len),
        Body::Text(text) => (scalar(head.kind, text)?, head.len),
        Body::Values(_) if depth == 0 => (Value::Null, end_of(value)?),
        Body::Values(count) => {
            let (mut at, mut values) = (head.len, Vec::new());
            for _ in 0..count {
                let (value, len) = parse(value.get(at..)?, depth.saturating_sub(1))?;
                values.push(value);
                at = at.checked_add(len)?;
            }
            (collection(head.kind, values), at)
        }
    };
    Some((parsed, before.checked_add(len)?))
}

fn scalar(kind: u8, text: &[u8]) -> Option<Value<'_>> {
    Some(match kind {
        b'+' => Value::Simple(text),
        b'-' | b'!' => Value::Error(text),
        b':' => Value::Integer(integer(text)?),
        b'$' => Value::Bulk(text),
        b'_' => Value::Null,
        b'#' => Value::Boolean(text == b"t"),
        b',' => Value::Double(std::str::from_utf8(text).ok()?.parse().ok()?),
        b'(' => Value::BigNumber(text),
        b'=' => Value::Verbatim(text.get(..3)?, text.get(4..)?),
        _ => return None,
    })
}

fn collection(kind: u8, values: Vec<Value<'_>>) -> Value<'_> {
    match kind {
        b'%' => {
            let mut values = values.into_iter();
            let pairs = std::iter::from_fn(|| Some((values.next()?, values.next()?)));
            Value::Map(pairs.collect())
        }
        b'~' => Value::Set(values),
        b'>' => Value::Push(values),
        _ => Value::Array(values),
    }
}
