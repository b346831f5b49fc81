//! What decoding costs: time that grows with the bytes, and no memory.

use bytes::{Buf, BytesMut};
use wiremesh::{Limits, Peer, Protocol, Summary, WriteBuf};
use wiremesh_redis::{Message, Progress, Redis};

use crate::common::{Decoder, encoded};

/// In pieces of 16 bytes. Who began anew with each of them would look at 10^11 bytes and more.
#[test]
fn nothing_is_looked_at_twice() {
    let inner = [&b"*100\r\n"[..], &b"$2\r\nab\r\n:1\r\n+OK\r\n_\r\n".repeat(25)].concat();
    let array = [format!("*{}\r\n", 3000).as_bytes(), &inner.repeat(3000)].concat();
    let line = [&b"+"[..], &b"\r-".repeat(1 << 20), b"\r\n"].concat();
    let bulk = encoded(&Message::bulk(&vec![b'x'; 2 << 20]));
    let request =
        encoded(&Message::request(["PING"].into_iter().chain(std::iter::repeat_n("x", 200_000))));
    let empty = [&b"\r\n".repeat(1 << 20)[..], b"PING\r\n"].concat();
    for (from, bytes) in [
        (Peer::Upstream, array),
        (Peer::Upstream, line),
        (Peer::Upstream, bulk),
        (Peer::Client, request),
        (Peer::Client, empty),
    ] {
        assert!(bytes.len() > 1 << 20);
        let mut decoder = Decoder::new(from);
        let pieces = bytes.chunks(16);
        let messages: usize = pieces.map(|piece| decoder.feed(piece).unwrap().len()).sum();
        assert_eq!((messages, decoder.waiting()), (1, 0));
    }
}

#[test]
fn a_connection_in_use_allocates_nothing() {
    let requests = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n*1\r\n$4\r\nPING\r\n";
    let replies = b"+OK\r\n:1\r\n$2\r\nab\r\n*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n_\r\n|1\r\n+a\r\n+b\r\n-ERR no\r\n";
    for (from, bytes, count) in [(Peer::Client, &requests[..], 2), (Peer::Upstream, replies, 5)] {
        let (mut state, redis, limits) = (Progress::default(), Redis::default(), Limits::default());
        let mut out = WriteBuf::default();
        // As much as one read may bring.
        let read = bytes.repeat(100);
        let mut round = |input: &mut BytesMut| {
            let mut decoded = 0;
            while let Some(message) = redis.decode(from, &mut state, &limits, input).unwrap() {
                assert!(message.first_key().is_none_or(|key| key == b"k"));
                redis.encode(message, &mut out);
                decoded += 1;
            }
            out.advance(out.len());
            assert_eq!(decoded, count * 100);
        };
        round(&mut BytesMut::from(&read[..]));
        let mut input = BytesMut::from(&read[..]);
        let counted = allocation_counter::measure(|| round(&mut input));
        // The buffer becomes one that is shared with its messages.
        assert!(counted.count_total <= 1, "{from:?}: {counted:?}");
    }
}

/// What a request that was not slow costs where slow ones are kept: up to 512 bytes copied, and nothing else.
#[test]
fn a_request_is_summarized_without_allocating() {
    let (redis, large) = (Redis::default(), "x".repeat(1 << 20));
    let lines: [&[&str]; 5] = [
        &["GET", "key:1"],
        &["SET", "key:1", &large],
        &["AUTH", "user", &large],
        &["MIGRATE", "h", "1", "k", "0", "9", "AUTH", &large],
        &[&large],
    ];
    let requests = lines.map(Message::request);
    let mut summary = Summary::default();
    let mut round = || {
        for request in &requests {
            redis.summarize(request, &mut summary);
            summary.clear();
        }
    };
    round();
    let counted = allocation_counter::measure(round);
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// The largest value there is waits for its bytes, under limits that allow it.
#[test]
fn nothing_is_put_aside_for_what_is_announced() {
    let (redis, limits) = (Redis::default(), Limits { max_frame: 513 << 20, ..Limits::default() });
    for (from, head) in [
        (Peer::Upstream, &b"$536870912\r\nab"[..]),
        (Peer::Upstream, b"*1048576\r\n$1\r\na\r\n"),
        (Peer::Upstream, b"*1048576\r\n%1048576\r\n|1048576\r\n"),
        (Peer::Client, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nab"),
        (Peer::Client, b"*1048576\r\n$3\r\nDEL"),
    ] {
        let mut input = BytesMut::from(head);
        let mut state = Progress::default();
        let counted = allocation_counter::measure(|| {
            let decoded = redis.decode(from, &mut state, &limits, &mut input).unwrap();
            assert!(decoded.is_none());
        });
        assert!(counted.bytes_total < 256, "{counted:?}");
        assert_eq!(&input[..], head);
    }
}
