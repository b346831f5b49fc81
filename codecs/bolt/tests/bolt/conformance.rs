//! The framework's rules, with the recorded connections as samples.

use std::path::Path;

use wiremesh::{
    Kind, Peer, Protocol,
    kit::{Rule, Samples, check, conformance, replay},
};
use wiremesh_bolt::{Bolt, Builder, Version};

use crate::common::{connections, pieces};

/// Every connection that is not large, and one that is.
fn samples() -> Samples {
    let samples = connections().into_iter().fold(Samples::new(), |samples, name| {
        let [client, upstream] =
            [Peer::Client, Peer::Upstream].map(|direction| pieces(&name, direction).concat());
        if upstream.len() > 50_000 && name != "hessian2-v2-crc1" {
            return samples;
        }
        samples.client(format!("{name}.c2s"), client).upstream(format!("{name}.s2c"), upstream)
    });
    let go_away = Builder { version: Version::V2, kind: Kind::GoAway, ..Builder::default() };
    samples
        .frame("go away", Peer::Client, &Bolt::default(), go_away.build().unwrap())
        .foreign("http", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .foreign("http/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .foreign("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .foreign("dubbo", b"\xda\xbb\xc2\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x10")
        .foreign("thrift", b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x00\x00")
        .foreign("framed thrift", b"\x00\x00\x00\x11\x80\x01\x00\x01\x00\x00\x00\x04ping")
        .foreign("redis", b"*1\r\n$4\r\nPING\r\n")
        .foreign("kafka", b"\x00\x00\x00\x23\x00\x12\x00\x04\x00\x00\x00\x01\x00\x0dkafka-python")
        .foreign("mqtt", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test")
        .foreign("amqp", b"AMQP\x00\x00\x09\x01")
}

/// The fuzz body over the samples, changes to them, and what a fuzzer has found.
#[test]
fn what_the_fuzzer_does_is_survived() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/bolt"));
    assert!(replay(&Bolt::default(), &samples(), corpus).unwrap() > 1000);
}

#[test]
fn bolt_conforms() {
    conformance(Bolt::default(), &samples());
}

#[test]
fn every_rule_is_asked_of_it() {
    let mut bolt = Bolt::default();
    bolt.set_option("go_away", "true").unwrap();
    let few = ["java-sofarpc-idle-v1", "hessian2-v2-crc1.1"].into_iter();
    let samples = few.fold(Samples::new().foreign("http", b"GET / HTTP/1.1\r\n"), |all, name| {
        let [client, upstream] =
            [Peer::Client, Peer::Upstream].map(|direction| pieces(name, direction).concat());
        all.client(name, client).upstream(name, upstream)
    });
    let report = check(&bolt, &samples);
    assert!(report.breaches().is_empty(), "{report}");
    for rule in Rule::ALL {
        assert!(report.tried(rule) > 0, "{rule:?}");
    }
}
