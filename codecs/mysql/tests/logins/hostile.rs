//! Peers that say anything at all in a login, and below the packets.

use std::sync::LazyLock;

use bytes::BytesMut;
use wiremesh::Password;
use wiremesh_mysql::auth::{
    Channel, Ed25519Key, KeySource, NativeHash, Plugin, PublicKey, ShaCrypt, Verifier,
};
use wiremesh_mysql::compress::{Algorithm, Decompressor};
use wiremesh_mysql::handshake::{
    Attributes, ClientConfig, ClientHandshake, ClientStep, Greeting, ServerConfig, ServerHandshake,
    ServerStep, TlsOffer, TlsWish,
};
use wiremesh_mysql::session::{Bounds, Changes, Tracked};
use wiremesh_mysql::wire::{HEAD, Head};
use wiremesh_mysql::{Capabilities, StatusFlags};

/// The first byte chooses who is spoken to. Nothing panics, and nothing needs more than it may.
pub fn survive(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    match how % 8 {
        0 => frames(Algorithm::Zlib, rest),
        1 => frames(Algorithm::Zstd, rest),
        2 => client(TlsWish::Off, rest),
        3 => client(TlsWish::Preferred, rest),
        4 => server(TlsOffer::Off, rest),
        5 => server(TlsOffer::Offered, rest),
        6 => changes(rest),
        _ => stored(rest),
    }
}

/// So much of what a frame holds is enough to see.
const ENOUGH: usize = 256 << 10;

/// The same comes out in whatever pieces they come, up to the same error.
fn frames(algorithm: Algorithm, data: &[u8]) {
    let unpacked = |chunk: usize, room: usize| {
        let mut unpack = Decompressor::new(algorithm);
        let (mut input, mut out, mut all) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        for piece in data.chunks(chunk) {
            input.extend_from_slice(piece);
            loop {
                let more = unpack.read(&mut input, &mut out, room);
                assert!(out.len() <= room);
                all.extend_from_slice(&out);
                out.clear();
                match more {
                    Ok(_) if all.len() > ENOUGH => return (all, true, 0),
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => return (all, false, 0),
                }
            }
        }
        (all, true, unpack.next())
    };
    let (whole, single) = (unpacked(usize::MAX, 1 << 16), unpacked(1, 7));
    if whole.0.len().max(single.0.len()) > ENOUGH {
        return;
    }
    assert_eq!(whole.1, single.1, "an error whichever way it comes");
    // What was right before an error may have come out, or not yet.
    assert!(whole.0.starts_with(&single.0) || single.0.starts_with(&whole.0));
    assert!(!whole.1 || (&whole.0, whole.2) == (&single.0, single.2));
}

/// The bodies of packets, whatever their numbers; the last as far as it goes.
fn packets(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = Head::read(data)?;
        let rest = data.get(HEAD..)?;
        let (packet, rest) = rest.split_at(rest.len().min(head.len));
        data = rest;
        Some(packet)
    })
}

fn client(tls: TlsWish, data: &[u8]) {
    let mut handshake = ClientHandshake::new(ClientConfig {
        user: b"joe".to_vec(),
        password: Password::new("secret"),
        schema: b"shop".to_vec(),
        wanted: Capabilities(u64::MAX),
        tls,
        channel: Channel::Open,
        keys: KeySource::Asked,
        attributes: Attributes::of([("_client_name", "wiremesh")]),
        collation: 45,
        max_packet: 1 << 24,
        zstd_level: 3,
    });
    let mut seq = 0_u8;
    for packet in packets(data) {
        // Each that is sent is a number more.
        let sent = match handshake.on_packet(seq, packet) {
            Ok(ClientStep::Wait) => 1,
            Ok(ClientStep::Send(_)) => 2,
            Ok(ClientStep::StartTls(_)) => {
                assert!(matches!(handshake.secured(), Ok(ClientStep::Send(_)) | Err(_)));
                3
            }
            Ok(ClientStep::Done(done)) => {
                let told = Changes::of_ok(&done.ok, done.agreed);
                return told.map_or((), |told| told.for_each(drop));
            }
            Err(_) => return,
        };
        seq = seq.wrapping_add(sent);
    }
}

/// Made once: it costs milliseconds.
static STORED: LazyLock<ShaCrypt> =
    LazyLock::new(|| ShaCrypt::of(b"secret", [b's'; 20]).expect("it is short"));

fn server(tls: TlsOffer, data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    let verifier = match how % 4 {
        0 => Verifier::of(Plugin::NativePassword, b"secret").expect("it keeps something"),
        1 => Verifier::of(Plugin::ClientEd25519, b"secret").expect("it keeps something"),
        2 => Verifier::Sha2Stored(STORED.clone(), None),
        _ => Verifier::Empty(Plugin::CachingSha2),
    };
    let (mut handshake, _) = ServerHandshake::new(ServerConfig {
        greeting: Greeting {
            version: b"8.0.33".to_vec(),
            connection: 7,
            capabilities: Capabilities(u64::MAX),
            salt: vec![b's'; 20],
            collation: 45,
            status: StatusFlags::AUTOCOMMIT,
            plugin: b"caching_sha2_password".to_vec(),
        },
        tls,
        channel: Channel::Open,
        key: None,
        host: "127.0.0.1".into(),
    });
    let mut seq = 1_u8;
    for packet in packets(data) {
        let mut step = handshake.on_packet(seq, packet);
        seq = seq.wrapping_add(1);
        if let Ok(ServerStep::StartTls) = step {
            step = handshake.secured();
        }
        if let Ok(ServerStep::Account) = step {
            step = handshake.account(verifier.clone(), [7; 32]);
        }
        match step {
            Ok(ServerStep::Send(_)) => seq = seq.wrapping_add(1),
            Ok(ServerStep::Wait) => {}
            // Only who knows it says it.
            Ok(ServerStep::Accepted(..)) => {
                let empty = matches!(verifier, Verifier::Empty(_));
                assert!(empty || how % 4 == 2 && data.windows(6).any(|word| word == b"secret"));
                return;
            }
            _ => return,
        }
    }
}

fn changes(data: &[u8]) {
    let bounds = Bounds { variables: 4, bytes: 40 };
    let mut session = Tracked::default();
    for packet in packets(data) {
        let Ok(told) = Changes::of_ok(packet, Capabilities::SESSION_TRACK) else { continue };
        for change in told.flatten() {
            let _ = session.apply(change, &bounds);
        }
        let sizes = session.variables().map(|(name, value)| name.len() + value.len());
        assert!(sizes.sum::<usize>() <= 40 && session.variables().count() <= 4);
    }
}

fn stored(data: &[u8]) {
    let _ = PublicKey::from_pem(data);
    if let Ok(hash) = ShaCrypt::parse(data) {
        assert_eq!(hash.stored().len(), data.len());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(hash) = NativeHash::parse(text) {
        assert_eq!(hash.to_string(), text.to_uppercase());
    }
    if let Ok(key) = Ed25519Key::parse(text) {
        assert_eq!(key.to_string(), text);
    }
}
