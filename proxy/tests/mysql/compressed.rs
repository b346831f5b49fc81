//! Pooled mode: clients that compress, in front of servers that know nothing of it.

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wiremesh_mysql::{
    Capabilities,
    compress::{Algorithm, Compressor, Decompressor},
    wire::{HEAD, put_packet},
};

use crate::{
    common::{address, block_on, start},
    peers::{Talk, login},
    pooled::{Server, pooled},
};

/// Of the test server's OK: the rows that were changed are the connection's number.
const CONNECTION: usize = HEAD + 1;

struct Client {
    stream: TcpStream,
    pack: Compressor,
    unpack: Decompressor,
    received: BytesMut,
    plain: BytesMut,
}

impl Client {
    /// Logs in, and sends the beginning of what follows at once behind it, before it was let in.
    async fn connect(stream: TcpStream, algorithm: Algorithm, early: &str) -> Self {
        let mut talk = Talk::new(stream);
        talk.receive().await.expect("a greeting");
        let compression = match algorithm {
            Algorithm::Zlib => Capabilities::COMPRESS,
            Algorithm::Zstd => Capabilities::ZSTD,
        };
        let mut login = login(compression.0);
        if algorithm == Algorithm::Zstd {
            login.push(3);
        }
        let mut out = BytesMut::new();
        put_packet(&mut out, 1, &login);
        let mut pack = Compressor::new(algorithm, 6);
        let mut asked = BytesMut::new();
        put_packet(&mut asked, 0, &[b"\x03", early.as_bytes()].concat());
        pack.write(&asked, &mut out);
        talk.send_bytes(&out).await;
        let (seq, answer) = talk.receive().await.expect("an answer");
        assert_eq!((seq, answer[0]), (2, 0), "{answer:?}");
        let (stream, received) = talk.into_parts();
        let unpack = Decompressor::new(algorithm);
        Self { stream, pack, unpack, received, plain: BytesMut::new() }
    }

    /// Sends a statement in frames of so many bytes.
    async fn send(&mut self, text: &str, piece: usize) {
        let mut asked = BytesMut::new();
        put_packet(&mut asked, 0, &[b"\x03", text.as_bytes()].concat());
        self.pack.set_next(0);
        for piece in asked.chunks(piece) {
            let mut out = BytesMut::new();
            self.pack.write(piece, &mut out);
            self.stream.write_all(&out).await.expect("connected");
        }
    }

    /// The next answer of one packet, its head included, and the number of the frame it was in.
    async fn answer(&mut self) -> (u8, BytesMut) {
        loop {
            if self.plain.len() > HEAD {
                let len = usize::try_from((&self.plain[..3]).get_uint_le(3)).expect("24 bits");
                if self.plain.len() >= len + HEAD {
                    return (self.unpack.next() - 1, self.plain.split_to(len + HEAD));
                }
            }
            if !self.unpack.read(&mut self.received, &mut self.plain, 1 << 20).expect("frames") {
                let read = self.stream.read_buf(&mut self.received).await.expect("connected");
                assert!(read > 0, "it is not closed");
            }
        }
    }
}

#[test]
fn clients_that_compress_share_connections_that_do_not() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    let long = format!("delete from a where b = '{}'", "long ".repeat(20_000));
    block_on(async {
        for algorithm in [Algorithm::Zlib, Algorithm::Zstd] {
            let stream = TcpStream::connect(address(&proxy)).await.expect("connect");
            let mut client = Client::connect(stream, algorithm, "delete from early").await;
            let (seq, answer) = client.answer().await;
            assert_eq!((seq, answer[HEAD], answer[CONNECTION]), (1, 0, 1), "{answer:?}");
            for piece in [1 << 20, 1000, 3] {
                let text = if piece > 3 { &long[..] } else { "delete from a" };
                client.send(text, piece).await;
                let frames = (text.len() + HEAD + 1).div_ceil(piece);
                let (seq, answer) = client.answer().await;
                assert_eq!(usize::from(seq), frames, "the number that follows the request's");
                assert_eq!((answer[HEAD], answer[CONNECTION]), (0, 1), "{answer:?}");
            }
            // What the proxy itself has to say is packed, too.
            client.send("select last_insert_id(), found_rows()", 1 << 20).await;
            let (seq, answer) = client.answer().await;
            assert_eq!((seq, answer[HEAD]), (1, 0xff), "{answer:?}");
        }
    });
    let said = server.said();
    assert_eq!(said.len(), 8);
    assert!(said.iter().filter(|said| said.ends_with(&long)).count() == 4);
}

#[test]
fn what_is_not_compressed_as_agreed_ends_the_connection() {
    let server = Server::start();
    let proxy = start(pooled(&server, 1));
    block_on(async {
        let stream = TcpStream::connect(address(&proxy)).await.expect("connect");
        let mut client = Client::connect(stream, Algorithm::Zlib, "delete from early").await;
        client.answer().await;
        let no_frame = [9, 0, 0, 0, 99, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        client.stream.write_all(&no_frame).await.expect("connected");
        let mut rest = [0; 64];
        assert_eq!(client.stream.read(&mut rest).await.expect("closed in order"), 0);
    });
    assert_eq!(server.said(), ["1 COM_QUERY delete from early"]);
}
