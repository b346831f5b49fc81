//! Samples of each toy for the conformance kit, the fuzz targets and the benches.

use wiremesh::{Frame, Kind, Peer, Protocol, Status, kit::Samples};

use crate::{
    end_to_end::{self, Call},
    inorder::{Kv, Line},
    multiplexed::{Message, Mx},
    session::{Desk, packet},
};

const HTTP: &[u8] = b"POST /x HTTP/1.1\r\nhost: x\r\n\r\n";
const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Of [`Mx`].
pub fn mx() -> Samples {
    let call = |kind, id, payload: &[u8]| {
        Message::new(kind, Status::Ok, id, ["org.example.Greeter", "greet"], payload)
    };
    let mut with_timeout = call(Kind::Request, 7, b"soon");
    with_timeout.set_timeout(std::time::Duration::from_millis(300));
    let response = |status| Message::new(Kind::Response, status, 7, ["", ""], b"hello");
    let probe = Message::new(Kind::Heartbeat, Status::Ok, 0xffff_ffff, ["", ""], b"");
    Samples::new()
        .frame("request", Peer::Client, &Mx, call(Kind::Request, 1, b"hello"))
        .frame("request with a timeout", Peer::Client, &Mx, with_timeout)
        .frame("empty request", Peer::Client, &Mx, call(Kind::Request, 0, b""))
        .frame("one-way", Peer::Client, &Mx, call(Kind::OneWay, 2, b"psst"))
        .frame("large request", Peer::Client, &Mx, call(Kind::Request, 3, &[0xa5; 20_000]))
        .frame("response", Peer::Upstream, &Mx, response(Status::Ok))
        .frame("refusal", Peer::Upstream, &Mx, response(Status::Overloaded))
        .frame("heartbeat", Peer::Client, &Mx, probe)
        .foreign("kv", b"GET a b\n")
        .foreign("http", HTTP)
        .foreign("tls", TLS)
}

/// Of [`Kv`].
pub fn kv() -> Samples {
    let samples = Samples::new()
        .client("conversation", b"SET a 1\nGET a b\nSCAN\nLOG hello\n")
        .client("probe", b"PING\n")
        .upstream("answers", b"OK\nVALUES 1 -\nITEM a 1\nEND\nPONG\n")
        .upstream("refusal", b"ERR overloaded come back later\n");
    ["GET a", "GET a b c", "SET key value", "SCAN", "LOG some text"]
        .into_iter()
        .fold(samples, |samples, line| {
            samples.client(line.to_owned(), [line.as_bytes(), b"\n"].concat())
        })
        .frame(
            "long",
            Peer::Client,
            &Kv,
            Line::new(Kind::Request, &format!("SET k {}", "v".repeat(3000))),
        )
        .foreign("mx", b"mx\0\0\0\0\0\x01")
        .foreign("http", HTTP)
        .foreign("tls", TLS)
}

/// Of [`Desk`].
pub fn desk() -> Samples {
    let desk = Desk::default();
    let queries = ["BEGIN", "SET k v", "COMMIT", "RESET", "GET k"];
    let said = |code, status, text| {
        let mut out = wiremesh::WriteBuf::default();
        desk.encode(packet(code, status, text), &mut out);
        out.to_bytes().to_vec()
    };
    let session: Vec<u8> = [said(b'L', Status::Ok, "sesame")]
        .into_iter()
        .chain(queries.map(|query| said(b'Q', Status::Ok, query)))
        .chain([said(b'X', Status::Ok, "")])
        .flatten()
        .collect();
    let answers = [
        said(b'G', Status::Ok, "desk"),
        said(b'I', Status::Ok, ""),
        said(b'T', Status::Ok, ""),
        said(b'R', Status::Ok, "row"),
        said(b'T', Status::BadRequest, "no such query"),
        said(b'I', Status::Ok, ""),
    ];
    Samples::new()
        .client("session", session)
        .client("query", said(b'Q', Status::Ok, "GET k"))
        .upstream("answers", answers.concat())
        .foreign("http", HTTP)
}

/// Of [`Call`].
pub fn call() -> Samples {
    let said = |packets: &[(u8, Status, &str)]| {
        let mut out = wiremesh::WriteBuf::default();
        for (code, status, text) in packets {
            Call.encode(end_to_end::packet(*code, *status, text.as_bytes()), &mut out);
        }
        out.to_bytes().to_vec()
    };
    let ok = Status::Ok;
    let session = [
        (b'L', ok, "me"),
        (b'P', ok, "the word"),
        (b'P', ok, ""),
        (b'Q', ok, "ECHO hello"),
        (b'N', ok, "a note"),
        (b'X', ok, ""),
    ];
    let answers = [
        (b'G', ok, "welcome"),
        (b'W', ok, "what is the word?"),
        (b'I', ok, ""),
        (b'R', ok, "row"),
        (b'T', Status::BadRequest, "no"),
        (b'B', Status::Unavailable, "bye"),
    ];
    Samples::new()
        .client("session", said(&session))
        .client("query", said(&[(b'Q', ok, "ECHO hello")]))
        .upstream("answers", said(&answers))
        .foreign("http", HTTP)
}
