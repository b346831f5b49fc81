//! Bolt on both sides of the proxy, and a proxy from YAML.

use std::time::{Duration, Instant};

use wiremesh::{Frame, Kind, Protocol};
use wiremesh_bolt::{Bolt, BoltFrame, Builder, ResponseStatus};
use wiremesh_proxy::{
    config::Config,
    server::{Handle, Server as Proxy},
};

use super::peer::{Caller, Seen, Server};

pub type BoltServer = Server<Bolt>;
pub type BoltCaller = Caller<Bolt>;

/// What a configuration file with this text says.
pub fn parse(yaml: &str) -> Config {
    let protocols = super::registry().protocols();
    match Config::parse("test.yaml", yaml, &|_| None, &protocols) {
        Ok(config) => config,
        Err(report) => panic!("{report}\n{yaml}"),
    }
}

/// A proxy that runs as a configuration file with this text says.
pub fn mesh(yaml: &str) -> Handle {
    Proxy::new(parse(yaml), super::registry()).start().expect("the proxy starts")
}

/// One listener `l` that has these routes, and these clusters: lists in YAML's flow style.
pub fn routes(routes: &str, clusters: &str) -> String {
    format!(
        "workers: 1\n\
         listeners: [{{ name: l, address: '127.0.0.1:0', protocols: [bolt], routes: {routes} }}]\n\
         clusters: {clusters}\n"
    )
}

/// Where the listener is.
pub fn address_of(proxy: &Handle, listener: &str) -> String {
    proxy.address(listener).expect("such a listener").to_string()
}

/// A connection to the listener `l`.
pub fn connect(proxy: &Handle) -> BoltCaller {
    Caller::connect(&address_of(proxy, "l"))
}

/// A request with these headers.
pub fn request(service: &str, method: &str, headers: &[(&str, &str)]) -> BoltFrame {
    timed(service, method, headers, -1)
}

/// The same with a timeout of its own, in milliseconds.
pub fn timed(service: &str, method: &str, headers: &[(&str, &str)], timeout: i32) -> BoltFrame {
    let named = [("service", service), ("sofa_head_method_name", method)];
    let headers: Vec<_> = named.into_iter().chain(headers.iter().copied()).collect();
    Builder { timeout, headers: &headers, content: b"content", ..Builder::default() }
        .build()
        .expect("short enough")
}

/// A reply to a request.
pub fn reply(request: &BoltFrame, status: ResponseStatus, content: &[u8]) -> BoltFrame {
    let status = status.code();
    let (kind, version, id) = (Kind::Response, request.version(), request.id());
    Builder { kind, version, id, status, content, ..Builder::default() }.build().expect("short")
}

/// A server that tells its name.
pub fn named(name: &'static str) -> BoltServer {
    Server::start("127.0.0.1:0", move |seen: &Seen<BoltFrame>| match seen.frame.kind() {
        Kind::Request => vec![reply(&seen.frame, ResponseStatus::Success, name.as_bytes())],
        _ => vec![],
    })
}

/// A server that never answers a request.
pub fn silent() -> BoltServer {
    Server::start("127.0.0.1:0", |_: &Seen<BoltFrame>| vec![])
}

/// A server that answers every request with this status.
pub fn refusing(status: ResponseStatus) -> BoltServer {
    Server::start("127.0.0.1:0", move |seen: &Seen<BoltFrame>| match seen.frame.kind() {
        Kind::Request => vec![reply(&seen.frame, status, b"")],
        _ => vec![],
    })
}

/// What a reply says, as text.
pub fn text(reply: &BoltFrame) -> String {
    String::from_utf8_lossy(reply.content()).into_owned()
}

/// The flag of a local reply; empty for an upstream's.
pub fn flag(reply: &BoltFrame) -> String {
    let text = text(reply);
    let flagged = text.split_once("wiremesh ").and_then(|(_, rest)| rest.split_once(':'));
    flagged.map_or_else(String::new, |(flag, _)| flag.to_owned())
}

/// Asks and tells what was answered: the flag of a local reply, or else the text.
pub fn outcome(caller: &mut BoltCaller, request: BoltFrame) -> String {
    let reply = caller.call(request);
    let flag = flag(&reply);
    if flag.is_empty() { text(&reply) } else { flag }
}

/// Waits until `true`, and fails the test when that takes more than 10 s.
pub fn until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A heartbeat of a client's.
pub fn heartbeat() -> BoltFrame {
    Bolt::default().heartbeat(0).expect("it has one")
}
