//! A reply, carried from one version of the protocol into the other.

use bytes::{BufMut, BytesMut};

use super::{
    Version, items,
    value::{Body, Head, attributes_end},
    write,
};

/// How the RESP2 form of a command's reply differs from what the types of its RESP3 form tell.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Shape {
    /// In nothing: maps are flat arrays, sets arrays, doubles and big numbers strings, booleans 1 and 0.
    #[default]
    Plain,
    /// Where there is no value, an array is missing: `*-1`, not `$-1`. `BLPOP`, `LMPOP`, `GEOPOS` and others.
    NoArray,
    /// Pairs stand flat: `ZRANGE` and its kin with scores, `HRANDFIELD` with values.
    Flat,
    /// A map is an array of pairs, and what is missing is an array: `XREAD`.
    Pairs,
    /// The last of the elements is an array, also where it is missing: `XPENDING`.
    LastArray,
    /// `EXEC`: the replies of these shapes, or no array.
    Each(Vec<Self>),
}

impl Shape {
    /// Of the reply to this command, given in lower case, with this many arguments. What `EXEC` answers depends on the
    /// commands before it: [`Each`](Self::Each) is for who has seen them.
    pub fn of(command: &str, argc: usize) -> Self {
        match command {
            "blpop" | "brpop" | "blmpop" | "lmpop" | "blmove" | "brpoplpush" | "bzpopmin"
            | "bzpopmax" | "bzmpop" | "zmpop" | "geopos" => Self::NoArray,
            // With a count.
            "lpop" | "rpop" if argc > 2 => Self::NoArray,
            "zrange" | "zrevrange" | "zrangebyscore" | "zrevrangebyscore" | "zunion" | "zinter"
            | "zdiff" | "zrandmember" | "zpopmin" | "zpopmax" | "hrandfield" => Self::Flat,
            "xread" | "xreadgroup" => Self::Pairs,
            "xpending" => Self::LastArray,
            "exec" => Self::Each(Vec::new()),
            _ => Self::Plain,
        }
    }
}

/// The value of RESP3 that `bytes` are, in RESP2. Attributes and the format of verbatim strings are lost.
pub fn to_resp2(bytes: &[u8], shape: &Shape) -> BytesMut {
    let mut out = BytesMut::with_capacity(bytes.len());
    shaped(&mut out, bytes, shape);
    out
}

/// The value of RESP2 that `bytes` are, in RESP3, as far as it can be told: what is missing is missing in the new way.
/// Arrays stay arrays.
pub fn to_resp3(bytes: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(head) = Head::of(rest) {
        let Some((raw, after)) = rest.split_at_checked(head.len) else { break };
        match head.body {
            Body::Null => write::null(&mut out, Version::Resp3),
            Body::Text(_) | Body::Values(_) => out.put_slice(raw),
        }
        rest = after;
    }
    out
}

fn shaped(out: &mut BytesMut, bytes: &[u8], shape: &Shape) {
    let bytes = super::value::without_attributes(bytes);
    let collection = matches!(Head::of(bytes), Some(Head { body: Body::Values(_), .. }));
    match shape {
        Shape::Plain => plain(out, bytes, write::null),
        Shape::NoArray => plain(out, bytes, write::null_array),
        Shape::Each(_) | Shape::Pairs if !collection => plain(out, bytes, write::null_array),
        Shape::Flat | Shape::LastArray if !collection => plain(out, bytes, write::null),
        Shape::Flat => {
            let parts = |item| if is_array(item) { items(item).count() } else { 1 };
            write::array(out, items(bytes).map(parts).fold(0, usize::saturating_add));
            for item in items(bytes) {
                if is_array(item) {
                    items(item).for_each(|part| plain(out, part, write::null));
                } else {
                    plain(out, item, write::null);
                }
            }
        }
        Shape::Pairs if bytes.first() == Some(&b'%') => {
            write::array(out, items(bytes).count() / 2);
            for (n, item) in items(bytes).enumerate() {
                if n % 2 == 0 {
                    write::array(out, 2);
                }
                plain(out, item, write::null_array);
            }
        }
        Shape::Pairs => plain(out, bytes, write::null_array),
        Shape::LastArray => {
            let count = items(bytes).count();
            write::array(out, count);
            for (n, item) in items(bytes).enumerate() {
                let last = n.saturating_add(1) == count;
                plain(out, item, if last { write::null_array } else { write::null });
            }
        }
        Shape::Each(shapes) => {
            write::array(out, items(bytes).count());
            for (n, item) in items(bytes).enumerate() {
                shaped(out, item, shapes.get(n).unwrap_or(&Shape::Plain));
            }
        }
    }
}

/// Head after head: what a head announces stands behind it in both versions.
fn plain(out: &mut BytesMut, bytes: &[u8], null: fn(&mut BytesMut, Version)) {
    let mut rest = bytes;
    while let Some(head) = Head::of(rest) {
        let len = if head.kind == b'|' { attributes_end(rest) } else { Some(head.len) };
        let Some((raw, after)) = len.and_then(|len| rest.split_at_checked(len)) else { return };
        match (head.kind, head.body) {
            (b'|', _) => {}
            (_, Body::Null) | (b'_', _) => null(out, Version::Resp2),
            (_, Body::Values(count)) => write::array(out, count),
            (b'#', Body::Text(text)) => write::boolean(out, text == b"t", Version::Resp2),
            (b',' | b'(', Body::Text(text)) => write::bulk(out, text),
            (b'=', Body::Text(text)) => write::bulk(out, text.get(4..).unwrap_or_default()),
            (b'!', Body::Text(text)) => write::error(out, text),
            (_, Body::Text(_)) => out.put_slice(raw),
        }
        rest = after;
    }
}

fn is_array(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'*')
}
