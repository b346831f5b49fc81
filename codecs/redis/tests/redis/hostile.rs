//! Everything that can be done with messages that anybody may have written. The fuzzer runs it, and a test.

use bytes::BytesMut;
use wiremesh::{Limits, Peer, Protocol, WriteBuf};
use wiremesh_redis::{
    Message, Progress, Redis,
    resp::{Shape, Version},
};

const LIMITS: Limits =
    Limits { max_frame: 1 << 20, max_header: 0, max_depth: 32, max_elements: 1 << 12 };

/// All messages that the bytes begin with.
fn decode(from: Peer, bytes: &[u8]) -> (Vec<Message>, usize) {
    let (mut input, mut state) = (BytesMut::from(bytes), Progress::default());
    let mut messages = Vec::new();
    while let Ok(Some(message)) = Redis::default().decode(from, &mut state, &LIMITS, &mut input) {
        messages.push(message);
    }
    (messages, input.len())
}

fn encode(message: &Message) -> BytesMut {
    let mut out = WriteBuf::default();
    Redis::default().encode(message.clone(), &mut out);
    out.to_bytes()
}

/// Takes the bytes for those of either side.
///
/// # Panics
///
/// Where a request changes when it is made an array, or a reply translated is no whole value of RESP2.
pub(crate) fn survive(bytes: &[u8]) {
    for request in decode(Peer::Client, bytes).0 {
        let args: Vec<_> = request.args().map(<[u8]>::to_vec).collect();
        assert_eq!(args.len(), request.argc());
        assert!(!args.is_empty());
        let indexed = request.indexed();
        for n in [0, 1, 2, args.len() / 2, args.len() - 1, args.len()] {
            assert_eq!(request.arg(n), args.get(n).map(Vec::as_slice));
            assert_eq!(indexed.get(n), args.get(n).map(Vec::as_slice));
        }
        let key = request.first_key().map(<[u8]>::to_vec);
        assert!(key.is_none_or(|key| args.contains(&key)));
        let mut array = request.clone();
        array.normalize();
        assert!(array.args().eq(&args));
        assert_eq!(encode(&array), encode(&Message::request(&args)));
    }
    for reply in decode(Peer::Upstream, bytes).0 {
        let value = reply.value();
        assert_eq!(reply.is_error(), reply.error_text().is_some());
        let elements = value.as_array().map(<[_]>::len);
        assert!(elements.is_none_or(|len| len == reply.items().count()));
        for shape in [
            Shape::Plain,
            Shape::NoArray,
            Shape::Flat,
            Shape::Pairs,
            Shape::LastArray,
            Shape::Each(vec![Shape::Flat, Shape::Pairs]),
        ] {
            let mut old = reply.clone();
            old.translate(Version::Resp2, &shape);
            let bytes = encode(&old);
            let (again, left) = decode(Peer::Upstream, &bytes);
            // Flat and as pairs it has more elements than a limit may allow.
            if again.is_empty() {
                continue;
            }
            assert_eq!((again.len(), left), (1, 0), "{shape:?}");
            assert_eq!(again[0].is_error(), reply.is_error());
            let mut same = again[0].clone();
            same.translate(Version::Resp2, &Shape::Plain);
            if shape == Shape::Plain {
                assert_eq!(encode(&same), bytes, "what is RESP2 stays as it is");
            }
            let mut new = again[0].clone();
            new.translate(Version::Resp3, &Shape::Plain);
            assert_eq!(decode(Peer::Upstream, &encode(&new)).0.len(), 1);
        }
    }
}
