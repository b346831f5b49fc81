//! Both machines, against each other.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use wiremesh::Password;

use super::*;
use crate::auth::{AuthError, Channel, KeySource, Learnt, Plugin, Verifier, salt_of};
use crate::session::{Change, Changes};
use crate::wire::{HEAD, Head};
use crate::{Capabilities, StatusFlags};

const RANDOM: [u8; 32] = *b"another salt, 32 bytes of it....";

fn client(password: &str) -> ClientConfig {
    ClientConfig {
        user: b"joe".to_vec(),
        password: Password::new(password),
        schema: b"shop".to_vec(),
        wanted: Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF,
        tls: TlsWish::Off,
        channel: Channel::Open,
        keys: KeySource::None,
        attributes: Attributes::of([("_client_name", "wiremesh")]),
        collation: 45,
        max_packet: 1 << 24,
        zstd_level: 3,
    }
}

fn server(plugin: Plugin) -> ServerConfig {
    ServerConfig {
        greeting: Greeting {
            version: b"8.0.33".to_vec(),
            connection: 7,
            capabilities: Capabilities(0xdfff_ffff),
            salt: salt_of(*b"01234567890123456789").to_vec(),
            collation: 45,
            status: StatusFlags::AUTOCOMMIT,
            plugin: plugin.name().into(),
        },
        tls: TlsOffer::Off,
        channel: Channel::Open,
        key: None,
        host: "127.0.0.1".into(),
    }
}

/// What became of a login.
#[derive(Debug)]
struct Ended {
    client: Result<Box<Established>, HandshakeError>,
    learnt: Option<Learnt>,
    login: Option<Login>,
    /// How often either side spoke.
    turns: usize,
}

/// Lets the two speak, with every packet whole.
fn converse(
    mut client: ClientHandshake,
    mut server: ServerHandshake,
    verifier: Verifier,
    mut to_client: BytesMut,
    mut to_server: BytesMut,
) -> Ended {
    let mut learnt = None;
    for turns in 1..20 {
        let ended = |outcome, learnt, server: &ServerHandshake| Ended {
            client: outcome,
            learnt,
            login: server.login().cloned(),
            turns,
        };
        let mut step = None;
        while let Some((seq, body)) = packet(&mut to_client) {
            assert!(step.is_none(), "a step and another packet");
            match client.on_packet(seq, &body) {
                Ok(ClientStep::Wait) => {}
                Ok(ClientStep::Done(done)) => return ended(Ok(done), learnt, &server),
                Ok(other) => step = Some(other),
                Err(error) => return ended(Err(error), learnt, &server),
            }
        }
        match step {
            Some(ClientStep::Send(bytes)) => to_server.unsplit(bytes),
            Some(ClientStep::StartTls(mut bytes)) => {
                let (seq, body) = packet(&mut bytes).expect("a request for TLS");
                match server.on_packet(seq, &body) {
                    Ok(ServerStep::StartTls) => {}
                    other => panic!("{other:?}"),
                }
                assert!(matches!(server.secured(), Ok(ServerStep::Wait)));
                let Ok(ClientStep::Send(bytes)) = client.secured() else { panic!("a login") };
                to_server.unsplit(bytes);
            }
            _ => {}
        }
        if let Some((seq, body)) = packet(&mut to_server) {
            let mut step = server.on_packet(seq, &body).expect("our own client");
            if matches!(step, ServerStep::Account) {
                step = server.account(verifier.clone(), RANDOM).expect("it was asked for");
            }
            match step {
                ServerStep::Send(bytes) | ServerStep::Denied(bytes, _) => to_client = bytes,
                ServerStep::Accepted(bytes, told) => (to_client, learnt) = (bytes, Some(told)),
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("no end")
}

fn login(client: ClientConfig, server: ServerConfig, verifier: Verifier) -> Ended {
    let (server, greeting) = ServerHandshake::new(server);
    converse(ClientHandshake::new(client), server, verifier, greeting, BytesMut::new())
}

fn packet(bytes: &mut BytesMut) -> Option<(u8, BytesMut)> {
    let head = Head::read(bytes)?;
    bytes.advance(HEAD);
    Some((head.seq, bytes.split_to(head.len)))
}

const THREE: [Plugin; 3] = [Plugin::NativePassword, Plugin::CachingSha2, Plugin::ClientEd25519];

#[test]
fn every_plugin_whichever_was_assumed() {
    for assumed in THREE {
        for plugin in THREE {
            let verifier = Verifier::of(plugin, b"secret").expect("it keeps something");
            let ended = login(client("secret"), server(assumed), verifier.clone());
            let done = ended.client.expect("it is the password");
            assert_eq!(done.greeting.connection, 7);
            let told = Changes::of_ok(&done.ok, done.agreed).expect("it can be read");
            assert_eq!(told.collect::<Vec<_>>(), [Ok(Change::Schema(b"shop"))]);
            let said = ended.login.expect("it was read");
            assert_eq!((&said.user[..], &said.schema[..]), (&b"joe"[..], &b"shop"[..]));
            assert_eq!(said.attributes.get("_client_name").as_deref(), Some("wiremesh"));
            // A salt of 20 bytes cannot be signed: the client answers as to the oldest plugin.
            let answered = match assumed {
                Plugin::ClientEd25519 => Plugin::NativePassword,
                assumed => assumed,
            };
            let guessed = answered == plugin;
            assert_eq!(ended.turns, if guessed { 2 } else { 3 }, "{assumed:?} {plugin:?}");

            let ended = login(client("Secret"), server(assumed), verifier);
            let error = match plugin {
                Plugin::CachingSha2 => AuthError::NeedsKey(plugin).into(),
                _ => denied("YES"),
            };
            assert_eq!(ended.client.expect_err("it is not the password"), error);
            assert_eq!(ended.learnt, None);
        }
    }
}

fn denied(with: &str) -> HandshakeError {
    let text = format!("Access denied for user 'joe'@'127.0.0.1' (using password: {with})");
    HandshakeError::Denied(Denial { number: 1045, sqlstate: *b"28000", text })
}

#[test]
fn without_a_password() {
    for plugin in THREE {
        let ended = login(client(""), server(plugin), Verifier::Empty(plugin));
        assert!(ended.client.is_ok(), "{ended:?}");
        let verifier = Verifier::of(plugin, b"secret").expect("it keeps something");
        let ended = login(client(""), server(Plugin::NativePassword), verifier);
        let with = if plugin == Plugin::ClientEd25519 { "YES" } else { "NO" };
        assert_eq!(ended.client, Err(denied(with)));
    }
}

#[test]
fn the_full_leg_within_tls() {
    let stored = crate::auth::ShaCrypt::of(b"secret", *b"01234567890123456789");
    let verifier = Verifier::Sha2Stored(stored.expect("it is short"), None);
    let client = ClientConfig { tls: TlsWish::Preferred, ..client("secret") };
    let offer = ServerConfig { tls: TlsOffer::Required, ..server(Plugin::CachingSha2) };
    let ended = login(client.clone(), offer, verifier.clone());
    let done = ended.client.expect("it is the password");
    assert_eq!(done.channel, Channel::Private);
    assert!(done.agreed.has(Capabilities::SSL));
    assert_eq!(ended.learnt, Some(Learnt::Password(Password::new("secret"))));

    // The same without TLS, by the key.
    let config = server(Plugin::CachingSha2);
    let config = ServerConfig { key: Some(Arc::new(crate::auth::test_key())), ..config };
    let client = ClientConfig { keys: KeySource::Asked, ..client };
    let ended = login(client, config, verifier);
    let done = ended.client.expect("it is the password");
    assert_eq!((done.channel, ended.turns), (Channel::Open, 4));
}

#[test]
fn tls_that_is_required_is_not_left_out() {
    let nobody = Verifier::Nobody(Plugin::NativePassword);
    let wish = ClientConfig { tls: TlsWish::Required, ..client("secret") };
    let ended = login(wish, server(Plugin::NativePassword), nobody.clone());
    assert_eq!(ended.client, Err(HandshakeError::Lacks("TLS")));
    let offer = ServerConfig { tls: TlsOffer::Required, ..server(Plugin::NativePassword) };
    let ended = login(client("secret"), offer, nobody);
    let Err(HandshakeError::Denied(denial)) = ended.client else { panic!("it must be refused") };
    assert_eq!((denial.number, &denial.sqlstate), (3159, b"HY000"));
}

#[test]
fn another_login_on_the_connection() {
    for plugin in THREE {
        let verifier = Verifier::of(plugin, b"secret").expect("it keeps something");
        let config = server(Plugin::CachingSha2);
        let done = login(client("secret"), config.clone(), verifier).client.expect("it is right");
        let eve = ClientConfig { user: b"eve".to_vec(), ..client("hers") };
        let (client, step) = ClientHandshake::change_user(eve, &done).expect("a salt is known");
        let ClientStep::Send(mut bytes) = step else { panic!("a command") };
        let (seq, body) = packet(&mut bytes).expect("one packet");
        assert_eq!((seq, body[0]), (0, 0x11));
        let agreed = done.agreed;
        let mut server = ServerHandshake::change_user(config, agreed, Channel::Open, seq, &body)
            .expect("it is ours");
        let verifier = Verifier::of(plugin, b"hers").expect("it keeps something");
        let Ok(ServerStep::Send(switch)) = server.account(verifier.clone(), RANDOM) else {
            panic!("a salt is always sent")
        };
        let first = &done.greeting.salt;
        let again = switch.windows(first.len()).any(|salt| salt == first);
        assert_eq!(again, plugin != Plugin::ClientEd25519, "the one that clients were shown");
        let ended = converse(client, server, verifier, switch, BytesMut::new());
        assert_eq!(ended.client.expect("it is hers").agreed, agreed);
        assert_eq!(ended.login.expect("it was read").user, b"eve");
    }
    assert_eq!(reset_connection()[..], [1, 0, 0, 0, 0x1f]);
}

#[test]
fn what_holds_is_what_both_can() {
    let done = |wanted, offered| {
        let mut config = server(Plugin::NativePassword);
        config.greeting.capabilities = offered;
        let client = ClientConfig { wanted, ..client("") };
        let ended = login(client, config, Verifier::Empty(Plugin::NativePassword));
        let agreed = ended.client.expect("there is no password").agreed;
        assert!(agreed.has(Capabilities::PROTOCOL_41 | Capabilities::PLUGIN_AUTH));
        agreed
    };
    let both = Capabilities::COMPRESS | Capabilities::ZSTD;
    assert!(!done(both, both).has(Capabilities::COMPRESS), "zstd, where both are");
    assert!(done(both, Capabilities::COMPRESS).has(Capabilities::COMPRESS));
    let all = Capabilities(u64::MAX);
    let never = [
        Capabilities::MULTI_FACTOR,
        Capabilities::SSL,
        Capabilities::CONNECT_WITH_DB,
        Capabilities::REMEMBER_OPTIONS,
    ];
    let offered = all.without(Capabilities::CONNECT_WITH_DB);
    assert!(never.iter().all(|flag| !done(all, offered).has(*flag)));
    // MariaDB's flags are there only where neither side says that it is MySQL.
    let bulk = Capabilities::MARIADB_STMT_BULK;
    assert!(done(all, all.without(Capabilities::CLIENT_MYSQL)).has(bulk));
    assert!(!done(all, all).has(bulk));
}

#[test]
fn what_has_no_place_is_an_error() {
    let unexpected = |error| matches!(error, Err(HandshakeError::Unexpected(_)));
    let mut client = ClientHandshake::new(client("secret"));
    assert!(matches!(
        client.on_packet(1, b""),
        Err(HandshakeError::OutOfOrder { wanted: 0, seen: 1 })
    ));
    assert!(matches!(
        client.on_packet(0, b"\xff\x10\x04Too many connections"),
        Err(HandshakeError::Denied(Denial { number: 1040, .. }))
    ));
    assert!(unexpected(client.on_packet(1, b"\0").map(|_| ())), "it is over");
    assert!(unexpected(client.secured().map(|_| ())));

    let (mut server, _) = ServerHandshake::new(server(Plugin::NativePassword));
    assert!(unexpected(server.secured().map(|_| ())));
    let nobody = Verifier::Nobody(Plugin::NativePassword);
    assert!(unexpected(server.account(nobody, RANDOM).map(|_| ())));
    let mut tls = vec![0; 32];
    tls[1] = 8;
    assert!(unexpected(server.on_packet(1, &tls).map(|_| ())), "it was not offered");
    assert!(unexpected(server.on_packet(2, b"").map(|_| ())), "it is over");
}

#[test]
fn a_server_cannot_switch_for_ever() {
    let mut client = ClientHandshake::new(client("secret"));
    let (_, mut greeting) = ServerHandshake::new(server(Plugin::NativePassword));
    let (seq, body) = packet(&mut greeting).expect("a greeting");
    client.on_packet(seq, &body).expect("it is ours");
    for turn in 0..5_u8 {
        let switch = b"\xfemysql_native_password\x0001234567890123456789\0";
        let step = client.on_packet(2 + turn * 2, switch);
        assert_eq!(step.is_ok(), turn < 4, "{turn}");
    }
}

#[test]
fn plugins_that_are_not_known_are_named() {
    for (switch, name) in [(&b"\xfedialog\0salt"[..], "dialog"), (b"\xfe", "mysql_old_password")] {
        let mut client = ClientHandshake::new(client("secret"));
        let (_, mut greeting) = ServerHandshake::new(server(Plugin::NativePassword));
        let (seq, body) = packet(&mut greeting).expect("a greeting");
        client.on_packet(seq, &body).expect("it is ours");
        let error = client.on_packet(2, switch).map(|_| ());
        assert_eq!(error, Err(AuthError::UnknownPlugin(name.into()).into()));
    }
}
