//! Packets that nobody means well.

use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;
use wiremesh_mysql::{
    StatusFlags,
    pooled::statements::{Need, Plan, Setting, StatementLimits},
};

use super::client::{ATTRIBUTES, Client, Place, command, packet};

const CODES: [u8; 8] = [0x16, 0x17, 0x18, 0x19, 0x1a, 0x1c, 0xfa, 0x03];

/// Whatever comes is answered in some way, and no more is said to be wanted than can be waited for.
fn survive(named: bool, to_named: bool, packets: &[Vec<u8>], replies: &[Vec<u8>]) {
    let limits = StatementLimits { statements: 4, text: 100, ..StatementLimits::default() };
    let mut client = Client::new(0, named, limits);
    let capabilities = if to_named { ATTRIBUTES } else { Default::default() };
    let mut places = [Place::new(capabilities, 1, 2)];
    client.prepare(&mut places, 0, b"select ?, ?").expect("there is room");
    client.prepare(&mut places, 0, b"select ?????????").expect("there is room");
    let [place] = &mut places;
    let setting = Setting { schema: b"shop", fingerprint: 7 };
    let mut replies = replies.iter().cycle();
    for bytes in packets {
        assert!(client.statements.wanted(bytes) <= bytes.len().max(1 << 20));
        let digest = || Arc::from(&b""[..]);
        let need = client.statements.on_request(bytes, &setting, digest, Some(&place.prepared));
        if need != Need::Upstream {
            continue;
        }
        let mut frame = BytesMut::from(&bytes[..]);
        for _ in 0..3 {
            let plan = client.statements.plan(&mut frame, &setting, &mut place.prepared);
            if let Plan::First(_) = plan {
                let mut reply = replies.next().cloned().unwrap_or_default();
                client.statements.on_prepare_reply(&mut reply, &mut place.prepared);
            }
        }
        client.statements.on_rest(&mut BytesMut::from(&bytes[..]));
        let mut reply = replies.next().cloned().unwrap_or_default();
        client.statements.on_prepare_reply(&mut reply, &mut place.prepared);
        let status = StatusFlags(reply.iter().fold(0, |sum, byte| sum ^ u16::from(*byte)));
        client.statements.on_reply(reply.len() % 2 == 0, status, &mut place.prepared);
        assert!(client.statements.len() <= 4);
    }
}

fn telling() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0..4_u8, 2 => 0xfa..=0xff_u8, 1 => any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anything_is_survived(
        named in any::<[bool; 2]>(),
        packets in prop::collection::vec(
            (prop::sample::select(CODES.to_vec()), 1..4_u32, 0..6_usize,
                prop::collection::vec(telling(), 0..40)), 1..12),
        replies in prop::collection::vec(prop::collection::vec(telling(), 0..14), 1..6),
    ) {
        let packets: Vec<_> = packets
            .into_iter()
            .map(|(code, id, cut, rest)| {
                let mut all = command(code, id, &rest).to_vec();
                if cut > 0 {
                    all.truncate(all.len() * cut / 5);
                }
                all
            })
            .collect();
        survive(named[0], named[1], &packets, &replies);
    }
}

#[test]
fn huge_counts_are_not_believed() {
    for count in
        [&b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\xfd\xff\xff\xff", b"\xfc\xff\xff"]
    {
        let rest = [b"\x08\x01\0\0\0", count, b"\0\x01\x08\0\0"].concat();
        survive(true, true, &[command(0x17, 1, &rest).to_vec()], &[]);
        let rest = [b"\0\x01\0\0\0", count].concat();
        survive(false, true, &[command(0x17, 1, &rest).to_vec()], &[]);
    }
    // It says that it is longer than it is.
    let mut lies = packet(b"\x16select 1").to_vec();
    lies[2] = 0xff;
    survive(false, false, &[lies, packet(&[0x17]).to_vec(), packet(&[]).to_vec()], &[]);
}
