use bytes::BytesMut;
use wiremesh::{
    Failure, Limits, Peer, Reason,
    correlation::{Attachment, Hold, Ready, SessionMachine},
};

use super::*;
use crate::{identity::Identity, reply::ErrPacket, wire::put_packet};

const AGREED: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0 | Capabilities::SESSION_TRACK.0 | Capabilities::DEPRECATE_EOF.0,
);

/// A client in a schema, with a machine that follows it.
pub(super) struct Talk {
    pub mysql: Mysql,
    pub machine: Pooled,
}

impl Talk {
    pub fn new(schema: &[u8]) -> Self {
        let mut state = State::set_up(b"");
        state.set_schema(schema);
        Self::with(AGREED, state)
    }

    /// With a client that knows this, in this state.
    pub fn with(agreed: Capabilities, state: State) -> Self {
        let session = Session::new(Arc::default(), agreed, state, Collations::Mysql8);
        let machine = Pooled::begin(Follows::Client, Lane::new(0, agreed), session);
        Self { mysql: Mysql::default(), machine }
    }

    /// The client sends this command.
    pub fn says(&mut self, command: Command, body: &[u8]) -> (Attachment, MysqlFrame) {
        let mut input = command_of(command, body);
        let (limits, mysql) = (Limits::default(), &self.mysql);
        let taken = self.machine.take(mysql, Peer::Client, &mut (), &limits, &mut input);
        let frame = taken.expect("it is right").expect("it is whole");
        assert!(input.is_empty());
        (self.machine.on_request(mysql, &frame), frame)
    }

    /// The client's session is to be reset, which is answered; by the server first, where it has to be.
    fn resets(&mut self) -> Attachment {
        let (attachment, mut frame) = self.says(Command::ResetConnection, b"");
        let answer = if attachment == Attachment::Upstream {
            let (command, _) = self.first(&mut frame).expect("the server is asked");
            assert_eq!(command, Command::ResetConnection);
            let Hold::Answer(setup) = self.hears(&ok(0, 0, b"")) else { panic!("no setup") };
            assert_eq!(command_in(&setup).0, Command::Query);
            assert!(matches!(self.hears(&ok(0, 0, b"")), Hold::Prepared));
            match self.machine.prepare(&self.mysql, &mut frame) {
                Ready::Answer(answer) => answer,
                _ => panic!("it goes on"),
            }
        } else {
            self.machine.answer()
        };
        assert_eq!(answer.expect("an OK").bytes()[4], 0);
        self.machine.on_failed(&self.mysql);
        attachment
    }

    /// The client is lent a connection that is as new.
    pub fn lend(&mut self, bare: bool) {
        self.machine.attach(Place::new(AGREED, b"8.0.33", 7, true, bare));
    }

    /// What goes first: command and text.
    pub fn first(&mut self, request: &mut MysqlFrame) -> Option<(Command, String)> {
        match self.machine.prepare(&self.mysql, request) {
            Ready::Send => None,
            Ready::First(frame) => Some(command_in(&frame)),
            Ready::Answer(_) | Ready::Elsewhere => panic!("an answer"),
        }
    }

    /// The server answers by this packet.
    pub fn hears(&mut self, body: &[u8]) -> Hold<Mysql> {
        let mut input = BytesMut::new();
        put_packet(&mut input, 1, body);
        let (limits, mysql) = (Limits::default(), &self.mysql);
        let taken = self.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input);
        let frame = taken.expect("it is right").expect("it is whole");
        assert!(input.is_empty());
        self.machine.on_reply(mysql, &frame)
    }

    /// A query on the connection that it has or, as new, is lent; answered so.
    pub fn asks(&mut self, text: &str, answer: &[u8]) -> Hold<Mysql> {
        let (attachment, mut frame) = self.says(Command::Query, text.as_bytes());
        assert_eq!(attachment, Attachment::Upstream, "{text}");
        if self.machine.lent.place.is_none() {
            self.lend(self.machine.session.state().schema().is_empty());
        }
        while let Some((command, text)) = self.first(&mut frame) {
            assert!(matches!(self.hears(&ok(0, 0, b"")), Hold::Prepared), "{command:?} {text}");
        }
        self.hears(answer)
    }

    /// The number of the error that the proxy itself answers by.
    fn told(&mut self) -> u16 {
        let answer = self.machine.answer().expect("there is an answer");
        ErrPacket::parse(&answer.bytes()[4..]).expect("it is an error").number
    }
}

fn command_of(command: Command, body: &[u8]) -> BytesMut {
    let mut packet = BytesMut::new();
    put_packet(&mut packet, 0, &[&[command as u8], body].concat());
    packet
}

fn command_in(frame: &MysqlFrame) -> (Command, String) {
    let command = Command::of(frame.bytes()[4]).expect("it is known");
    (command, String::from_utf8_lossy(&frame.bytes()[5..]).into_owned())
}

/// An OK with this id, these warnings, and these changes.
pub(super) fn ok(id: u8, warnings: u8, changes: &[u8]) -> Vec<u8> {
    let status = if changes.is_empty() { 2 } else { 2 | StatusFlags::STATE_CHANGED.0 };
    let [low, high] = status.to_le_bytes();
    let mut body = vec![0, 0, id, low, high, warnings, 0];
    if !changes.is_empty() {
        body.extend([0, u8::try_from(changes.len()).expect("they are few")]);
        body.extend(changes);
    }
    body
}

fn error(number: u16) -> Vec<u8> {
    [&[0xff][..], &number.to_le_bytes(), b"#42000no"].concat()
}

fn reset_in(hold: Hold<Mysql>) -> Option<Command> {
    match hold {
        Hold::Release { reset } => reset.map(|frame| command_in(&frame).0),
        _ => panic!("it is not released"),
    }
}

mod attributes;
mod hostile;
mod numbers;
mod past;
mod reads;
mod statements;
mod tracking;
mod untold;

const CHANGED: &[u8] = b"\x02\x011";
const IN_SHOP: &[u8] = b"\x01\x05\x04shop\x02\x011";

#[test]
fn what_leaves_nothing_behind_is_released() {
    let mut talk = Talk::new(b"");
    assert_eq!(reset_in(talk.asks("delete from a", &ok(0, 0, b""))), None);
    talk.machine.detach();
    let (attachment, _) = talk.says(Command::Quit, b"");
    assert_eq!(attachment, Attachment::Quit);
}

#[test]
fn what_nobody_explains_holds_until_it_is_reset() {
    for (text, resets) in [("set @a = 1", true), ("call p()", false), ("set role r", false)] {
        let mut talk = Talk::new(b"");
        assert!(matches!(talk.asks(text, &ok(0, 0, CHANGED)), Hold::Held), "{text}");
        assert!(talk.machine.pin().is_some());
        assert!(matches!(talk.asks("delete from a", &ok(0, 0, b"")), Hold::Held), "{text}");
        // It would meet its own locks on another connection.
        assert_eq!(talk.resets(), Attachment::Upstream, "{text}");
        let hold = talk.machine.let_go(&talk.mysql);
        match resets {
            true => assert_eq!(reset_in(hold), None),
            // Servers keep roles over a reset.
            false => assert!(matches!(hold, Hold::Close), "{text}"),
        }
        talk.machine.detach();
        assert_eq!(talk.machine.pin(), None);
        assert_eq!(reset_in(talk.asks("delete from a", &ok(0, 0, b""))), None);
    }
    // Of another text the server's notice alone is enough.
    let mut talk = Talk::new(b"");
    assert!(matches!(talk.asks("delete from a", &ok(0, 0, CHANGED)), Hold::Held));
}

#[test]
fn a_reset_is_the_servers_own_where_it_may_have_locks() {
    let without = [&ok(0, 0, b"")[..3], &[0, 0, 0, 0]].concat();
    for (text, answer, attachment) in [
        ("select get_lock('a', 1)", ok(0, 0, b""), Attachment::Upstream),
        // Whether there is a transaction is not told behind the error.
        ("set autocommit = 0", without, Attachment::Upstream),
        ("insert into a values ()", ok(7, 0, b""), Attachment::Reset),
    ] {
        let mut talk = Talk::new(b"");
        let _ = talk.asks(text, &answer);
        let _ = talk.asks("delete from b", &error(1146));
        assert_eq!(talk.resets(), attachment, "{text}");
    }
    let mut talk = Talk::new(b"");
    assert_eq!(talk.resets(), Attachment::Answered);
}

#[test]
fn what_the_next_transaction_was_to_be_like_is_gone_with_a_reset() {
    let text = b"SET TRANSACTION READ ONLY;";
    let changes = [&[4, 27, 26][..], text].concat();
    let mut talk = Talk::new(b"");
    assert!(matches!(talk.asks("set transaction read only", &ok(0, 0, &changes)), Hold::Held));
    assert_eq!(talk.resets(), Attachment::Upstream);
    assert_eq!(reset_in(talk.machine.let_go(&talk.mysql)), None);
}

#[test]
fn a_schema_and_variables_are_made_anew_elsewhere() {
    let mut talk = Talk::new(b"here");
    assert_eq!(reset_in(talk.asks("use shop", &ok(0, 0, IN_SHOP))), None);
    let zone = b"\x00\x11\x09time_zone\x06+05:00\x02\x011";
    assert_eq!(reset_in(talk.asks("set time_zone = '+05:00'", &ok(0, 0, zone))), None);
    talk.machine.detach();
    let (_, mut frame) = talk.says(Command::Query, b"select 1");
    talk.lend(false);
    assert_eq!(talk.first(&mut frame), Some((Command::InitDb, "shop".into())));
    assert!(matches!(talk.hears(&ok(0, 0, IN_SHOP)), Hold::Prepared));
    let (command, set) = talk.first(&mut frame).expect("it is not all");
    assert_eq!(command, Command::Query);
    assert!(set.contains("time_zone") && set.contains("'+05:00'"), "{set}");
    assert!(matches!(talk.hears(&ok(0, 0, zone)), Hold::Prepared));
    assert_eq!(talk.first(&mut frame), None);
}

#[test]
fn a_schema_that_there_is_not_is_told_as_the_server_tells_it() {
    let mut talk = Talk::new(b"nowhere");
    let (_, mut frame) = talk.says(Command::Query, b"select 1");
    talk.lend(false);
    assert_eq!(talk.first(&mut frame), Some((Command::InitDb, "nowhere".into())));
    assert!(matches!(talk.hears(&error(1049)), Hold::Prepared));
    let Ready::Answer(Some(answer)) = talk.machine.prepare(&talk.mysql, &mut frame) else {
        panic!("no answer")
    };
    assert_eq!(answer.error().map(|error| error.number), Some(1049));
    let hold = talk.machine.let_go(&talk.mysql);
    assert_eq!(reset_in(hold), Some(Command::ResetConnection));
}

#[test]
fn what_may_be_asked_next_keeps_it_for_a_while() {
    for (text, answer, question) in [
        ("insert into a values ()", ok(7, 0, b""), "select last_insert_id()"),
        ("delete from a", ok(0, 1, b""), "show warnings"),
        ("delete from b", error(1146), "show errors"),
    ] {
        let mut talk = Talk::new(b"");
        assert!(matches!(talk.asks(text, &answer), Hold::Linger), "{text}");
        let (attachment, _) = talk.says(Command::Query, question.as_bytes());
        assert_eq!(attachment, Attachment::Upstream, "{question}");
        talk.machine.on_failed(&talk.mysql);
        // After an error nobody knows what is on it, and warnings would be shown to others.
        let warned = answer[0] == 0xff || answer[5] > 0;
        let reset = if warned { Command::ResetConnection } else { Command::Query };
        assert_eq!(reset_in(talk.machine.let_go(&talk.mysql)), Some(reset), "{text}");
        talk.machine.detach();
        let (attachment, _) = talk.says(Command::Query, question.as_bytes());
        assert_eq!(attachment, Attachment::Answered, "{question}");
        assert_eq!(talk.told(), 1105);
    }
}

#[test]
fn who_asks_for_warnings_may_ask_again() {
    let mut talk = Talk::new(b"");
    assert!(matches!(talk.asks("delete from a", &ok(0, 1, b"")), Hold::Linger));
    for question in ["show warnings", "show count(*) warnings", "show warnings"] {
        let (attachment, mut frame) = talk.says(Command::Query, question.as_bytes());
        assert_eq!((attachment, talk.first(&mut frame)), (Attachment::Upstream, None));
        assert!(matches!(talk.hears_rows(1), Hold::Linger), "{question}");
    }
    // They go with the next statement, and others must not see them even so.
    let hold = talk.asks("delete from a", &ok(0, 0, b""));
    assert_eq!(reset_in(hold), Some(Command::ResetConnection));
    // Where there were none, there is nothing to wait for.
    talk.machine.detach();
    assert_eq!(reset_in(talk.asks("delete from a", &ok(0, 0, b""))), None);
    let (attachment, mut frame) = talk.says(Command::Query, b"show warnings");
    assert_eq!((attachment, talk.first(&mut frame)), (Attachment::Upstream, None));
    assert_eq!(reset_in(talk.hears_rows(0)), None);
}

#[test]
fn transactions_hold() {
    let mut begun = ok(0, 0, b"");
    begun[3] |= 1;
    let mut talk = Talk::new(b"");
    assert!(matches!(talk.asks("begin", &begun), Hold::Held));
    // An error does not say whether it goes on.
    assert!(matches!(talk.asks("delete from b", &error(1205)), Hold::Held));
    let hold = talk.asks("commit", &ok(0, 0, b""));
    assert_eq!(reset_in(hold), Some(Command::ResetConnection));
}

#[test]
fn what_a_client_that_leaves_has_on_its_connection_is_reset() {
    let mut begun = ok(0, 0, b"");
    begun[3] |= 1;
    let reset = Some(Command::ResetConnection);
    for (text, answer, expected) in [
        ("begin", begun, reset),
        ("set @a = 1", ok(0, 0, CHANGED), reset),
        ("delete from a", error(1146), reset),
        // It lingers, and there is nothing on it but the id.
        ("insert into a values ()", ok(7, 0, b""), Some(Command::Query)),
    ] {
        let mut talk = Talk::new(b"");
        talk.asks(text, &answer);
        assert_eq!(reset_in(talk.machine.leave(&talk.mysql)), expected, "{text}");
    }
    for text in ["set role r", "set @a = 1; execute p", "select 1; set resource group g"] {
        let mut talk = Talk::new(b"");
        talk.asks(text, &ok(0, 0, CHANGED));
        assert!(matches!(talk.machine.leave(&talk.mysql), Hold::Close), "{text}");
    }
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

#[test]
fn a_connection_for_sessions_without_a_schema_that_has_one_is_for_nobody() {
    let mut talk = Talk::new(b"");
    let lane = talk.machine.lane();
    assert!(matches!(talk.asks("use shop", &ok(0, 0, IN_SHOP)), Hold::Close));
    assert_ne!(talk.machine.lane(), lane);
}

#[test]
fn a_reset_ends_when_it_is_set_up_again() {
    let mysql = Mysql::default();
    let mut talk = Talk { mysql, machine: Pooled::for_reset() };
    talk.lend(false);
    let what = What::Command(Some(Command::ResetConnection));
    let reset = MysqlFrame::new(what, crate::handshake::reset_connection());
    assert_eq!(talk.machine.on_request(&talk.mysql, &reset), Attachment::Upstream);
    let Hold::Answer(set) = talk.hears(&ok(0, 0, b"")) else { panic!("it is not set up") };
    let (command, text) = command_in(&set);
    assert!(command == Command::Query && text.contains("session_track"), "{text}");
    assert_eq!(reset_in(talk.hears(&ok(0, 0, CHANGED))), None);
    // A server that will not is left.
    let mut talk = Talk { mysql: Mysql::default(), machine: Pooled::for_reset() };
    talk.lend(false);
    talk.machine.on_request(&talk.mysql, &reset);
    assert!(matches!(talk.hears(&error(1047)), Hold::Close));
}

#[test]
fn an_id_that_was_made_is_nobodys_when_others_get_the_connection() {
    for (text, answer) in [
        ("insert into a values ()", ok(7, 0, b"")),
        ("update a set b = last_insert_id(b + 1)", ok(0, 0, b"")),
    ] {
        let mut talk = Talk::new(b"");
        let _ = talk.asks(text, &answer);
        let Hold::Release { reset: Some(forget) } = talk.machine.let_go(&talk.mysql) else {
            panic!("a trigger of the next client's could ask for it: {text}")
        };
        assert_eq!(command_in(&forget), (Command::Query, "SELECT LAST_INSERT_ID(0)".into()));
        let place = talk.machine.detach();
        for refused in [false, true] {
            let mut talk = Talk { mysql: Mysql::default(), machine: Pooled::for_reset() };
            talk.lend(false);
            assert_eq!(talk.machine.on_request(&talk.mysql, &forget), Attachment::Upstream);
            match refused {
                false => assert_eq!(reset_in(talk.hears_rows(1)), None),
                true => assert!(matches!(talk.hears(&error(1105)), Hold::Close)),
            }
        }
        // And that is all: nothing of it is there the next time.
        let mut other = Talk::new(b"");
        other.machine.attach(place);
        assert_eq!(reset_in(other.asks("delete from a", &ok(0, 0, b""))), None);
    }
}

#[test]
fn what_the_server_does_not_say_comes_with_the_last_that_it_says() {
    let mut talk = Talk::with(Capabilities::PROTOCOL_41, State::set_up(b""));
    let (_, mut frame) = talk.says(Command::StmtPrepare, b"select ?");
    talk.lend(true);
    assert_eq!(talk.first(&mut frame), None);
    let mut input = BytesMut::new();
    put_packet(&mut input, 1, &[0, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    put_packet(&mut input, 2, b"\x03def\0\0\0\x01?\0\x0c\x3f\0\0\0\0\0\x06\x80\0\0\0\0");
    let (limits, mysql) = (Limits::default(), &talk.mysql);
    let taken = talk.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input);
    let frame = taken.expect("it is right").expect("it is there");
    assert!(input.is_empty());
    // A client that waits for an EOF behind the parameters is given one.
    let mut eof = BytesMut::new();
    put_packet(&mut eof, 3, &[0xfe, 0, 0, 2, 0]);
    assert!(frame.bytes().ends_with(&eof), "{frame:?}");
    assert_eq!(reset_in(talk.machine.on_reply(mysql, &frame)), None);
}

#[test]
fn what_an_idle_connection_was_told_is_no_answer() {
    let mut talk = Talk::new(b"");
    let (_, mut frame) = talk.says(Command::Query, b"delete from a");
    talk.lend(true);
    assert_eq!(talk.first(&mut frame), None);
    let mut input = BytesMut::new();
    put_packet(&mut input, 0, &error(4031));
    let (limits, mysql) = (Limits::default(), &talk.mysql);
    assert!(talk.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input).is_err());
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
fn spaces_are_ignored_until_a_reset_as_servers_have_it() {
    let mut talk = Talk::with(AGREED, State::set_up(b"").ignoring_spaces(true));
    let (_, mut frame) = talk.says(Command::Query, b"select count (*) from a");
    talk.lend(true);
    let (_, text) = talk.first(&mut frame).expect("it is to be said");
    assert_eq!(text, "SET @@session.sql_mode=CONCAT(@@global.sql_mode,',IGNORE_SPACE')");
    assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Prepared));
    assert_eq!(talk.first(&mut frame), None);
    assert_eq!(reset_in(talk.hears(&ok(0, 0, b""))), None);
    talk.resets();
    assert_eq!(talk.machine.session.state().variable("sql_mode"), None);
    // Whoever is next has it undone.
    let place = talk.machine.detach();
    let mut other = Talk::new(b"");
    let (_, mut frame) = other.says(Command::Query, b"select 1");
    other.machine.attach(place);
    let (_, text) = other.first(&mut frame).expect("it is to be undone");
    assert_eq!(text, "SET @@session.sql_mode=@@global.sql_mode");
}

/// A client that was let in, shown this version, with this collation.
pub(super) fn let_in(version: &str, collation: u16) -> Talk {
    let server = Collations::of(version.as_bytes());
    let user = Identity { collation, ..Identity::default() };
    let state = State::begun(b"", &server.at_login(collation));
    let session = Session::new(Arc::new(user), AGREED, state, server);
    let machine = Pooled::begin(Follows::Client, Lane::default(), session);
    Talk { mysql: Mysql::default(), machine }
}

#[test]
fn a_session_begins_as_the_server_has_it_whatever_clients_are_told() {
    const MARIADB: &[u8] = b"5.5.5-10.11.19-MariaDB";
    // What MySQL 8 alone has, MariaDB takes for nothing: a login by that number, and the default after a reset.
    for (collation, resets) in [(255, false), (255, true), (45, true)] {
        let mut talk = let_in("8.0.33-wiremesh", collation);
        if resets {
            let attachment = talk.resets();
            assert_eq!(attachment, Attachment::Answered);
        }
        let (_, mut frame) = talk.says(Command::Query, b"select 1");
        talk.machine.attach(Place::new(AGREED, MARIADB, 7, true, true));
        let first = talk.first(&mut frame);
        assert!(first.is_none_or(|(_, text)| !text.contains("0900")), "{collation} {resets}");
    }
    // And the other way round.
    let mut talk = let_in("11.4.5-MariaDB", 45);
    talk.resets();
    let (_, mut frame) = talk.says(Command::Query, b"select 1");
    talk.lend(true);
    let (_, text) = talk.first(&mut frame).expect("it is another collation");
    assert!(text.contains("0900"), "{text}");
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
fn warnings_and_errors_are_not_left_to_others() {
    // MariaDB keeps them through whatever uses no table, and so would show them to whoever is next.
    for answer in [ok(0, 1, b""), error(1231)] {
        for text in ["delete from a", "set sql_mode = 'none'"] {
            let mut talk = Talk::new(b"");
            assert!(matches!(talk.asks(text, &answer), Hold::Linger), "{text}");
            let hold = talk.machine.let_go(&talk.mysql);
            assert_eq!(reset_in(hold), Some(Command::ResetConnection), "{text}");
        }
    }
}

#[test]
fn whether_several_statements_are_allowed_goes_with_the_session() {
    let eof = [0xfe, 0, 0, 2, 0];
    let mut talk = Talk::new(b"");
    let (_, mut frame) = talk.says(Command::SetOption, &[0, 0]);
    talk.lend(true);
    assert_eq!(talk.first(&mut frame), None);
    assert_eq!(reset_in(talk.hears(&eof)), None);
    // No reset undoes it: the next client's session has it undone.
    let place = talk.machine.detach();
    let mut other = Talk::new(b"");
    let (_, mut frame) = other.says(Command::Query, b"delete from a");
    other.machine.attach(place);
    assert_eq!(other.first(&mut frame), Some((Command::SetOption, "\u{1}\0".into())));
    assert!(matches!(other.hears(&eof), Hold::Prepared));
    assert_eq!(other.first(&mut frame), None);
    // And the session has it elsewhere.
    for resets in [false, true] {
        if resets {
            talk.resets();
        }
        let (_, mut frame) = talk.says(Command::Query, b"delete from a; delete from b");
        talk.lend(true);
        let first = match talk.first(&mut frame) {
            Some((Command::Query, _)) => {
                assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Prepared));
                talk.first(&mut frame)
            }
            first => first,
        };
        assert_eq!(first, Some((Command::SetOption, "\0\0".into())), "{resets}");
        assert!(matches!(talk.hears(&eof), Hold::Prepared));
        assert_eq!(talk.first(&mut frame), None);
        assert_eq!(reset_in(talk.hears(&ok(0, 0, b""))), None);
        talk.machine.detach();
    }
}

#[test]
fn an_id_of_the_same_text_is_never_a_strangers() {
    let text = b"insert into a values (1); select last_insert_id()";
    let mut talk = Talk::new(b"");
    let (attachment, mut frame) = talk.says(Command::Query, text);
    assert_eq!(attachment, Attachment::Upstream);
    talk.lend(true);
    let (command, first) = talk.first(&mut frame).expect("none is there");
    assert_eq!((command, first.as_str()), (Command::Query, "SELECT LAST_INSERT_ID(0)"));
    assert!(matches!(talk.hears_rows(1), Hold::Prepared));
    assert_eq!(talk.first(&mut frame), None);
    assert!(matches!(talk.hears(&ok(5, 0, b"")), Hold::Linger));
    // The connection knows its own.
    let (_, mut frame) = talk.says(Command::Query, text);
    assert_eq!(talk.first(&mut frame), None);
    // Nothing is known of what was before.
    let mut talk = Talk::new(b"");
    let (attachment, _) =
        talk.says(Command::Query, b"select last_insert_id(); insert into a values (1)");
    assert_eq!((attachment, talk.told()), (Attachment::Answered, 1105));
}

#[test]
fn ids_of_statements_are_new_ones_after_another_login() {
    let mut one = Talk::new(b"");
    let (_, mut frame) = one.says(Command::StmtPrepare, b"select 1");
    one.lend(true);
    assert_eq!(one.first(&mut frame), None);
    assert_eq!(reset_in(one.hears(&[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), None);
    let mut other = Talk::new(b"");
    other.machine.statements.begin_after(&one.machine.statements);
    let mut input = BytesMut::new();
    let (_, mut frame) = other.says(Command::StmtPrepare, b"select 2");
    other.lend(true);
    assert_eq!(other.first(&mut frame), None);
    put_packet(&mut input, 1, &[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (limits, mysql) = (Limits::default(), &other.mysql);
    let taken = other.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input);
    let frame = taken.expect("it is right").expect("it is whole");
    assert_eq!(frame.bytes()[5..9], [2, 0, 0, 0]);
}
