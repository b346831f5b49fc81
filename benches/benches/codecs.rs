//! Every codec: decoding and encoding at several body lengths, beside a copy of the same bytes.

use criterion::{Criterion, criterion_group, criterion_main};
use wiremesh::kit::{Samples, bench};
use wiremesh::{Kind, Peer, Status};
use wiremesh_bolt::{Bolt, Builder, Version};
use wiremesh_toys::inorder::Line;
use wiremesh_toys::multiplexed::Message;
use wiremesh_toys::session::packet;
use wiremesh_toys::{Desk, Kv, Mx};

/// Body lengths, in bytes.
const BODIES: [usize; 4] = [0, 128, 1024, 16 * 1024];

fn codecs(criterion: &mut Criterion) {
    let (mut mx, mut kv, mut desk) = (Samples::new(), Samples::new(), Samples::new());
    let mut bolt = Samples::new();
    for len in BODIES {
        let (name, body) = (format!("{len} B"), vec![b'x'; len]);
        let text = "x".repeat(len);

        let texts = ["org.example.Greeter", "greet"];
        let message = Message::new(Kind::Request, Status::Ok, 7, texts, &body);
        mx = mx.frame(&name, Peer::Client, &Mx, message);
        let line = Line::new(Kind::Request, &format!("SET key {text}"));
        kv = kv.frame(&name, Peer::Client, &Kv, line);
        desk = desk.frame(&name, Peer::Client, &Desk::default(), packet(b'Q', Status::Ok, &text));
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
    bench(criterion, &Mx, &mx);
    bench(criterion, &Kv, &kv);
    bench(criterion, &Desk::default(), &desk);
}

criterion_group!(benches, codecs);
criterion_main!(benches);
