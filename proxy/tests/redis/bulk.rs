//! Replies that are too long to be held.

use std::{io::Read, net::SocketAddr, sync::mpsc, time::Duration};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wiremesh::{Limits, Peer, Protocol};
use wiremesh_proxy::config::Config;
use wiremesh_redis::{Message, Progress, Redis};

use crate::common::{
    address, block_on,
    redis::{LOST, RedisClient, redis_config},
    secs, start,
    thread::ServerThread,
};

const MIB: usize = 1 << 20;

/// Values are made of these bytes, over and over again.
fn pattern() -> Vec<u8> {
    (0..PERIOD).map(|at| (at % 251) as u8).collect()
}

/// So many bytes; no power of two, for nothing to be right by chance.
const PERIOD: usize = 251 * 4096;

/// A server whose values are as long as their keys say: `GET 1000` has 1000 bytes. Where a key goes on with `:N` the
/// connection is lost after N bytes of it. `BLMOVE` answers as `GET` does, and anything else is `+OK`.
fn serve(stream: TcpStream) {
    tokio::task::spawn_local(async move {
        let (mut read, mut write) = stream.into_split();
        let (redis, mut input, mut state) =
            (Redis::default(), BytesMut::new(), Progress::default());
        loop {
            let limits = Limits::default();
            while let Some(request) =
                redis.decode(Peer::Client, &mut state, &limits, &mut input).expect("well-formed")
            {
                if !answer(&mut write, &request).await {
                    // A reset could take with it what has just been written.
                    let _ = write.shutdown().await;
                    while matches!(read.read_buf(&mut input).await, Ok(n) if n > 0) {}
                    return;
                }
            }
            match tokio_util::io::read_buf(&mut read, &mut input).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        }
    });
}

async fn answer(write: &mut (impl AsyncWriteExt + Unpin), request: &Message) -> bool {
    if !matches!(request.command_name(), b"GET" | b"BLMOVE") {
        let echo = match request.arg(0) {
            Some(b"ECHO") => Message::bulk(request.arg(1).unwrap_or_default()),
            _ => Message::simple("OK"),
        };
        return write.write_all(echo.bytes()).await.is_ok();
    }
    let key = String::from_utf8_lossy(request.arg(1).unwrap_or_default()).into_owned();
    let (len, lost) = key.split_once(':').map_or((key.as_str(), None), |(a, b)| (a, Some(b)));
    let len: usize = len.parse().expect("a number");
    let lost: Option<usize> = lost.map(|lost| lost.parse().expect("a number"));
    let mut ok = write.write_all(format!("${len}\r\n").as_bytes()).await.is_ok();
    let (mut left, pattern) = (lost.unwrap_or(len), pattern());
    while ok && left > 0 {
        let chunk = &pattern[..left.min(PERIOD)];
        left -= chunk.len();
        ok = write.write_all(chunk).await.is_ok();
    }
    ok && lost.is_none() && write.write_all(b"\r\n").await.is_ok()
}

fn server() -> ServerThread {
    ServerThread::start("127.0.0.1:0".parse().expect("an address"), |listener| async move {
        loop {
            let (stream, _) = TcpListener::accept(&listener).await.expect("accept");
            serve(stream);
        }
    })
}

fn config(server: &ServerThread) -> Config {
    let mut config = redis_config(&[server.address]);
    config.listeners[0].routes[0].timeout = Some(secs(60));
    config
}

/// A client that looks at every byte, and keeps none.
struct Reader(TcpStream, BytesMut, Vec<u8>);

impl Reader {
    async fn connect(address: SocketAddr, lines: &[&str]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        for line in lines {
            let request = Message::request(line.split(' '));
            stream.write_all(request.bytes()).await.expect("send");
        }
        Self(stream, BytesMut::new(), pattern())
    }

    /// More bytes; `false` at the end.
    async fn read(&mut self) -> bool {
        let read = tokio::time::timeout(LOST, self.0.read_buf(&mut self.1));
        read.await.expect("a reply is lost").is_ok_and(|n| n > 0)
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.1.windows(2).position(|it| it == b"\r\n") {
                let line = self.1.split_to(end + 2);
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.read().await, "closed within a line");
        }
    }

    /// Reads this part of a value; how far it came before the connection was closed.
    async fn part(&mut self, from: usize, end: usize) -> usize {
        let mut at = from;
        while at < end {
            if self.1.is_empty() && !self.read().await {
                return at;
            }
            let place = at % PERIOD;
            let len = self.1.len().min(end - at).min(PERIOD - place);
            assert!(self.1[..len] == self.2[place..place + len], "wrong bytes at {at}");
            self.1.advance(len);
            at += len;
        }
        at
    }

    async fn value(&mut self, len: usize) {
        assert_eq!(self.line().await, format!("${len}"));
        assert_eq!(self.part(0, len).await, len, "closed within a value");
        assert_eq!(self.line().await, "");
    }
}

#[test]
fn long_replies_come_whole_and_in_their_places() {
    let server = server();
    let proxy = start(config(&server));
    block_on(async {
        // The last is longer than a frame may be.
        let lens = [MIB - 1, MIB, MIB + 1, 5 * MIB + 12345, 40 * MIB];
        let mut lines = Vec::new();
        for len in lens {
            lines.extend([format!("ECHO before-{len}"), format!("GET {len}")]);
        }
        lines.push("ECHO end".into());
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        // The second round is on a connection of the client's own.
        for first in [None, Some("WATCH k")] {
            let mut reader =
                Reader::connect(address(&proxy), &first.map_or(vec![], |it| vec![it])).await;
            if first.is_some() {
                assert_eq!(reader.line().await, "+OK");
            }
            for line in &lines {
                let request = Message::request(line.split(' '));
                reader.0.write_all(request.bytes()).await.expect("send");
            }
            for len in lens {
                let echo = format!("before-{len}");
                assert_eq!(reader.line().await, format!("${}", echo.len()));
                assert_eq!(reader.line().await, echo);
                reader.value(len).await;
            }
            assert_eq!([reader.line().await, reader.line().await], ["$3", "end"]);
        }
        // One that was waited for without a deadline.
        let mut reader =
            Reader::connect(address(&proxy), &["BLMOVE 3000000 b LEFT LEFT 0", "ECHO end"]).await;
        reader.value(3_000_000).await;
        assert_eq!([reader.line().await, reader.line().await], ["$3", "end"]);
    });
}

#[test]
fn a_reply_that_is_lost_half_way_is_the_end() {
    let server = server();
    let proxy = start(config(&server));
    block_on(async {
        for lost in [1000, 3 * MIB, 39 * MIB] {
            let mut other = RedisClient::connect(address(&proxy)).await;
            assert_eq!(other.ask("ECHO 1").await, "1");
            let get = format!("GET {}:{lost}", 40 * MIB);
            let mut reader = Reader::connect(address(&proxy), &[&get, "ECHO behind"]).await;
            assert_eq!(reader.line().await, format!("${}", 40 * MIB));
            assert_eq!(reader.part(0, 40 * MIB).await, lost, "and nothing else");
            assert!(!reader.read().await, "it is closed");
            assert_eq!(other.ask("ECHO 2").await, "2");
        }
    });
}

#[test]
fn who_shares_a_connection_with_a_long_reply_is_answered() {
    // What is behind it in the line waits until the rest is put aside, or, if that is too much, the reader is closed.
    for (len, stall_timeout) in [(20 * MIB, 60), (100 * MIB, 1)] {
        let server = server();
        let mut config = config(&server);
        config.listeners[0].stall_timeout = secs(stall_timeout);
        let proxy = start(config);
        block_on(async {
            let mut other = RedisClient::connect(address(&proxy)).await;
            assert_eq!(other.ask("ECHO 1").await, "1");
            // It reads a little, and then nothing for a while.
            let mut reader = Reader::connect(address(&proxy), &[&format!("GET {len}")]).await;
            assert_eq!(reader.line().await, format!("${len}"));
            assert_eq!(other.ask("ECHO 2").await, "2");
            // Those who come later wait for nothing.
            for n in 0..100 {
                let mut late = RedisClient::connect(address(&proxy)).await;
                assert_eq!(late.ask(&format!("ECHO {n}")).await, n.to_string());
                assert_eq!(other.ask(&format!("ECHO {n}")).await, n.to_string());
            }
            // Whether the other was closed depends on who was first.
            if len == 20 * MIB {
                assert_eq!(reader.part(0, len).await, len);
            }
        });
    }
}

#[test]
fn a_slow_reader_with_nobody_behind_it_gets_all_of_it() {
    let server = server();
    let mut config = config(&server);
    config.listeners[0].stall_timeout = secs(2);
    let proxy = start(config);
    let address = address(&proxy);
    let (moving, moves) = mpsc::channel();
    // Slower than the proxy's patience for all of it, but never silent for long.
    let slow = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("connect");
        let len = 80 * MIB;
        let request = Message::request(["GET", &len.to_string()]);
        std::io::Write::write_all(&mut stream, request.bytes()).expect("send");
        let (mut got, mut buffer) = (0, vec![0; MIB]);
        let whole = format!("${len}\r\n").len() + len + 2;
        while got < whole {
            let n = stream.read(&mut buffer).expect("read");
            assert!(n > 0, "closed after {got}");
            got += n;
            std::thread::sleep(Duration::from_millis(n as u64 * 60 / MIB as u64));
            if got > 20 * MIB {
                let _ = moving.send(());
            }
        }
    });
    moves.recv().expect("it reads for a second");
    block_on(async {
        let mut other = RedisClient::connect(address).await;
        let mut n = 0u64;
        while !slow.is_finished() {
            assert_eq!(other.ask(&format!("ECHO {n}")).await, n.to_string());
            n += 1;
        }
        assert!(n > 100, "others were answered {n} times meanwhile");
    });
    slow.join().expect("it got everything");
}

#[test]
fn who_leaves_in_the_middle_of_a_long_reply_harms_nobody() {
    let server = server();
    let proxy = start(config(&server));
    block_on(async {
        let mut others = Vec::new();
        for _ in 0..3 {
            let mut other = RedisClient::connect(address(&proxy)).await;
            assert_eq!(other.ask("ECHO 1").await, "1");
            others.push(other);
        }
        let mut reader = Reader::connect(address(&proxy), &[&format!("GET {}", 60 * MIB)]).await;
        assert!(reader.read().await, "it begins");
        for other in &mut others {
            other.send(&["ECHO 2"]).await;
        }
        drop(reader);
        for other in &mut others {
            assert_eq!(other.next().await.as_deref(), Some("2"));
        }
    });
}

#[test]
fn half_received_requests_have_a_bound_together() {
    let server = server();
    let proxy = start(config(&server));
    block_on(async {
        // 256 MiB, however many they are.
        let (value, mut half) = (vec![b'x'; 30 * MIB], Vec::new());
        let head = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len() + 1);
        loop {
            assert!(half.len() < 9, "nobody was refused");
            let mut client = Reader::connect(address(&proxy), &["ECHO before"]).await;
            assert_eq!([client.line().await, client.line().await], ["$6", "before"]);
            client.0.write_all(head.as_bytes()).await.expect("sent");
            // It may be refused before all of it is sent.
            let sent = client.0.write_all(&value).await;
            if half.len() == 8 || sent.is_err() {
                let refused = client.line().await;
                let says = "-ERR Protocol error: memory for half-received messages is limited to";
                assert!(refused.starts_with(says), "{refused}");
                break;
            }
            half.push(client);
        }
        assert_eq!(half.len(), 8);
        for mut client in half {
            client.0.write_all(b"x\r\n").await.expect("sent");
            assert_eq!(client.line().await, "+OK");
        }
    });
}
