//! The framework's rules.

use std::path::Path;

use wiremesh::{
    Peer,
    kit::{Rule, Samples, check, conformance, replay},
};
use wiremesh_redis::{Message, Redis};

use crate::{
    common::{capture, connections, encoded},
    hostile::survive,
};

/// What a client may say.
const REQUESTS: [(&str, &[u8]); 12] = [
    ("ping", b"*1\r\n$4\r\nPING\r\n"),
    ("set", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n"),
    (
        "pipeline",
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nget\r\n$0\r\n\r\n*1\r\n$6\r\ndbsize\r\n",
    ),
    ("subcommand", b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$1\r\n*\r\n"),
    ("binary", b"*3\r\n$3\r\nSET\r\n$4\r\n\r\n\0\xff\r\n$3\r\n*1\r\r\n"),
    ("unknown", b"*1\r\n$6\r\nNOSUCH\r\n"),
    ("hello", b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
    ("line", b"PING\r\n"),
    ("lines", b"set \"a\\x00\\\"b\" 'c\\'d'\nGET a\r\nping   hello\r\n"),
    (
        "empty before others",
        b"*1\r\n$4\r\nPING\r\n\r\n  \r\n*0\r\n*-1\r\nPING\r\n*0\r\n*1\r\n$4\r\nPING\r\n",
    ),
    ("keys by number", b"*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\na\r\n"),
    ("keys by keyword", b"*4\r\n$5\r\nXREAD\r\n$7\r\nstreams\r\n$1\r\ns\r\n$1\r\n0\r\n"),
];

/// What a server may say.
const REPLIES: [(&str, &[u8]); 14] = [
    ("ok", b"+OK\r\n"),
    ("lines", b"+\r\n+PONG\r\n:0\r\n:-9223372036854775808\r\n:9223372036854775807\r\n"),
    ("bulks", b"$0\r\n\r\n$5\r\nhello\r\n$-1\r\n$4\r\n\r\n\r\n\r\n"),
    ("arrays", b"*0\r\n*-1\r\n*2\r\n:1\r\n*1\r\n*2\r\n$-1\r\n*-1\r\n"),
    ("errors", b"-ERR unknown command 'x'\r\n-WRONGTYPE no\r\n-\r\n-NOAUTH Authentication required.\r\n"),
    ("scalars", b"_\r\n#t\r\n#f\r\n,1.5\r\n,-inf\r\n,nan\r\n,1e+17\r\n(3492890328409238509324850943850943825024385\r\n(-1\r\n"),
    ("sized", b"!21\r\nSYNTAX invalid syntax\r\n=15\r\ntxt:Some string\r\n=4\r\nmkd:\r\n"),
    ("map", b"%2\r\n+first\r\n:1\r\n+second\r\n%1\r\n+k\r\n~1\r\n#t\r\n%0\r\n"),
    ("set", b"~3\r\n+a\r\n+b\r\n*0\r\n~0\r\n"),
    ("push", b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n+OK\r\n"),
    ("attributes", b"|1\r\n+ttl\r\n:3600\r\n+OK\r\n*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n+x\r\n|0\r\n+y\r\n|0\r\n_\r\n"),
    ("attributes of attributes", b"|1\r\n|1\r\n+a\r\n+b\r\n+c\r\n|0\r\n+d\r\n:1\r\n"),
    ("moved", b"-MOVED 3999 127.0.0.1:6381\r\n-ASK 3999 :6381\r\n"),
    ("hello 3", b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n"),
];

/// What is written here.
fn vectors() -> Samples {
    let samples = Samples::new().foreign("http", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    let samples = REQUESTS.into_iter().fold(samples, |all, (name, bytes)| all.client(name, bytes));
    REPLIES.into_iter().fold(samples, |all, (name, bytes)| all.upstream(name, bytes))
}

/// And what was recorded, a few messages each; but for what is large, or much the same in RESP2.
fn samples() -> Samples {
    let mut samples = vectors();
    let small = |name: &String| !name.starts_with("cli-") && !name.contains("resp2");
    for name in connections().into_iter().filter(small) {
        for from in [Peer::Client, Peer::Upstream] {
            for (n, few) in capture(&name, from).chunks(12).enumerate() {
                let (name, bytes) = (format!("{name}, {n}"), few.iter().flat_map(encoded));
                let bytes: Vec<_> = bytes.collect();
                samples = match from {
                    Peer::Client => samples.client(name, bytes),
                    Peer::Upstream => samples.upstream(name, bytes),
                };
            }
        }
    }
    let large = Message::request([&b"SET"[..], b"key", &[0xa5; 20_000]]);
    samples
        .frame("large request", Peer::Client, &Redis::default(), large)
        .frame("large reply", Peer::Upstream, &Redis::default(), Message::bulk(&[b'x'; 20_000]))
        .foreign("http by a proxy", b"GET http://x/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .foreign("http post", b"POST /x HTTP/1.1\r\nhost: x\r\n\r\n")
        .foreign("http options", b"OPTIONS * HTTP/1.1\r\n\r\n")
        .foreign("http/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .foreign("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .foreign("bolt", b"\x01\x01\x00\x01\x01\x00\x00\x00\x01\x01\x00\x00\x0b\xb8")
        .foreign("dubbo", b"\xda\xbb\xc2\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x10")
        .foreign("thrift", b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x00\x00")
        .foreign("framed thrift", b"\x00\x00\x00\x11\x80\x01\x00\x01\x00\x00\x00\x04ping")
        .foreign("kafka", b"\x00\x00\x00\x23\x00\x12\x00\x04\x00\x00\x00\x01\x00\x0dkafka-python")
        .foreign("mqtt", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test")
        .foreign("amqp", b"AMQP\x00\x00\x09\x01")
}

#[test]
fn redis_conforms() {
    conformance(Redis::default(), &samples());
}

/// The fuzz body over the samples, changes to them, and what a fuzzer has found.
#[test]
fn what_the_fuzzer_does_is_survived() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/redis"));
    assert!(replay(&Redis::default(), &samples(), corpus).unwrap() > 1000);
    for long in [&b"\x03$2000000\r\nthe beginning"[..], b"\x03=1048576\r\n", b"\x03$1048577\r\n+"] {
        wiremesh::kit::fuzz_decode(&Redis::default(), long);
    }
    samples().own().iter().for_each(|sample| survive(&sample.bytes));
}

#[test]
fn every_rule_that_applies_is_asked_of_it() {
    let report = check(&Redis::default(), &vectors());
    assert!(report.breaches().is_empty(), "{report}");
    for rule in Rule::ALL {
        let applies = !matches!(rule, Rule::Id | Rule::Trace | Rule::GoAway);
        assert_eq!(report.tried(rule) > 0, applies, "{rule:?}");
    }
}
