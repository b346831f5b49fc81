//! Every codec: decoding and encoding at several body lengths, beside a copy of the same bytes.

use criterion::{Criterion, criterion_group, criterion_main};
use wiremesh::kit::{Samples, bench};
use wiremesh::{Kind, Peer, Status};
use wiremesh_bolt::{Bolt, Builder, Version};
use wiremesh_redis::{Message as RedisMessage, Redis};
use wiremesh_toys::inorder::Line;
use wiremesh_toys::multiplexed::Message;
use wiremesh_toys::session::packet;
use wiremesh_toys::{Desk, Kv, Mx};

/// Body lengths, in bytes.
const BODIES: [usize; 4] = [0, 128, 1024, 16 * 1024];

fn codecs(criterion: &mut Criterion) {
    let (mut mx, mut kv, mut desk) = (Samples::new(), Samples::new(), Samples::new());
    let (mut bolt, mut redis) = (Samples::new(), short());
    for len in BODIES {
        let (name, body) = (format!("{len} B"), vec![b'x'; len]);
        let text = "x".repeat(len);

        let texts = ["org.example.Greeter", "greet"];
        let message = Message::new(Kind::Request, Status::Ok, 7, texts, &body);
        mx = mx.frame(&name, Peer::Client, &Mx, message);
        let line = Line::new(Kind::Request, &format!("SET key {text}"));
        kv = kv.frame(&name, Peer::Client, &Kv, line);
        desk = desk.frame(&name, Peer::Client, &Desk::default(), packet(b'Q', Status::Ok, &text));
        let set = RedisMessage::request([b"SET", b"key:000012345678".as_slice(), &body]);
        redis = redis.frame(format!("set, {name}"), Peer::Client, &Redis::default(), set);
        let value = RedisMessage::bulk(&body);
        redis = redis.frame(format!("value, {name}"), Peer::Upstream, &Redis::default(), value);
        for (version, switch, label) in
            [(Version::V1, 0, "v1"), (Version::V2Crc, 1, "v2 with checksum")]
        {
            let request = Builder {
                version,
                switch,
                id: 7,
                timeout: 3000,
                class: b"com.alipay.sofa.rpc.core.request.SofaRequest",
                headers: &[
                    ("sofa_head_target_service", "org.example.Greeter:1.0"),
                    ("sofa_head_method_name", "greet"),
                ],
                content: &body,
                ..Builder::default()
            };
            let request = request.build().expect("it fits");
            bolt = bolt.frame(format!("{label}, {name}"), Peer::Client, &Bolt::default(), request);
        }
    }
    bench(criterion, &Bolt::default(), &bolt);
    bench(criterion, &Redis::default(), &redis);
    bench(criterion, &Mx, &mx);
    bench(criterion, &Kv, &kv);
    bench(criterion, &Desk::default(), &desk);
}

/// What a cache mostly hears and says.
fn short() -> Samples {
    let elements = (0..100).map(|n| RedisMessage::bulk(format!("element {n}").as_bytes()));
    let mget = ["MGET".to_owned()].into_iter().chain((0..10).map(|n| format!("key:{n:012}")));
    let redis = Redis::default();
    Samples::new()
        .client("ping", b"*1\r\n$4\r\nPING\r\n")
        .client("get", b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000012345678\r\n")
        .frame("mget, 10 keys", Peer::Client, &redis, RedisMessage::request(mget))
        .upstream("ok", b"+OK\r\n")
        .upstream("integer", b":12345\r\n")
        .upstream("no value", b"$-1\r\n")
        .frame("array, 100 elements", Peer::Upstream, &redis, RedisMessage::array(elements))
}

criterion_group!(benches, codecs);
criterion_main!(benches);
