//! The errors of the proxy's own are those of the table in `docs/protocols/mysql.md`.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::BytesMut;
use tokio::net::TcpStream;
use wiremesh_mysql::{
    Capabilities, Command,
    wire::{put_lenenc_int, put_packet},
};
use wiremesh_proxy::{
    config::{Config, Limit},
    server::Handle,
};

use crate::{
    common::{address, block_on, millis, start, thread::ServerThread, tls::Issuer},
    mysql,
    peers::{Talk, greeting, login},
    pooled::pooled_to,
};

const DOCUMENT: &str = include_str!("../../../docs/protocols/mysql.md");

async fn columns(talk: &mut Talk, number: u64) -> Option<()> {
    let mut count = BytesMut::new();
    put_lenenc_int(&mut count, number);
    let end = &[0xfe, 0, 0, 2, 0][..];
    let definitions = (0..number).map(|_| &b"\x03def"[..]);
    let mut out = BytesMut::new();
    let mut seq = 1;
    for packet in [&count[..]].into_iter().chain(definitions).chain([end, end]) {
        seq = put_packet(&mut out, seq, packet);
    }
    talk.write(&out).await
}

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::TRANSACTIONS.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_ATTRS.0
    | Capabilities::PLUGIN_AUTH.0;

/// Number and SQLSTATE; the latter is empty in place of the greeting, where nothing is agreed on.
type Told = (u16, String);

/// What the table says: at login, and of a command.
fn table() -> BTreeMap<&'static str, [Vec<Told>; 2]> {
    let (_, section) = DOCUMENT.split_once("\n### Errors\n").expect("there is the section");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let row = |line: &'static str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, login, command] = cells[..] else { panic!("{line}") };
        (what, [login, command].map(errors))
    };
    rows.take_while(|line| line.starts_with('|')).map(row).collect()
}

/// Each number, and the SQLSTATE behind it.
fn errors(cell: &str) -> Vec<Told> {
    let words: Vec<_> = cell.split([' ', ';']).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).filter_map(|pair| {
        let state = pair[1].strip_prefix('`')?.strip_suffix('`')?;
        Some((pair[0].parse().ok()?, state.to_owned()))
    });
    pairs.collect()
}

/// A server by whose name for a user, or statement, it is known what becomes of it: `lost`, `rubbish`, `never`; all others are
/// answered by OK, but for `columns N`, a result without rows.
pub fn server() -> ServerThread {
    ServerThread::each(async |stream| {
        // A proxy that has gone is no failure of the server's.
        let _ = serve(Talk::new(stream)).await;
    })
}

async fn serve(mut talk: Talk) -> Option<()> {
    let greeting = greeting(CAPS, 7, "mysql_native_password");
    talk.send(0, &greeting).await?;
    loop {
        let (seq, asked) = talk.receive().await?;
        let text = String::from_utf8_lossy(if seq == 1 { &asked[32..] } else { &asked[1..] });
        let ok = [0, 0, 0, 2, 0, 0, 0];
        match text.split(['\0', ' ']).next().unwrap_or_default() {
            "lost" => return None,
            "rubbish" => talk.send(seq + 7, &ok).await?,
            "never" => {}
            _ if asked[0] == Command::StmtClose as u8 => {}
            // Statement 9, without parameters and columns to tell of.
            _ if asked[0] == Command::StmtPrepare as u8 => {
                talk.send(seq + 1, &[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await?;
            }
            "columns" => {
                let number = text.split(' ').nth(1).expect("how many").parse().expect("a number");
                columns(&mut talk, number).await?;
            }
            _ => talk.send(seq + 1, &ok).await?,
        }
    }
}

/// Where nobody is.
fn nowhere() -> SocketAddr {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    gone.local_addr().expect("bound")
}

/// The next packet, which is an error of the proxy's own.
async fn told(talk: &mut Talk) -> Told {
    refused(talk).await.expect("an error")
}

/// The same, unless it is no error.
pub async fn refused(talk: &mut Talk) -> Option<Told> {
    let (told, text) = error(talk).await?;
    assert!(text.starts_with("wiremesh "), "{text}");
    Some(told)
}

/// An error and its text, if the next packet is one.
async fn error(talk: &mut Talk) -> Option<(Told, String)> {
    let (_, error) = talk.receive().await.expect("an answer");
    if error[0] != 0xff {
        return None;
    }
    let (state, text) = match error[3] {
        b'#' => error[4..].split_at(5),
        _ => (&b""[..], &error[3..]),
    };
    let state = String::from_utf8(state.to_vec()).expect("ASCII");
    let number = u16::from_le_bytes([error[1], error[2]]);
    Some(((number, state), String::from_utf8_lossy(text).into_owned()))
}

pub async fn connect(proxy: &Handle) -> Talk {
    Talk::new(TcpStream::connect(address(proxy)).await.expect("connect"))
}

/// What a client is told in place of the greeting.
async fn greeted(config: Config) -> Told {
    let proxy = start(config);
    told(&mut connect(&proxy).await).await
}

/// A user of this name has said its login.
async fn begun(proxy: &Handle, user: &str) -> Talk {
    let mut talk = connect(proxy).await;
    talk.receive().await.expect("a greeting");
    let mut said = login(0);
    // In place of `joe`.
    said.splice(32..36, user.bytes().chain([0]));
    talk.send(1, &said).await.expect("connected");
    talk
}

/// What a user of this name is told that logs in.
async fn logs_in(config: Config, user: &str) -> Told {
    let proxy = start(config);
    told(&mut begun(&proxy, user).await).await
}

pub async fn say(talk: &mut Talk, text: &str) {
    talk.send(0, &[&[Command::Query as u8], text.as_bytes()].concat()).await.expect("connected");
}

/// What somebody is told who has logged in and asks this.
async fn asks(config: Config, text: &str) -> Told {
    let proxy = start(config);
    let mut talk = Talk::logged_in(address(&proxy), 0).await;
    say(&mut talk, text).await;
    told(&mut talk).await
}

/// Of what a route leads on, one in a long time.
fn rarely(mut config: Config) -> Config {
    config.listeners[0].routes[0].limit =
        Some(Limit { requests_per_second: Some(0.001), burst: Some(1), ..Limit::default() });
    config
}

/// Only what is asked for this service has a route.
fn elsewhere(mut config: Config) -> Config {
    let route = &mut config.listeners[0].routes[0];
    route.matches = serde_saphyr::from_str("{ service: { exact: elsewhere } }").expect("a match");
    config
}

/// All is answered by an error of this status.
fn aborting(mut config: Config, status: &str) -> Config {
    let fault = format!("{{ abort: {{ percent: 100, status: {status} }} }}");
    config.listeners[0].routes[0].fault = Some(serde_saphyr::from_str(&fault).expect("a fault"));
    config
}

async fn at_login() -> Vec<(&'static str, Told)> {
    let server = server();
    let mut all = Vec::new();
    let config = || mysql(&[server.address]);

    let proxy = start(rarely(config()));
    Talk::logged_in(address(&proxy), 0).await;
    all.push(("overload", told(&mut begun(&proxy, "joe").await).await));

    let mut full = config();
    full.listeners[0].max_connections = 1;
    let proxy = start(full);
    let _first = Talk::logged_in(address(&proxy), 0).await;
    all.push(("overload", told(&mut connect(&proxy).await).await));

    let mut short = config();
    short.listeners[0].routes[0].timeout = Some(millis(200));
    all.push(("no time left", logs_in(short, "never").await));

    let nobody = mysql(&[nowhere()]);
    all.push(("no endpoint, or none that can be connected to", greeted(nobody).await));
    all.push(("the upstream was lost", logs_in(config(), "lost").await));
    all.push(("what it said cannot be understood", logs_in(config(), "rubbish").await));

    let mut drains = config();
    drains.drain_timeout = millis(200);
    let proxy = start(drains);
    let mut talk = begun(&proxy, "never").await;
    proxy.drain();
    all.push(("the proxy is shutting down", told(&mut talk).await));

    all.push(("denied", logs_in(aborting(config(), "denied"), "joe").await));

    all.push(("no route", greeted(elsewhere(config())).await));

    let issuer = Issuer::new("a");
    let identity = issuer.issue(&["127.0.0.1"]);
    for mut config in [config(), pooled_to(&[server.address], 1)] {
        config.listeners[0].tls = Some(identity.listener());
        let proxy = start(config);
        let (told, _) = error(&mut begun(&proxy, "joe").await).await.expect("an error");
        all.push(("in clear where TLS is required", told));
    }

    let proxy = start(config());
    let mut talk = connect(&proxy).await;
    talk.receive().await.expect("a greeting");
    // As before 4.1: flags, the longest packet, a name.
    talk.send(1, b"\0\0\0\0\x01joe\0").await.expect("connected");
    all.push(("not understood", told(&mut talk).await));
    all
}

async fn of_a_command() -> Vec<(&'static str, Told)> {
    let server = server();
    let mut all = Vec::new();
    let config = || mysql(&[server.address]);

    // A server that tells nothing of its sessions is each client's alone.
    let mut one = pooled_to(&[server.address], 1);
    one.clusters[0].pending_timeout = millis(200);
    let proxy = start(one);
    let mut first = Talk::logged_in(address(&proxy), 0).await;
    say(&mut first, "it is mine").await;
    first.receive().await.expect("an answer");
    let mut other = Talk::logged_in(address(&proxy), 0).await;
    say(&mut other, "and mine").await;
    all.push(("overload", told(&mut other).await));

    // The login was the one.
    all.push(("overload", asks(rarely(config()), "anything").await));

    let mut short = config();
    short.listeners[0].routes[0].timeout = Some(millis(200));
    all.push(("no time left", asks(short, "never").await));

    let mut idle = config();
    idle.listeners[0].idle_timeout = millis(200);
    let proxy = start(idle);
    let mut talk = Talk::logged_in(address(&proxy), 0).await;
    all.push(("idle for longer than `idle_timeout`", told(&mut talk).await));

    let nobody = pooled_to(&[nowhere()], 1);
    all.push(("no endpoint, or none that can be connected to", asks(nobody, "anything").await));
    all.push(("the upstream was lost", asks(config(), "lost").await));
    all.push(("what it said cannot be understood", asks(config(), "rubbish").await));

    let mut drains = config();
    drains.drain_timeout = millis(200);
    let proxy = start(drains);
    let mut talk = Talk::logged_in(address(&proxy), 0).await;
    say(&mut talk, "never").await;
    proxy.drain();
    all.push(("the proxy is shutting down", told(&mut talk).await));

    let mut denies = config();
    denies.listeners[0].firewall =
        Some(serde_saphyr::from_str("{ default: deny, rules: [] }").expect("a firewall"));
    all.push(("denied", asks(denies, "anything").await));

    let pooled = || pooled_to(&[server.address], 1);
    all.push(("no route", asks(elsewhere(pooled()), "anything").await));
    all.push(("not understood", asks(aborting(pooled(), "bad_request"), "anything").await));
    all
}

#[test]
fn errors_are_those_of_the_table() {
    let told = block_on(async { [at_login().await, of_a_command().await] });
    let mut missing = Vec::new();
    for (what, legs) in table() {
        for (leg, said) in legs.into_iter().enumerate() {
            let name = ["at login", "of a command"][leg];
            let came: Vec<_> = told[leg].iter().filter(|(row, _)| *row == what).collect();
            for (_, (number, state)) in &came {
                // In place of the greeting there is none.
                let fits = |it: &&Told| it.0 == *number && (state.is_empty() || it.1 == *state);
                assert!(said.iter().any(|it| fits(&it)), "{what}, {name}: {number} {state}");
            }
            for (number, state) in said {
                let found = came.iter().any(|(_, it)| it.0 == number);
                if !found {
                    missing.push(format!("{what}, {name}: {number} {state}"));
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "nobody was told so");
}
