use bytes::{BufMut, BytesMut};
use wiremesh::{Failure, Reason, Status};

use crate::{StatusFlags, wire::put_packet};

/// The longest text of an error that clients keep.
const MAX_TEXT: usize = 511;

/// The OK packet that says that a command was done.
pub fn done(seq: u8) -> BytesMut {
    done_in(seq, StatusFlags::AUTOCOMMIT)
}

/// The same to a session of this status.
pub fn done_in(seq: u8, status: StatusFlags) -> BytesMut {
    let mut packet = BytesMut::new();
    let [low, high] = status.0.to_le_bytes();
    put_packet(&mut packet, seq, &[0, 0, 0, low, high, 0, 0]);
    packet
}

/// What a client is in when it is told an error of the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has heard nothing yet: the error is in place of the greeting, and has no SQLSTATE, since nothing is agreed on.
    Greeting,
    /// It logs in.
    Login,
    /// It logs in in clear, where TLS is required.
    Clear,
    /// It has sent a command.
    Command,
    /// It has logged in, and has not sent a command yet.
    Idle,
}

/// The ERR packet that says this.
pub fn refusal(to: Refusal, seq: u8, failure: &Failure) -> BytesMut {
    let (number, sqlstate) = code(to, failure);
    let mut text = failure.to_string();
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    let mut body = BytesMut::new();
    body.put_u8(0xff);
    body.put_u16_le(number);
    if to != Refusal::Greeting {
        body.put_u8(b'#');
        body.put_slice(sqlstate);
    }
    body.put_slice(text.as_bytes());
    let mut packet = BytesMut::new();
    put_packet(&mut packet, seq, &body);
    packet
}

/// Number and SQLSTATE, those that a server would use. Clients take those of class 08 for the connection's end.
fn code(to: Refusal, failure: &Failure) -> (u16, &'static [u8; 5]) {
    let logged_in = matches!(to, Refusal::Command | Refusal::Idle);
    match (failure.status, failure.reason) {
        // ER_UNKNOWN_COM_ERROR; ER_HANDSHAKE_ERROR
        (Status::BadRequest, _) if logged_in => (1047, b"08S01"),
        // ER_SECURE_TRANSPORT_REQUIRED
        (Status::BadRequest, _) if to == Refusal::Clear => (3159, b"HY000"),
        (Status::BadRequest, _) => (1043, b"08S01"),
        // ER_ACCESS_DENIED_ERROR
        (Status::Unauthenticated, _) => (1045, b"28000"),
        // ER_SPECIFIC_ACCESS_DENIED_ERROR; ER_HOST_NOT_PRIVILEGED
        (Status::Denied, _) if logged_in => (1227, b"42000"),
        (Status::Denied, _) => (1130, b"HY000"),
        // ER_BAD_DB_ERROR
        (Status::NotFound, _) => (1049, b"42000"),
        // ER_CLIENT_INTERACTION_TIMEOUT; ER_QUERY_TIMEOUT; ER_NET_READ_INTERRUPTED
        (Status::Timeout, _) if to == Refusal::Idle => (4031, b"HY000"),
        (Status::Timeout, _) if logged_in => (3024, b"HY000"),
        (Status::Timeout, _) => (1159, b"08S01"),
        // ER_CON_COUNT_ERROR; ER_USER_LIMIT_REACHED; ER_TOO_MANY_USER_CONNECTIONS
        (Status::Overloaded, _) if !logged_in => (1040, b"08004"),
        (Status::Overloaded, Reason::RateLimited) => (1226, b"42000"),
        (Status::Overloaded, _) => (1203, b"42000"),
        // ER_SERVER_SHUTDOWN; ER_NET_READ_ERROR; ER_SERVER_ISNT_AVAILABLE
        (Status::Unavailable, Reason::Draining) => (1053, b"08S01"),
        (Status::Unavailable, Reason::UpstreamReset) => (1158, b"08S01"),
        (Status::Unavailable, _) => (3168, b"HY000"),
        // ER_QUERY_INTERRUPTED
        (_, Reason::Cancelled) => (1317, b"70100"),
        // ER_INTERNAL_ERROR
        (Status::Internal, _) => (1815, b"HY000"),
        // ER_UNKNOWN_ERROR
        (Status::Ok | Status::AppError | Status::Unknown, _) => (1105, b"HY000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        reply::ErrPacket,
        wire::{HEAD, Head},
    };

    #[test]
    fn errors_are_as_servers_write_them() {
        let failure = Failure::new(Reason::Draining, "the proxy is shutting down");
        let packet = refusal(Refusal::Command, 1, &failure);
        assert_eq!(Head::read(&packet), Some(Head { len: packet.len() - HEAD, seq: 1 }));
        assert_eq!(&packet[HEAD..HEAD + 9], b"\xff\x1d\x04#08S01");
        assert!(packet.ends_with(b"wiremesh DR: the proxy is shutting down"));
        let early = refusal(Refusal::Greeting, 0, &Failure::new(Reason::Overloaded, "full"));
        assert_eq!(&early[..], b"\x14\0\0\0\xff\x10\x04wiremesh UO: full");
    }

    #[test]
    fn every_reason_has_a_number_and_state() {
        for reason in Reason::ALL {
            for to in [Refusal::Login, Refusal::Command] {
                let error = refusal(to, 2, &Failure::new(reason, "x"));
                let error = ErrPacket::parse(&error[HEAD..]).unwrap();
                assert!((1000..5000).contains(&error.number), "{reason:?}");
                let state = error.sqlstate;
                assert!(state.iter().all(u8::is_ascii_alphanumeric), "{reason:?} {state:?}");
            }
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let failure = Failure::new(Reason::Fault, "ä".repeat(600));
        let packet = refusal(Refusal::Command, 1, &failure);
        let text = std::str::from_utf8(&packet[HEAD + 9..]).unwrap();
        assert!(text.len() <= MAX_TEXT && text.len() >= MAX_TEXT - 1);
    }
}
