//! Protocols through `tokio_util::codec::Framed`.

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio_util::codec::Framed;
use wiremesh::codec::{Codec, CodecError};
use wiremesh::correlation::Multiplexed;
use wiremesh::{DecodeError, Kind, Limits, Peer, Status};
use wiremesh_toys::{Kv, Mx, inorder::Line, multiplexed::Message, server};

fn request(id: u64, payload: &[u8]) -> Message {
    Message::new(Kind::Request, Status::Ok, id, ["s", "m"], payload)
}

fn ends(buffer: usize) -> (Framed<DuplexStream, Codec<Mx>>, Framed<DuplexStream, Codec<Mx>>) {
    let (client, server) = duplex(buffer);
    let client = Framed::new(client, Codec::new(Mx, Peer::Upstream));
    (client, Framed::new(server, Codec::new(Mx, Peer::Client)))
}

/// Through a pipe so narrow that no frame arrives in one piece, small frames and large.
#[tokio::test]
async fn requests_are_answered_over_a_narrow_pipe() {
    let (mut client, mut server) = ends(7);
    let serve = tokio::spawn(async move {
        let mut served = 0;
        while let Some(message) = server.next().await {
            let answer = server::multiplexed(&message.unwrap()).unwrap();
            server.send(answer).await.unwrap();
            served += 1;
        }
        served
    });
    for (id, len) in [(1, 0), (2, 5), (3, 40_000)] {
        let payload = vec![id as u8; len];
        client.send(request(id, &payload)).await.unwrap();
        let reply = client.next().await.unwrap().unwrap();
        assert_eq!(Mx.id(&reply), id);
        assert!(reply.payload() == payload);
    }
    drop(client);
    assert_eq!(serve.await.unwrap(), 3);
}

#[tokio::test]
async fn an_end_within_a_frame_is_an_error_and_between_frames_is_none() {
    for (bytes, whole) in [(&b"PONG\n"[..], true), (b"PONG\nVALUES", false)] {
        let (mut peer, end) = duplex(64);
        let mut framed = Framed::new(end, Codec::new(Kv, Peer::Upstream));
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        let pong = framed.next().await.unwrap().unwrap();
        assert_eq!(pong.words().collect::<Vec<_>>(), ["PONG"]);
        match framed.next().await {
            None => assert!(whole),
            Some(Err(CodecError::Io(error))) => {
                assert!(!whole && error.kind() == io::ErrorKind::UnexpectedEof);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused() {
    let (mut peer, end) = duplex(4096);
    let limits = Limits { max_frame: 10, ..Limits::default() };
    let codec = Codec::new(Kv, Peer::Client).with_limits(limits);
    let mut framed = Framed::new(end, codec);
    peer.write_all(b"GET a\nGET 0123456789\n").await.unwrap();
    let line: Line = framed.next().await.unwrap().unwrap();
    assert_eq!(line.words().count(), 2);
    let refused = framed.next().await.unwrap().unwrap_err();
    let CodecError::Decode(error) = refused else { panic!("{refused}") };
    assert_eq!(error, DecodeError::limit("max_frame", 10, 15));
}
