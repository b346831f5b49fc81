//! Random values, requests and bytes.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*};
use wiremesh::Peer;
use wiremesh_redis::{
    Message,
    resp::{Shape, Value, Version, write},
};

use crate::{
    common::{Decoder, encoded, reply, request},
    hostile::survive,
};

/// A value, and attributes in front of some.
#[derive(Clone, Debug)]
enum Tree {
    Simple(String),
    Error(String),
    BulkError(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// As in RESP3, RESP2, and RESP2 for an array.
    Null(u8),
    Double(f64),
    Boolean(bool),
    BigNumber(i128),
    Verbatim(Vec<u8>),
    Array(Vec<Self>),
    Set(Vec<Self>),
    Map(Vec<(Self, Self)>),
    With(Vec<(Self, Self)>, Box<Self>),
}

impl Tree {
    fn any() -> impl Strategy<Value = Self> {
        let bytes = || vec(any::<u8>(), 0..20);
        let leaf = prop_oneof![
            "[^\r\n]{0,20}".prop_map(Self::Simple),
            "[^\r\n]{0,20}".prop_map(Self::Error),
            bytes().prop_map(Self::BulkError),
            any::<i64>().prop_map(Self::Integer),
            bytes().prop_map(Self::Bulk),
            (0..3_u8).prop_map(Self::Null),
            any::<f64>().prop_map(Self::Double),
            any::<bool>().prop_map(Self::Boolean),
            any::<i128>().prop_map(Self::BigNumber),
            bytes().prop_map(Self::Verbatim),
        ];
        leaf.prop_recursive(6, 60, 6, |inner| {
            let pairs = || vec((inner.clone(), inner.clone()), 0..4);
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Self::Array),
                vec(inner.clone(), 0..6).prop_map(Self::Set),
                pairs().prop_map(Self::Map),
                (pairs(), inner.clone()).prop_map(|(with, of)| Self::With(with, Box::new(of))),
            ]
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let sized = |out: &mut Vec<u8>, kind: char, len: usize, body: &[u8]| {
            out.extend(format!("{kind}{len}\r\n").bytes());
            out.extend(body);
            out.extend(b"\r\n");
        };
        let pairs = |out: &mut Vec<u8>, kind: char, pairs: &[(Self, Self)]| {
            out.extend(format!("{kind}{}\r\n", pairs.len()).bytes());
            pairs.iter().for_each(|(key, value)| [key, value].iter().for_each(|v| v.write(out)));
        };
        match self {
            Self::Simple(text) => out.extend(format!("+{text}\r\n").bytes()),
            Self::Error(text) => out.extend(format!("-{text}\r\n").bytes()),
            Self::BulkError(text) => sized(out, '!', text.len(), text),
            Self::Integer(value) => out.extend(format!(":{value}\r\n").bytes()),
            Self::Bulk(text) => sized(out, '$', text.len(), text),
            Self::Null(form) => {
                out.extend(["_\r\n", "$-1\r\n", "*-1\r\n"][usize::from(*form)].bytes());
            }
            Self::Double(value) => out.extend(format!(",{value:e}\r\n").bytes()),
            Self::Boolean(value) => {
                out.extend(format!("#{}\r\n", if *value { 't' } else { 'f' }).bytes());
            }
            Self::BigNumber(value) => out.extend(format!("({value}\r\n").bytes()),
            Self::Verbatim(text) => sized(out, '=', text.len() + 4, &[b"txt:", &text[..]].concat()),
            Self::Array(values) | Self::Set(values) => {
                let kind = if matches!(self, Self::Set(_)) { '~' } else { '*' };
                out.extend(format!("{kind}{}\r\n", values.len()).bytes());
                values.iter().for_each(|value| value.write(out));
            }
            Self::Map(all) => pairs(out, '%', all),
            Self::With(with, of) => {
                pairs(out, '|', with);
                of.write(out);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The same in RESP2, as `addReply...` of a server has it.
    fn resp2(&self) -> Self {
        let all = |values: &[Self]| values.iter().map(Self::resp2).collect();
        match self {
            Self::BulkError(text) => {
                let clean = text.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b });
                // As bytes, since it need not be UTF-8.
                Self::BulkError(clean.collect())
            }
            Self::Null(_) => Self::Null(1),
            Self::Double(value) => Self::Bulk(format!("{value:e}").into()),
            Self::BigNumber(value) => Self::Bulk(value.to_string().into()),
            Self::Boolean(value) => Self::Integer(i64::from(*value)),
            Self::Verbatim(text) => Self::Bulk(text.clone()),
            Self::Array(values) | Self::Set(values) => Self::Array(all(values)),
            Self::Map(pairs) => {
                Self::Array(pairs.iter().flat_map(|(k, v)| [k.resp2(), v.resp2()]).collect())
            }
            Self::With(_, of) => of.resp2(),
            other => other.clone(),
        }
    }

    /// Whether a value that was parsed is this one.
    fn is(&self, value: &Value<'_>) -> bool {
        let all = |trees: &[Self], values: &[Value<'_>]| {
            trees.len() == values.len()
                && trees.iter().zip(values).all(|(tree, value)| tree.is(value))
        };
        match (self, value) {
            (Self::Simple(a), Value::Simple(b)) | (Self::Error(a), Value::Error(b)) => {
                a.as_bytes() == *b
            }
            (Self::BulkError(a), Value::Error(b)) | (Self::Bulk(a), Value::Bulk(b)) => a == b,
            (Self::Verbatim(a), Value::Verbatim(b"txt", b)) => a == b,
            (Self::Integer(a), Value::Integer(b)) => a == b,
            (Self::Null(_), Value::Null) => true,
            (Self::Double(a), Value::Double(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::Boolean(a), Value::Boolean(b)) => a == b,
            (Self::BigNumber(a), Value::BigNumber(b)) => a.to_string().as_bytes() == *b,
            (Self::Array(a), Value::Array(b)) | (Self::Set(a), Value::Set(b)) => all(a, b),
            (Self::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0.is(&b.0) && a.1.is(&b.1))
            }
            (Self::With(_, of), value) => of.is(value),
            _ => false,
        }
    }
}

/// Feeds the bytes in pieces of these lengths, round and round.
fn pieces(from: Peer, bytes: &[u8], sizes: &[usize]) -> Vec<Message> {
    let (mut decoder, mut rest, mut messages) = (Decoder::new(from), bytes, Vec::new());
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        messages.extend(decoder.feed(piece).unwrap());
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(decoder.waiting(), 0);
    messages
}

/// What any client may do to say these words in a line.
fn quoted(word: &[u8], how: u8) -> Vec<u8> {
    let plain = !word.is_empty()
        && word.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'*'));
    match how % 3 {
        0 if plain => word.to_vec(),
        1 if !word.iter().any(|b| matches!(b, b'\n' | b'\\' | b'\0')) => {
            let text =
                word.iter().flat_map(|b| if *b == b'\'' { b"\\'".to_vec() } else { vec![*b] });
            [b"'".to_vec(), text.collect(), b"'".to_vec()].concat()
        }
        _ => {
            let text = word.iter().flat_map(|b| match b {
                b'\n' => b"\\n".to_vec(),
                b'"' | b'\\' => vec![b'\\', *b],
                b' '..=b'~' => vec![*b],
                b => format!("\\x{b:02X}").into_bytes(),
            });
            [b"\"".to_vec(), text.collect(), b"\"".to_vec()].concat()
        }
    }
}

proptest! {
    #[test]
    fn values_survive_the_wire_in_any_pieces(
        trees in vec(Tree::any(), 1..4),
        sizes in vec(1..40_usize, 1..5),
    ) {
        let bytes: Vec<u8> = trees.iter().flat_map(Tree::bytes).collect();
        let messages = pieces(Peer::Upstream, &bytes, &sizes);
        prop_assert_eq!(messages.len(), trees.len());
        for (message, tree) in messages.iter().zip(&trees) {
            prop_assert_eq!(encoded(message), tree.bytes());
            prop_assert!(tree.is(&message.value()), "{:?}", message.value());
        }
    }

    #[test]
    fn every_prefix_of_a_value_waits(tree in Tree::any(), at in any::<prop::sample::Index>()) {
        let bytes = tree.bytes();
        let at = at.index(bytes.len());
        let mut decoder = Decoder::new(Peer::Upstream);
        prop_assert!(decoder.feed(&bytes[..at]).unwrap().is_empty());
        prop_assert_eq!(decoder.waiting(), at);
        prop_assert_eq!(decoder.feed(&bytes[at..]).unwrap().len(), 1);
    }

    #[test]
    fn values_in_resp2(tree in Tree::any()) {
        let mut message = reply(tree.bytes());
        message.translate(Version::Resp2, &Shape::Plain);
        let (got, want) = (reply(encoded(&message)), reply(tree.resp2().bytes()));
        prop_assert_eq!(format!("{:?}", got.value()), format!("{:?}", want.value()));
        let resp3 = [&b"\r\n_"[..], b"\r\n#", b"\r\n,", b"\r\n~", b"\r\n%", b"\r\n|"];
        let whole = [&b"\r\n"[..], &encoded(&message)].concat();
        // Where no string may hold them by chance, no type of RESP3 is left.
        let strings = format!("{tree:?}").contains("Bulk") || format!("{tree:?}").contains("Verbatim");
        if !strings {
            prop_assert!(resp3.iter().all(|kind| !whole.windows(3).any(|part| part == *kind)));
        }
    }

    #[test]
    fn requests_survive_the_wire_in_any_pieces(
        all in vec(vec(vec(any::<u8>(), 0..30), 1..6), 1..5),
        sizes in vec(1..40_usize, 1..5),
    ) {
        let bytes: Vec<u8> = all.iter().flat_map(|args| encoded(&Message::request(args))).collect();
        let messages = pieces(Peer::Client, &bytes, &sizes);
        prop_assert_eq!(messages.len(), all.len());
        for (message, args) in messages.iter().zip(&all) {
            prop_assert!(message.args().eq(args));
        }
    }

    #[test]
    fn lines_say_what_arrays_say(words in vec((vec(any::<u8>(), 0..20), any::<u8>()), 1..6)) {
        let mut line: Vec<u8> = words.iter().flat_map(|(w, how)| [&quoted(w, *how)[..], b" "].concat()).collect();
        line.extend(b"\r\n");
        let mut message = request(&line);
        prop_assert!(message.is_inline());
        message.normalize();
        prop_assert_eq!(encoded(&message), encoded(&Message::request(words.iter().map(|(w, _)| w))));
    }

    #[test]
    fn integers_are_written_as_they_are_read(value in any::<i64>()) {
        let mut out = BytesMut::new();
        write::integer(&mut out, value);
        prop_assert_eq!(out, format!(":{value}\r\n").into_bytes());
    }

    #[test]
    fn bytes_of_anybody_are_survived(
        parts in vec(
            prop_oneof![
                Just(b"*1\r\n".to_vec()), Just(b"%1\r\n".to_vec()), Just(b"|1\r\n".to_vec()),
                Just(b"*2\r\n".to_vec()), Just(b"~1\r\n".to_vec()), Just(b">1\r\n".to_vec()),
                Just(b"|0\r\n".to_vec()), Just(b"_\r\n".to_vec()), Just(b"$-1\r\n".to_vec()),
                Just(b"$1\r\na\r\n".to_vec()), Just(b"+OK\r\n".to_vec()), Just(b"*0\r\n".to_vec()),
                Just(b"$5\r\nXREAD\r\n".to_vec()), Just(b"$4\r\nEVAL\r\n".to_vec()),
                Just(b"=5\r\ntxt:a\r\n".to_vec()), Just(b"!1\r\nE\r\n".to_vec()),
                Just(b"get a \"b\"\r\n".to_vec()), Just(b"\r\n".to_vec()),
                vec(any::<u8>(), 1..4),
            ],
            0..20,
        )
    ) {
        survive(&parts.concat());
    }
}
