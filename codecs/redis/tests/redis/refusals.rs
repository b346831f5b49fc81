//! What is refused, with the first bytes that show it, and what the client is told.

use wiremesh::{DecodeError, Detection, Limits, Peer, Protocol};
use wiremesh_redis::{
    Redis,
    resp::{MAX_BULK, MAX_INLINE},
};

use crate::common::{Decoder, encoded};

/// The error, and after how many of the bytes it came.
#[track_caller]
fn refused(from: Peer, limits: &Limits, bytes: &[u8]) -> (usize, DecodeError) {
    let one_by_one = {
        let mut decoder = Decoder::new(from);
        decoder.limits = limits.clone();
        let mut n = 0;
        loop {
            let Some(byte) = bytes.get(n..=n) else { panic!("{n} bytes are not refused") };
            n += 1;
            if let Err(error) = decoder.feed(byte) {
                break (n, error);
            }
        }
    };
    let mut decoder = Decoder::new(from);
    decoder.limits = limits.clone();
    assert_eq!(decoder.feed(bytes).unwrap_err(), one_by_one.1, "when all of it comes at once");
    one_by_one
}

/// Requests that are refused after `after` bytes, and what the client is told.
#[track_caller]
fn complains(bytes: &[u8], after: usize, text: Option<&str>) {
    let (len, error) = refused(Peer::Client, &Limits::default(), bytes);
    assert_eq!(len, after, "{error}");
    let told = Redis::default().refuse(&error).map(|reply| encoded(&reply));
    let told = told.map(|told| String::from_utf8(told).unwrap());
    assert_eq!(told, text.map(|text| format!("-ERR Protocol error: {text}\r\n")));
}

/// As redis-server 7.0.15 has them.
#[test]
fn complaints_about_requests() {
    let count = Some("invalid multibulk length");
    complains(b"*x", 2, count);
    complains(b"*\r\nPING\r\n", 2, count);
    complains(b"*+1\r\n", 2, count);
    complains(b"*03\r\n", 3, count);
    complains(b"*-0\r\n", 4, count);
    complains(b"*--1\r\n", 3, count);
    complains(b"*1 \r\n", 3, count);
    complains(b"*1\r$4\r\nPING\r\n", 4, count);
    complains(b"*1048577\r\n", 10, count);
    complains(b"*1000000000000000000000\r\n", 20, count);
    let bulk = Some("invalid bulk length");
    complains(b"*1\r\n$-1\r\n", 9, bulk);
    complains(b"*1\r\n$04\r\n", 7, bulk);
    complains(b"*1\r\n$4a\r\n", 7, bulk);
    complains(b"*1\r\n$?\r\n", 6, bulk);
    complains(b"*1\r\n$536870913\r\n", 16, bulk);
    complains(b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfoo\r\n", 21, Some("expected '$', got 'f'"));
    complains(b"*1\r\n\r\n", 5, Some("expected '$', got ' '"));
    complains(b"*1\r\n:1\r\n", 5, Some("expected '$', got ':'"));
    let quotes = Some("unbalanced quotes in request");
    complains(b"set a \"b\r\n", 10, quotes);
    complains(b"set a \"b\"c\r\n", 12, quotes);
    complains(b"'a'b\n", 5, quotes);
    complains(b"set a \"b\\\r\n", 11, quotes);
    complains(b"set a 'b\\\\'\r\n", 13, quotes);
}

/// Here the server waits, or takes the bytes for something else.
#[test]
fn stricter_than_the_server() {
    complains(b"*1\r\n$4\r\nPINGXX", 13, Some("malformed end of a bulk"));
    complains(b"*1\r\n$4\r\nPING\rX", 14, Some("malformed end of a bulk"));
    complains(b"set a b\0c\r\n", 8, Some("too big inline request"));
    complains(b"\0", 1, Some("too big inline request"));
    let text = "max_frame is limited to 33554432, the peer sent 536870930";
    complains(b"*1\r\n$536870912\r\n", 16, Some(text));
}

#[test]
fn http_is_told_nothing() {
    complains(b"POST / HTTP/1.1\r\n", 17, None);
    complains(b"host: x\r\n", 9, None);
    complains(b"*1\r\n$4\r\npOSt\r\n", 14, None);
    complains(b"*2\r\n$5\r\nHOST:\r\n$1\r\nx\r\n", 22, None);
}

#[test]
fn limits_of_requests() {
    let limit = |limits: Limits, bytes: &[u8]| match refused(Peer::Client, &limits, bytes) {
        (after, DecodeError::Limit { limit, max, seen }) => (after, limit, max, seen),
        other => panic!("{other:?}"),
    };
    let few = Limits { max_elements: 2, ..Limits::default() };
    assert_eq!(limit(few.clone(), b"*3\r\n"), (4, "max_elements", 2, 3));
    let mut decoder = Decoder::new(Peer::Client);
    decoder.limits = few;
    assert_eq!(decoder.feed(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n").unwrap().len(), 1);

    let small = |max_frame| Limits { max_frame, ..Limits::default() };
    // Two arguments are at least 12 bytes.
    assert_eq!(limit(small(15), b"*2\r\n"), (4, "max_frame", 15, 16));
    assert_eq!(limit(small(15), b"*1\r\n$9\r\n"), (8, "max_frame", 15, 19));
    assert_eq!(limit(small(15), b"PING 6789012345\n"), (16, "max_frame", 15, 16));
}

#[test]
fn limits_of_lines() {
    let line = |len: usize| [&b"PING "[..], &vec![b'x'; len - 5]].concat();
    let fits = [line(MAX_INLINE), b"\r\n".to_vec()].concat();
    let mut decoder = Decoder::new(Peer::Client);
    let taken = decoder.feed(&fits[..MAX_INLINE]).unwrap();
    assert!(taken.is_empty());
    let mut decoder = Decoder::new(Peer::Client);
    assert_eq!(decoder.feed(&[&fits[..MAX_INLINE], b"\n"].concat()).unwrap().len(), 1);

    let mut decoder = Decoder::new(Peer::Client);
    let error = decoder.feed(&line(MAX_INLINE + 1)).unwrap_err();
    let told = encoded(&Redis::default().refuse(&error).unwrap());
    assert_eq!(told, b"-ERR Protocol error: too big inline request\r\n");
}

#[test]
fn refused_replies() {
    let malformed = |bytes: &[u8], after: usize, what: &str| {
        let (len, error) = refused(Peer::Upstream, &Limits::default(), bytes);
        assert_eq!(error.to_string(), format!("malformed {what}"));
        assert_eq!(len, after, "{error}");
    };
    for bytes in ["$x", "$-2\r\n", "$01", "$-01", "$\r\n", "!-1\r\n", "=-1\r\n", "$1x", "$1\rx"] {
        malformed(
            bytes.as_bytes(),
            bytes.len().min(if bytes == "$\r\n" { 2 } else { 5 }),
            "bulk length",
        );
    }
    for bytes in ["*x", "*-2\r\n", "*01", "%-1\r\n", "~-1\r\n", ">-1\r\n", "|-1\r\n"] {
        malformed(bytes.as_bytes(), bytes.len(), "number of elements");
    }
    for bytes in ["$?", "*?", "%?", "~?", ">?", "|?", "!?", "=?"] {
        malformed(bytes.as_bytes(), 2, "length: streamed values are not supported");
    }
    malformed(b"$3\r\nabcd", 8, "end of a bulk");
    malformed(b"$3\r\nabc\rx", 9, "end of a bulk");
    malformed(b"=3\r\n", 4, "verbatim string");
    malformed(b"=5\r\ntxt;x", 8, "verbatim string");
    malformed(b"*1\r\n>0\r\n", 8, "push inside of another value");
    malformed(b"|1\r\n+a\r\n>0\r\n", 12, "push inside of another value");
    for (bytes, what) in [
        (":\r\n", "integer"),
        (":1x\r\n", "integer"),
        (":9223372036854775808\r\n", "integer"),
        ("_x\r\n", "null"),
        ("#\r\n", "boolean"),
        ("#x\r\n", "boolean"),
        ("#tt\r\n", "boolean"),
        (",\r\n", "double"),
        (",1.2.3\r\n", "double"),
    ] {
        malformed(bytes.as_bytes(), bytes.len(), what);
    }
    for kind in ["x", "\0", "\r", ";", ".", "0", "P", "\u{7f}"] {
        let (len, error) = refused(Peer::Upstream, &Limits::default(), kind.as_bytes());
        let value = u64::from(kind.as_bytes()[0]);
        assert_eq!((len, error), (1, DecodeError::Unknown { what: "type", value }));
    }
}

#[test]
fn limits_of_replies() {
    let limit = |limits: &Limits, bytes: &[u8]| match refused(Peer::Upstream, limits, bytes) {
        (after, DecodeError::Limit { limit, max, seen }) => (after, limit, max, seen),
        other => panic!("{other:?}"),
    };
    let limits = Limits { max_frame: 100, max_depth: 3, max_elements: 5, max_header: 0 };
    assert_eq!(limit(&limits, b"*6\r\n"), (4, "max_elements", 5, 6));
    assert_eq!(limit(&limits, b"*1\r\n%6\r\n"), (8, "max_elements", 5, 6));
    assert_eq!(limit(&limits, b"*1\r\n*1\r\n*1\r\n*1\r\n"), (16, "max_depth", 3, 4));
    assert_eq!(limit(&limits, b"*1\r\n|1\r\n~1\r\n%1\r\n"), (16, "max_depth", 3, 4));
    assert_eq!(limit(&limits, b"$94\r\n"), (5, "max_frame", 100, 101));
    let bulk = Limits { max_frame: usize::MAX, ..Limits::default() };
    let over = format!("${}\r\n", MAX_BULK + 1);
    assert_eq!(
        limit(&bulk, over.as_bytes()),
        (over.len(), "a bulk", MAX_BULK as u64, MAX_BULK as u64 + 1)
    );
    // Pairs are two values of three bytes each.
    let tight = Limits { max_frame: 33, ..limits.clone() };
    assert_eq!(limit(&tight, b"%5\r\n"), (4, "max_frame", 33, 34));
    let long = [&b"+"[..], &[b'x'; 100]].concat();
    assert_eq!(limit(&limits, &long), (101, "max_frame", 100, 101));

    let mut decoder = Decoder::new(Peer::Upstream);
    decoder.limits = limits;
    let fits = b"*5\r\n%1\r\n+a\r\n~1\r\n:1\r\n*0\r\n$-1\r\n|1\r\n+a\r\n+b\r\n+c\r\n+d\r\n";
    assert_eq!(decoder.feed(fits).unwrap().len(), 1);
}

#[test]
fn detection() {
    let all = |bytes: &[u8]| Redis::detect(bytes);
    for bytes in ["*1", "*0", "*-1", "PING\r\n", "ping\n", "SET a b\r\n", "get a\n", "GET a\r\n"] {
        assert_eq!(all(bytes.as_bytes()), Detection::Match, "{bytes}");
    }
    for bytes in ["", "*", "P", "PING", "get", "GET a", "config get x"] {
        let more = Detection::NeedMore(bytes.len() + 1);
        assert_eq!(all(bytes.as_bytes()), more, "{bytes}");
    }
    for bytes in [
        "*x",
        "**",
        "GET /",
        "GET / HTTP/1.1\r\n",
        "GET http://x HTTP/1.0\r\n",
        "POST",
        "HEAD",
        "Host:",
        "PUT",
        "OPT",
        "nosuch\r\n",
        "PINGX",
        "PING:",
        "$4\r\n",
        "+OK\r\n",
        "\0",
        "\u{16}\u{3}",
        "\"PING\"",
    ] {
        assert_eq!(all(bytes.as_bytes()), Detection::Mismatch, "{bytes}");
    }
}
