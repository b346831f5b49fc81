use bytes::{BufMut, BytesMut};
use wiremesh::{
    DecodeError, Frame, Limits, Peer,
    correlation::{Attachment, Hold, Legs, SessionMachine},
};

use crate::{
    Capabilities, Mysql, MysqlFrame,
    auth::test_key,
    frame::What,
    transparent::Transparent,
    wire::{HEAD, put_packet},
};

const SALT: &[u8; 20] = b"saltsaltmoresaltmore";
const BOTH: Legs = Legs { client: true, required: true, upstream: true };
const FRONT: Legs = Legs { upstream: false, ..BOTH };
const BACK: Legs = Legs { client: false, required: false, upstream: true };

fn packet(seq: u8, body: &[u8]) -> BytesMut {
    let mut packet = BytesMut::new();
    put_packet(&mut packet, seq, body);
    packet
}

fn capabilities(ssl: bool) -> Capabilities {
    let all = Capabilities::PROTOCOL_41
        | Capabilities::SECURE_CONNECTION
        | Capabilities::PLUGIN_AUTH
        | Capabilities::CLIENT_MYSQL;
    if ssl { all | Capabilities::SSL } else { all }
}

fn greeting(ssl: bool) -> BytesMut {
    let caps = capabilities(ssl).0.to_le_bytes();
    let mut body = BytesMut::from(&b"\x0a8.0.33\0\x07\0\0\0"[..]);
    body.put_slice(&SALT[..8]);
    body.put_slice(&[0, caps[0], caps[1], 45, 2, 0, caps[2], caps[3], 21]);
    body.put_slice(&[0; 10]);
    body.put_slice(&SALT[8..]);
    body.put_slice(b"\0caching_sha2_password\0");
    packet(0, &body)
}

fn login(seq: u8, ssl: bool) -> BytesMut {
    let caps = capabilities(ssl).0.to_le_bytes();
    let mut body = BytesMut::from(&caps[..4]);
    body.put_slice(&[0, 0, 0, 1, 45]);
    body.put_slice(&[0; 23]);
    body.put_slice(b"sha2\0\x03abccaching_sha2_password\0");
    packet(seq, &body)
}

fn ssl_request(seq: u8) -> BytesMut {
    packet(seq, &login(1, true)[HEAD..HEAD + 32])
}

/// A session as the driver would run it.
struct Session {
    machine: Transparent,
    /// What went to the upstream, and to the client.
    upstream: Vec<BytesMut>,
    client: Vec<BytesMut>,
    over: bool,
}

impl Session {
    fn new(legs: Legs) -> Self {
        let mut machine = Transparent::default();
        machine.secure(legs);
        Self { machine, upstream: vec![], client: vec![], over: false }
    }

    fn take(&mut self, from: Peer, input: &mut BytesMut) -> Result<MysqlFrame, DecodeError> {
        let taken = self.machine.take(&Mysql::default(), from, &mut (), &Limits::default(), input);
        taken.map(|frame| frame.expect("a whole frame"))
    }

    fn client(&mut self, mut input: BytesMut) -> Result<Attachment, DecodeError> {
        let frame = self.take(Peer::Client, &mut input)?;
        assert!(input.is_empty());
        let attachment = self.machine.on_request(&Mysql::default(), &frame);
        if attachment != Attachment::StartTls {
            let ask = self.machine.start_tls(&Mysql::default(), &frame);
            self.upstream.extend(ask.map(|ask| ask.bytes));
            self.upstream.push(frame.bytes);
        }
        Ok(attachment)
    }

    fn upstream(&mut self, mut input: BytesMut) -> Result<(), DecodeError> {
        let frame = self.take(Peer::Upstream, &mut input)?;
        assert!(input.is_empty());
        match self.machine.on_reply(&Mysql::default(), &frame) {
            Hold::Answer(answer) => {
                self.upstream.push(answer.bytes);
                return Ok(());
            }
            hold => self.over = matches!(hold, Hold::Close),
        }
        self.client.push(frame.bytes);
        Ok(())
    }

    /// Up to what the server says to the login.
    fn logged_in(legs: Legs, by_tls: bool) -> Self {
        let mut session = Self::new(legs);
        session.upstream(greeting(true)).expect("a greeting");
        if by_tls {
            assert_eq!(session.client(ssl_request(1)), Ok(Attachment::StartTls));
        }
        let seq = 1 + u8::from(by_tls);
        assert_eq!(session.client(login(seq, by_tls)), Ok(Attachment::Upstream));
        session
    }

    /// Takes what went to each side.
    fn said(&mut self) -> [Vec<BytesMut>; 2] {
        [std::mem::take(&mut self.upstream), std::mem::take(&mut self.client)]
    }
}

const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];

#[test]
fn each_side_is_offered_what_the_proxy_has_and_sees_its_own_numbers() {
    for (legs, by_tls) in [(BOTH, true), (FRONT, true), (BACK, false)] {
        let mut session = Session::logged_in(legs, by_tls);
        let [upstream, client] = session.said();
        assert_eq!(client, [greeting(legs.client)], "{legs:?}");
        let expected = match legs.upstream {
            true => vec![ssl_request(1), login(2, true)],
            false => vec![login(1, false)],
        };
        assert_eq!(upstream, expected, "{legs:?}");
        let (to_us, to_client) = (2 + u8::from(legs.upstream), 2 + u8::from(by_tls));
        // The server switches to another plugin, and is answered.
        let switch = b"\xfemysql_native_password\0saltsaltsaltsaltsalt\0";
        session.upstream(packet(to_us, switch)).expect("a switch");
        session.client(packet(to_client + 1, b"answer")).expect("an answer");
        session.upstream(packet(to_us + 2, &OK)).expect("an end");
        let [upstream, client] = session.said();
        assert_eq!(upstream, [packet(to_us + 1, b"answer")], "{legs:?}");
        assert_eq!(client, [packet(to_client, switch), packet(to_client + 2, &OK)], "{legs:?}");
        // From there on both count alike, and nothing is changed.
        session.client(packet(0, b"\x0e")).expect("a command");
        session.upstream(packet(1, &OK)).expect("its answer");
        assert_eq!(session.said(), [vec![packet(0, b"\x0e")], vec![packet(1, &OK)]]);
    }
}

#[test]
fn a_client_in_clear_is_served_where_that_is_allowed() {
    let legs = Legs { required: false, ..BOTH };
    let mut session = Session::logged_in(legs, false);
    session.upstream(packet(3, &OK)).expect("an end");
    let [upstream, client] = session.said();
    assert_eq!(upstream, [ssl_request(1), login(2, true)]);
    assert_eq!(client, [greeting(true), packet(2, &OK)]);
    let mut session = Session::new(BOTH);
    session.upstream(greeting(true)).expect("a greeting");
    let refused = session.client(login(1, false)).expect_err("it is required").to_string();
    assert!(refused.contains("TLS is required"), "{refused}");
}

#[test]
fn a_password_said_under_tls_goes_to_the_server_by_its_key() {
    let key = test_key();
    let mut session = Session::logged_in(FRONT, true);
    session.said();
    session.upstream(packet(2, &[1, 4])).expect("the password is wanted");
    session.client(packet(4, b"sha2pw\0")).expect("it is said");
    assert_eq!(session.said(), [vec![packet(3, &[2])], vec![packet(3, &[1, 4])]]);
    let mut pem = vec![1];
    pem.extend(key.public_pem());
    session.upstream(packet(4, &pem)).expect("a key");
    let [upstream, client] = session.said();
    assert_eq!(client, Vec::<BytesMut>::new(), "it hears nothing of the key");
    let [cipher] = &upstream[..] else { panic!("{upstream:?}") };
    assert_eq!(cipher[3], 5);
    let password = key.decrypt(&cipher[HEAD..], SALT).expect("encrypted for this key");
    assert_eq!(password.bytes(), b"sha2pw");
    session.upstream(packet(6, &OK)).expect("an end");
    assert_eq!(session.said(), [vec![], vec![packet(5, &OK)]]);
}

#[test]
fn a_client_that_asks_for_the_key_itself_gets_it() {
    let mut session = Session::logged_in(FRONT, true);
    session.said();
    session.upstream(packet(2, &[1, 4])).expect("the password is wanted");
    session.client(packet(4, &[2])).expect("the key is");
    session.upstream(packet(4, b"\x01key")).expect("a key");
    session.client(packet(6, b"cipher")).expect("encrypted");
    session.upstream(packet(6, &OK)).expect("an end");
    let [upstream, client] = session.said();
    assert_eq!(upstream, [packet(3, &[2]), packet(5, b"cipher")]);
    assert_eq!(client, [packet(3, &[1, 4]), packet(5, b"\x01key"), packet(7, &OK)]);
}

#[test]
fn nobody_is_made_to_say_a_password_in_clear() {
    let mut session = Session::logged_in(BACK, false);
    session.said();
    session.upstream(packet(3, &[1, 4])).expect("the password is wanted");
    let [_, client] = session.said();
    let [error] = &client[..] else { panic!("{client:?}") };
    assert_eq!((error[3], error[HEAD], &error[7..13]), (2, 0xff, &b"#28000"[..]));
    assert!(session.over);
    // One whose password the server remembers is let in.
    let mut session = Session::logged_in(BACK, false);
    session.said();
    session.upstream(packet(3, &[1, 3])).expect("it is remembered");
    session.upstream(packet(4, &OK)).expect("an end");
    assert_eq!(session.said()[1], [packet(2, &[1, 3]), packet(3, &OK)]);
}

#[test]
fn a_server_without_tls_is_not_spoken_to_in_clear() {
    let mut session = Session::new(BACK);
    let refused = session.upstream(greeting(false)).expect_err("it has none").to_string();
    assert!(refused.contains("no TLS"), "{refused}");
}

#[test]
fn nobody_asks_for_tls_twice_or_without_an_offer() {
    let mut session = Session::new(BOTH);
    session.upstream(greeting(true)).expect("a greeting");
    assert_eq!(session.client(ssl_request(1)), Ok(Attachment::StartTls));
    assert!(session.client(ssl_request(2)).is_err());
    let mut session = Session::new(BACK);
    session.upstream(greeting(true)).expect("a greeting");
    assert!(session.client(ssl_request(1)).is_err());
}

#[test]
fn without_tls_of_ours_a_client_may_speak_it_with_the_server() {
    let mut session = Session::new(Legs::default());
    session.upstream(greeting(true)).expect("a greeting");
    assert_eq!(session.client(ssl_request(1)), Ok(Attachment::UpstreamNoReply));
    assert!(session.machine.is_relaying());
    let hello = BytesMut::from(&b"\x16\x03\x01"[..]);
    let frame = session.take(Peer::Client, &mut hello.clone()).expect("anything");
    assert_eq!((frame.what(), frame.wire_len()), (What::Rest, 3));
}
