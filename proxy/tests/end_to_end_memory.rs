//! What slow readers of sessions end to end cost in memory. A binary of its own, so that nobody else's memory is measured.

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use wiremesh::Status;
use wiremesh_toys::end_to_end::packet;

use common::{address, call::call_config, rss, secs, start};

const MIB: usize = 1 << 20;
/// 1 GiB.
const ROWS: usize = 1024;

/// One at a time: each measures the process.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits until `count` has not grown for a while.
fn stands_still(count: &AtomicU64) -> u64 {
    let end = Instant::now() + Duration::from_secs(30);
    let mut seen = (count.load(Relaxed), Instant::now());
    while seen.0 == 0 || seen.1.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < end, "it goes on and on: {}", seen.0);
        thread::sleep(Duration::from_millis(5));
        let now = count.load(Relaxed);
        if now != seen.0 {
            seen = (now, Instant::now());
        }
    }
    seen.0
}

fn said(code: u8, text: &[u8]) -> Vec<u8> {
    packet(code, Status::Ok, text).bytes.to_vec()
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).expect("in time");
    assert_eq!(read, bytes);
}

#[test]
fn a_slow_reader_of_a_long_answer() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream = listener.local_addr().expect("bound");
    let sent = AtomicU64::new(0);
    thread::scope(|threads| {
        threads.spawn(|| {
            let (mut stream, _) = listener.accept().expect("accept");
            stream.write_all(&said(b'G', b"")).expect("written");
            expect(&mut stream, &said(b'Q', b"ALL"));
            let row = said(b'R', &vec![7; MIB]);
            for _ in 0..ROWS {
                for part in row.chunks(64 << 10) {
                    stream.write_all(part).expect("written");
                    sent.fetch_add(part.len() as u64, Relaxed);
                }
            }
            stream.write_all(&said(b'I', b"")).expect("written");
        });
        let mut config = call_config(&[upstream]);
        config.listeners[0].stall_timeout = secs(60);
        config.listeners[0].routes[0].timeout = Some(secs(120));
        let proxy = start(config);
        let mut client = TcpStream::connect(address(&proxy)).expect("connect");
        client.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        expect(&mut client, &said(b'G', b""));
        let before = rss();
        client.write_all(&said(b'Q', b"ALL")).expect("written");
        let ahead = stands_still(&sent) as usize / MIB;
        let mut peak = rss();
        println!("{ahead} MiB are under way, RSS grew by {} KiB", (peak - before) >> 10);
        assert!(ahead < 64, "{ahead} MiB are under way");
        let (mut total, mut chunk) = (0, vec![0; 256 << 10]);
        let expected = ROWS * (MIB + 5);
        while total < expected {
            let wanted = chunk.len().min(expected - total);
            let n = client.read(&mut chunk[..wanted]).expect("in time");
            assert!(n > 0, "closed after {total} bytes");
            total += n;
            peak = peak.max(rss());
        }
        expect(&mut client, &said(b'I', b""));
        let grown = peak.saturating_sub(before) >> 20;
        println!("RSS grew by {grown} MiB at most");
        assert!(grown < 32, "RSS grew by {grown} MiB");
    });
}

#[test]
fn a_slow_upstream_of_one_that_sends_much() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream = listener.local_addr().expect("bound");
    let (sent, reads) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|threads| {
        let received = threads.spawn(|| {
            let (mut stream, _) = listener.accept().expect("accept");
            stream.write_all(&said(b'G', b"")).expect("written");
            while !reads.load(Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            let (mut total, mut chunk) = (0, vec![0; 256 << 10]);
            loop {
                match stream.read(&mut chunk).expect("read") {
                    0 => return total,
                    n => total += n,
                }
            }
        });
        let proxy = start(call_config(&[upstream]));
        let mut client = TcpStream::connect(address(&proxy)).expect("connect");
        expect(&mut client, &said(b'G', b""));
        let before = rss();
        let sender = threads.spawn(|| {
            let note = said(b'N', &vec![7; MIB]);
            for _ in 0..ROWS {
                for part in note.chunks(64 << 10) {
                    client.write_all(part).expect("written");
                    sent.fetch_add(part.len() as u64, Relaxed);
                }
            }
            drop(client);
        });
        let ahead = stands_still(&sent) as usize / MIB;
        let grown = rss().saturating_sub(before) >> 10;
        println!("{ahead} MiB are under way, RSS grew by {grown} KiB");
        assert!(ahead < 64, "{ahead} MiB are under way");
        reads.store(true, Relaxed);
        let mut peak = 0;
        while !sender.is_finished() {
            peak = peak.max(rss());
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(received.join().expect("the server has not failed"), ROWS * (MIB + 5));
        let grown = peak.saturating_sub(before) >> 20;
        println!("RSS grew by {grown} MiB at most");
        assert!(grown < 32, "RSS grew by {grown} MiB");
    });
}
