//! Logins of the pooled mode: a client's at the proxy, and the proxy's at a server, against each other and against what was
//! recorded of real ones.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use bytes::BytesMut;
use wiremesh::{
    Credentials, Limits, OptionError, Password, Peer, Protocol, User, UserSecret,
    correlation::{Arrival, Departure, Handshake, Progress},
};
use wiremesh_mysql::{
    Capabilities, Mysql, MysqlFrame,
    auth::{Channel, Ed25519Key, NativeKey, ShaCrypt},
    handshake::{Attributes, ChangeUser, Greeting, Login},
    pooled::{Accounts, Admitted, Entrance, Lane, LoggedIn, OFFERED, Tracking, UpstreamLogin},
    wire::{HEAD, Head, put_packet},
};

mod clients;
mod documented;
mod recorded;
mod servers;

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";
const ED25519: &str = "client_ed25519";

fn user(name: &str, secret: UserSecret, plugin: Option<&str>, upstream: (&str, &str)) -> User {
    User {
        name: name.into(),
        secret,
        plugin: plugin.map(Into::into),
        upstream: Credentials { user: upstream.0.into(), password: Password::new(upstream.1) },
    }
}

fn known(name: &str, password: &str, plugin: &str) -> User {
    let secret = UserSecret::Known(Password::new(password));
    user(name, secret, Some(plugin), (name, password))
}

fn hash(text: impl Into<Vec<u8>>) -> UserSecret {
    UserSecret::Hash(Password::new(text))
}

fn accounts(users: &[User]) -> Arc<Accounts> {
    Arc::new(Accounts::new(users).expect("they are right"))
}

fn arrival() -> Arrival {
    Arrival {
        number: 0x1_0000_0007,
        random: *b"01234567890123456789 and 44 bytes that nobody can guess.........",
        peer: "192.0.2.7:50123".into(),
        tls: false,
        tls_required: false,
        private: false,
    }
}

/// Somebody who logs in: by a machine for servers, whose own configuration has the credentials.
fn client(user: &str, password: &str, flags: Capabilities, tls: bool) -> UpstreamLogin {
    let accounts = accounts(&[known(user, password, NATIVE)]);
    let key = accounts.account(0).expect("there is one").upstream.key();
    let departure = Departure { random: [0; 64], tls, private: false };
    UpstreamLogin::new(&accounts, Lane::new(key, flags), &departure)
}

/// The frames in these bytes, as the proxy would cut them.
fn frames(from: Peer, bytes: &[u8]) -> Vec<MysqlFrame> {
    let (mut input, mut all) = (BytesMut::from(bytes), Vec::new());
    let decode =
        |input: &mut BytesMut| Mysql::default().decode(from, &mut (), &Limits::default(), input);
    while let Some(frame) = decode(&mut input).expect("packets") {
        all.push(frame);
    }
    assert!(input.is_empty(), "whole packets");
    all
}

fn frame(from: Peer, seq: u8, body: &[u8]) -> MysqlFrame {
    let mut bytes = BytesMut::new();
    put_packet(&mut bytes, seq, body);
    frames(from, &bytes).remove(0)
}

/// That of a server which has these capabilities.
fn greeting(version: &str, capabilities: Capabilities) -> MysqlFrame {
    let greeting = Greeting {
        version: version.into(),
        connection: 9,
        capabilities,
        salt: b"01234567890123456789".to_vec(),
        collation: 45,
        status: Default::default(),
        plugin: NATIVE.into(),
    };
    let mut body = BytesMut::new();
    greeting.write(&mut body);
    frame(Peer::Upstream, 0, &body)
}

fn ok(seq: u8) -> MysqlFrame {
    frame(Peer::Upstream, seq, &[0, 0, 0, 2, 0, 0, 0])
}

/// That of a server that tells what has changed.
fn told() -> MysqlFrame {
    frame(Peer::Upstream, 1, &[0, 0, 0, 2, 0x40, 0, 0, 0, 3, 2, 1, b'1'])
}

/// What became of a login: the two sides, and how often either spoke.
struct Ended {
    admitted: Option<Admitted>,
    client: Result<UpstreamLogin, &'static str>,
    /// What the proxy has said, but for its greeting.
    said: Vec<MysqlFrame>,
    refused: Option<&'static str>,
}

/// Lets the two speak, up to the end of the login, with TLS taken for begun where it is to.
fn converse(mut entrance: Entrance, mut client: UpstreamLogin) -> Ended {
    let mysql = Mysql::default();
    let Progress::Continue(Some(greeting)) = entrance.start(&mysql) else { panic!("a greeting") };
    assert!(matches!(client.start(&mysql), Progress::Continue(None)));
    let (mut to_client, mut said) = (vec![greeting], Vec::new());
    for _ in 0..10 {
        let mut answer = None;
        for frame in std::mem::take(&mut to_client) {
            match client.on_frame(&mysql, frame) {
                Progress::Continue(frame) => answer = frame,
                Progress::StartTls(Some(asked)) => {
                    let step = entrance.on_frame(&mysql, asked);
                    assert!(matches!(step, Progress::StartTls(None)));
                    assert!(matches!(entrance.on_secured(&mysql), Progress::Continue(None)));
                    match client.on_secured(&mysql) {
                        Progress::Continue(frame) => answer = frame,
                        _ => panic!("a login"),
                    }
                }
                Progress::Refused(None, why) => {
                    return Ended { admitted: None, client: Err(why), said, refused: None };
                }
                _ => panic!("no end before the server was asked to tell"),
            }
        }
        let Some(answer) = answer else { panic!("the client waits, and the proxy, too") };
        let (frame, done) = match entrance.on_frame(&mysql, answer) {
            Progress::Continue(Some(frame)) => (frame, false),
            Progress::Done(Some(frame)) => (frame, true),
            Progress::Refused(Some(frame), why) => {
                said.push(frame.clone());
                let denied = client.on_frame(&mysql, frame);
                let Progress::Refused(None, seen) = denied else { panic!("it was denied") };
                return Ended { admitted: None, client: Err(seen), said, refused: Some(why) };
            }
            _ => panic!("it has to say something"),
        };
        said.push(frame.clone());
        to_client = frames(Peer::Upstream, frame.bytes());
        if !done {
            continue;
        }
        let mut track = None;
        for frame in to_client {
            match client.on_frame(&mysql, frame) {
                Progress::Continue(frame) => track = frame,
                _ => panic!("it asks to be told"),
            }
        }
        let track = track.expect("a statement");
        assert!(track.bytes()[HEAD..].starts_with(b"\x03SET NAMES utf8mb4"));
        assert!(matches!(client.on_frame(&mysql, told()), Progress::Done(None)));
        let admitted = entrance.into_admitted();
        return Ended { admitted, client: Ok(client), said, refused: None };
    }
    panic!("no end")
}

fn log_in(accounts: &Arc<Accounts>, arrival: Arrival, client: UpstreamLogin) -> Ended {
    converse(Entrance::new(Arc::clone(accounts), "8.0.33-wiremesh", arrival), client)
}

fn logged_in(ended: Ended) -> (Admitted, LoggedIn) {
    let client = ended.client.expect("it is the password");
    assert_eq!(client.number(), Some(7), "the lower half of the connection's number");
    let admitted = ended.admitted.expect("it is the password");
    (admitted, client.into_logged_in().expect("it is done"))
}
