//! What connections and slow readers cost in memory. A binary of its own, so that nobody else's memory is measured.

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::BytesMut;
use wiremesh::{Frame, Kind, Limits, Peer, Protocol, Status, WriteBuf, correlation::Multiplexed};
use wiremesh_toys::{Mx, multiplexed::Message};

use common::{address, block_on, config, eventually, rss, rss_of, secs, start, upstream::Upstream};

/// Replies of 16 MiB each, 64 of them: 1 GiB that a client asks for and then does not read.
#[test]
fn a_slow_reader_costs_bounded_memory_and_gets_everything() {
    const REPLY: usize = 16 << 20;
    const REPLIES: u64 = 64;
    let upstream = Upstream::start();
    let mut config = config(&[upstream.address]);
    config.workers = Some(1);
    config.listeners[0].stall_timeout = secs(60);
    config.listeners[0].routes[0].timeout = Some(secs(60));
    let proxy = start(config);
    let before = rss();
    let mut socket = std::net::TcpStream::connect(address(&proxy)).expect("connect");
    let mut out = WriteBuf::default();
    for id in 0..REPLIES {
        let method = format!("big:{REPLY}");
        Mx.encode(
            Message::new(Kind::Request, Status::Ok, id, ["s", &method], &id.to_be_bytes()),
            &mut out,
        );
    }
    socket.write_all(&out.to_bytes()).expect("written");
    block_on(eventually("all are asked for", || upstream.requests() == REPLIES));
    let (mut input, mut chunk) = (BytesMut::new(), vec![0; 256 << 10]);
    let mut seen = std::collections::BTreeSet::new();
    let mut peak = 0;
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    while (seen.len() as u64) < REPLIES {
        let n = socket.read(&mut chunk).expect("in time");
        assert!(n > 0, "closed after {} replies", seen.len());
        input.extend_from_slice(&chunk[..n]);
        while let Some(reply) =
            Mx.decode(Peer::Upstream, &mut (), &Limits::default(), &mut input).expect("well-formed")
        {
            assert_eq!((reply.status(), reply.payload().len()), (Status::Ok, REPLY));
            assert_eq!(reply.payload()[..8], Mx.id(&reply).to_be_bytes());
            assert!(seen.insert(Mx.id(&reply)), "twice");
        }
        peak = peak.max(rss());
    }
    let grown = peak.saturating_sub(before) >> 20;
    println!("RSS grew by {grown} MiB with 1 GiB owed");
    // The upstream's reply, the half-received one and those owed to the client, and this client's own.
    assert!(grown < 256, "RSS grew by {grown} MiB");
}

/// A `wiremesh` process, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    const CONNECTIONS: usize = 10_000;
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let listen: SocketAddr = free.expect("a free port");
    let mut child = Command::new(env!("CARGO_BIN_EXE_wiremesh"))
        .args(["run", "-c", "/dev/stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("wiremesh starts");
    let yaml = format!(
        "workers: 2\nlisteners:\n- {{ name: l, address: '{listen}', protocols: [bolt], max_connections: 20000, \
         routes: [ {{ name: r, reply: {{ status: ok }} }} ] }}\n"
    );
    child.stdin.take().expect("piped").write_all(yaml.as_bytes()).expect("written");
    let process = Process(child);
    let connect = || {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            match TcpStream::connect(listen) {
                Ok(stream) => return stream,
                Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    heartbeat(&mut connect());
    let before = rss_of(process.0.id());
    let mut idle: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    // All of them have been taken over by a worker: the last ones answer, and so does the first.
    let last = idle.len() - 1;
    for index in [0, last - 1, last] {
        heartbeat(&mut idle[index]);
    }
    let each = (rss_of(process.0.id()) - before) / CONNECTIONS;
    println!("{each} bytes of RSS per idle connection");
    assert!(each <= 8192, "{each} bytes per idle connection");
}

/// Sends a heartbeat (Bolt v1) and waits for its answer.
fn heartbeat(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream
        .write_all(b"\x01\x01\0\0\x01\0\0\0\x07\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0")
        .expect("written");
    let mut reply = [0; 20];
    stream.read_exact(&mut reply).expect("answered");
    assert_eq!(reply[..9], *b"\x01\x00\0\0\x01\0\0\0\x07");
}
