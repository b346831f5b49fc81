//! What the proxy answers by itself.

use super::*;

#[test]
fn what_only_a_lost_connection_knew_no_other_is_asked() {
    let mut talk = Talk::new(b"");
    assert!(matches!(talk.asks("insert into a values ()", &ok(7, 0, b"")), Hold::Linger));
    let (attachment, mut frame) = talk.says(Command::Query, b"select last_insert_id()");
    assert_eq!(attachment, Attachment::Upstream, "the connection is there");
    talk.machine.detach();
    talk.lend(true);
    let Ready::Answer(Some(answer)) = talk.machine.prepare(&talk.mysql, &mut frame) else {
        panic!("it is asked")
    };
    assert_eq!(answer.error().map(|error| error.number), Some(1105));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut talk = Talk::new(b"");
    for (command, body, number) in [
        (Command::ProcessKill, &b"\x07"[..], 1835),
        (Command::Query, b"kill user joe", 1235),
        (Command::StmtPrepare, b"kill ?", 1295),
        (Command::BinlogDump, b"\x04\0\0\0\0\0\x01\0\0\0", 1235),
        (Command::RegisterSlave, b"\x01\0\0\0\0\0\0\xea\x0c\0\0\0\0\0\0\0\0", 1235),
        (Command::StmtExecute, b"\x09\0\0\0\0\x01\0\0\0", 1243),
    ] {
        let (attachment, _) = talk.says(command, body);
        assert_eq!((attachment, talk.told()), (Attachment::Answered, number), "{command:?}");
    }
}

#[test]
fn attributes_of_another_login_have_a_limit() {
    let attributes = [&[0xfc, 0xe8, 0x03][..], &[0; 1000]].concat();
    let body = [&b"\x11joe\0\0\0\x2d\0mysql_native_password\0"[..], &attributes].concat();
    for (max_header, right) in [(1000, true), (999, false)] {
        let mut talk = Talk::new(b"");
        talk.machine.session.capabilities = AGREED
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::CONNECT_ATTRS;
        let mut input = BytesMut::new();
        put_packet(&mut input, 0, &body);
        let limits = Limits { max_header, ..Limits::default() };
        let taken = talk.machine.take(&talk.mysql, Peer::Client, &mut (), &limits, &mut input);
        assert_eq!(taken.is_ok(), right, "{max_header}");
    }
}

#[test]
fn who_ends_what_another_does_is_answered_as_by_servers() {
    use wiremesh::correlation::{Cancel, Cancelled, Extent};
    let mut talk = Talk::new(b"");
    let (attachment, _) = talk.says(Command::ProcessKill, b"\x07\0\0\x40");
    let cancel = Cancel { number: 0x4000_0007, extent: Extent::Connection, gently: false };
    assert_eq!(attachment, Attachment::Cancel(cancel));
    let (attachment, _) = talk.says(Command::Query, b"kill query 5");
    let query = Cancel { number: 5, extent: Extent::Request, gently: false };
    assert_eq!(attachment, Attachment::Cancel(query));
    let mut told = |cancel: &Cancel, outcome| {
        let answer = talk.machine.cancelled(cancel, outcome).expect("an answer");
        ErrPacket::parse(&answer.bytes()[4..]).map_or(0, |error| error.number)
    };
    assert_eq!(told(&query, Cancelled::Done), 0);
    assert_eq!(told(&query, Cancelled::Unknown), 1094);
    assert_eq!(told(&query, Cancelled::Denied), 1095);
    assert_eq!(told(&query, Cancelled::Own), 1317);
    assert_eq!(told(&cancel, Cancelled::Own), 1317);
    let mut talk = let_in("11.4.5-MariaDB", 45);
    let answer = talk.machine.cancelled(&cancel, Cancelled::Own).expect("an answer");
    assert_eq!(ErrPacket::parse(&answer.bytes()[4..]).expect("an error").number, 1927);
}

#[test]
fn the_server_is_told_of_its_own_earlier_connections_only() {
    use wiremesh::correlation::{Cancel, Extent, Sessioned};
    let mysql = Mysql::default();
    let place = |version: &[u8]| Place::new(AGREED, version, 8, true, true);
    let cancel = Cancel { number: 1, extent: Extent::Request, gently: true };
    for (version, text) in [("8.0.33", "KILL QUERY 7"), ("10.11.19-MariaDB", "KILL SOFT QUERY 7")] {
        let frame = mysql.interrupt(&place(version.as_bytes()), 7, &cancel).expect("it can");
        assert_eq!(command_in(&frame), (Command::Query, text.into()));
    }
    assert!(mysql.interrupt(&place(b"8.0.33"), 8, &cancel).is_none());
    assert!(mysql.interrupt(&place(b"8.0.33"), 9, &cancel).is_none());
}

#[test]
fn errors_are_in_the_words_of_the_server() {
    let mut talk = let_in("8.0.33-wiremesh", 45);
    let said = |talk: &mut Talk, command, body: &[u8]| {
        talk.says(command, body);
        let answer = talk.machine.answer().expect("there is an answer");
        String::from_utf8_lossy(&answer.bytes()[13..]).into_owned()
    };
    let (one, none) = (&b"\x09\0\0\0\x01\0\0\0"[..], &b"\x09\0"[..]);
    let handler = "Unknown prepared statement handler (9) given to ";
    let text = said(&mut talk, Command::StmtFetch, one);
    assert_eq!(text, format!("{handler}mysql_stmt_precheck"));
    let text = said(&mut talk, Command::StmtExecute, none);
    assert_eq!(text, "Malformed communication packet.");
    talk.machine.attach(Place::new(AGREED, b"11.4.5-MariaDB", 7, true, true));
    let text = said(&mut talk, Command::StmtFetch, one);
    assert_eq!(text, format!("{handler}mysqld_stmt_fetch"));
    let text = said(&mut talk, Command::StmtExecute, none);
    assert_eq!(text, "Malformed communication packet");
}

#[test]
fn a_client_is_told_why_it_is_closed_while_it_waits_for_nothing() {
    let idle = Failure::new(Reason::Timeout, "nothing was asked");
    let mut talk = Talk::new(b"");
    let told = |talk: &mut Talk| {
        let packet = talk.machine.farewell(&talk.mysql, &idle)?;
        assert_eq!(packet.bytes()[3], 1, "as the answer to the next");
        Some(ErrPacket::parse(&packet.bytes()[4..]).expect("it is an error").number)
    };
    assert_eq!(told(&mut talk), Some(4031));
    let (_, mut frame) = talk.says(Command::Query, b"select 1");
    talk.lend(true);
    assert_eq!(talk.first(&mut frame), None);
    assert_eq!(told(&mut talk), None, "it waits for an answer");
    talk.hears(&ok(0, 0, b""));
    assert_eq!(told(&mut talk), Some(4031));
    talk.machine.detach();
    assert_eq!(told(&mut talk), Some(4031));
}
