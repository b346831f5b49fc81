//! Query attributes, on connections of both kinds.

use super::*;
use crate::wire::put_lenenc_bytes;

const NAMED: Capabilities = Capabilities(AGREED.0 | Capabilities::QUERY_ATTRIBUTES.0);

impl Talk {
    /// The client knows query attributes.
    fn named() -> Self {
        Self::with(NAMED, State::set_up(b""))
    }

    fn lend_with(&mut self, agreed: Capabilities) {
        self.machine.attach(Place::new(agreed, b"8.0.33", 7, true, false));
    }

    /// What of a request goes to the server.
    fn sent(&mut self, request: &MysqlFrame) -> Vec<u8> {
        let mut request = request.clone();
        let ready = self.machine.prepare(&self.mysql, &mut request);
        assert!(matches!(ready, Ready::Send), "it is not sent");
        request.bytes()[4..].to_vec()
    }

    /// Takes what the client sends, whatever of it is taken at once.
    fn takes(&mut self, input: &mut BytesMut) -> MysqlFrame {
        let (limits, mysql) = (Limits::default(), &self.mysql);
        let taken = self.machine.take(mysql, Peer::Client, &mut (), &limits, input);
        taken.expect("it is right").expect("there is enough of it")
    }
}

/// One attribute, a string, before a statement.
fn with(name: &str, value: &[u8], text: &[u8]) -> Vec<u8> {
    let mut body = BytesMut::from(&b"\x01\x01\0\x01\xfe\0"[..]);
    put_lenenc_bytes(&mut body, name.as_bytes());
    put_lenenc_bytes(&mut body, value);
    body.extend_from_slice(text);
    body.to_vec()
}

/// An execution of statement 1, of one parameter, an integer, with an attribute.
fn execution(name: &str, value: &str) -> Vec<u8> {
    let mut body = BytesMut::from(&b"\x01\0\0\0\x08\x01\0\0\0\x02\0\x01\x01\0\0\xfe\0"[..]);
    put_lenenc_bytes(&mut body, name.as_bytes());
    body.extend_from_slice(b"\x05");
    put_lenenc_bytes(&mut body, value.as_bytes());
    body.to_vec()
}

#[test]
fn they_reach_servers_that_know_them_and_no_others() {
    for (body, plain) in [
        (with("who", b"wm", b"select 1"), "             select 1"),
        (b"\0\x01select 1".to_vec(), "  select 1"),
    ] {
        let asked = [b"\x03", &body[..]].concat();
        let mut talk = Talk::named();
        let (attachment, frame) = talk.says(Command::Query, &body);
        assert_eq!(attachment, Attachment::Upstream);
        assert_eq!(frame.text(), b"select 1");
        talk.lend_with(NAMED);
        assert_eq!(talk.sent(&frame), asked);
        talk.hears(&ok(0, 0, b""));
        talk.machine.detach();
        let (_, frame) = talk.says(Command::Query, &body);
        talk.lend_with(AGREED);
        assert_eq!(talk.sent(&frame), [b"\x03", plain.as_bytes()].concat());
        // Another attempt, elsewhere, is made of what the client has sent.
        talk.machine.on_failed(&talk.mysql);
        talk.machine.detach();
        talk.machine.on_request(&talk.mysql, &frame);
        talk.lend_with(NAMED);
        assert_eq!(talk.sent(&frame), asked);
    }
}

#[test]
fn connections_with_them_are_for_clients_with_them() {
    assert_ne!(Lane::new(0, NAMED), Lane::new(0, AGREED));
    assert!(Lane::new(0, NAMED).capabilities().has(Capabilities::QUERY_ATTRIBUTES));
    assert!(!Lane::new(0, AGREED).capabilities().has(Capabilities::QUERY_ATTRIBUTES));
}

#[test]
fn what_the_proxy_asks_itself_has_none() {
    for (agreed, before) in [(NAMED, "\0\x01"), (AGREED, "")] {
        let query = |frame: &MysqlFrame| {
            let (command, text) = command_in(frame);
            assert_eq!(command, Command::Query);
            text.strip_prefix(before).expect("it is laid out so").to_owned()
        };
        let mut talk = Talk::named();
        let (_, mut frame) =
            talk.says(Command::Query, b"\0\x01insert into a values (); select last_insert_id()");
        talk.lend_with(agreed);
        talk.machine.lent.place.as_mut().expect("it has one").state =
            State::begun(b"", &Collations::Mysql8.get(255).expect("it is known"));
        let mut first = Vec::new();
        while let Ready::First(frame) = talk.machine.prepare(&talk.mysql, &mut frame) {
            first.push(query(&frame));
            talk.hears(&ok(0, 0, b""));
        }
        assert!(first[0].starts_with("SET "), "{first:?}");
        assert_eq!(first[1..], ["SELECT LAST_INSERT_ID(0)"]);

        let place = Place::new(agreed, b"8.0.33", 9, true, false);
        let cancel = wiremesh::correlation::Cancel {
            number: 1,
            extent: wiremesh::correlation::Extent::Request,
            gently: false,
        };
        assert_eq!(query(&place.kill(8, &cancel).expect("it is later")), "KILL QUERY 8");

        let mut talk = Talk { mysql: Mysql::default(), machine: Pooled::for_reset() };
        talk.lend_with(agreed);
        let what = What::Command(Some(Command::ResetConnection));
        let reset = MysqlFrame::new(what, crate::handshake::reset_connection());
        talk.machine.on_request(&talk.mysql, &reset);
        let Hold::Answer(set) = talk.hears(&ok(0, 0, b"")) else { panic!("it is not set up") };
        assert!(query(&set).starts_with("SET "));
    }
}

#[test]
fn statements_behind_them_are_understood() {
    let mut talk = Talk::named();
    let (attachment, _) = talk.says(Command::Query, &with("a", b"1", b"kill 30"));
    assert!(matches!(attachment, Attachment::Cancel(Cancel { number: 30, .. })), "{attachment:?}");
    talk.machine.on_failed(&talk.mysql);
    let (attachment, _) = talk.says(Command::Query, &with("a", b"1", b"show warnings"));
    assert_eq!((attachment, talk.told()), (Attachment::Answered, 1105));
    let (_, frame) = talk.says(Command::Query, &with("a", b"1", b"set @b = 1"));
    talk.lend_with(NAMED);
    talk.sent(&frame);
    assert!(matches!(talk.hears(&ok(0, 0, CHANGED)), Hold::Held));
    assert!(talk.machine.pin().is_some());
}

#[test]
fn what_is_not_laid_out_so_is_refused_and_the_session_goes_on() {
    let mut talk = Talk::named();
    for wrong in [&b""[..], b"\0", b"select 1", b"\x01\x01\0\0\xfe\0\x01a\x01bselect 1"] {
        let (attachment, _) = talk.says(Command::Query, wrong);
        assert_eq!((attachment, talk.told()), (Attachment::Answered, 1835), "{wrong:?}");
    }
    let (attachment, _) = talk.says(Command::Query, b"\0\x01select 1");
    assert_eq!(attachment, Attachment::Upstream);
}

#[test]
fn long_ones_come_in_pieces() {
    // A long value before the statement, a statement that is longer than is waited for, and more than a packet takes.
    for (value, text) in [(100_000, 10), (100_000, 3 << 20), (1000, 0xff_ffff)] {
        let body = with("a", &vec![b'v'; value], &vec![b'x'; text]);
        let mut talk = Talk::named();
        let mut rest = command_of(Command::Query, &body);
        let all = rest.clone();
        let mut input = rest.split_to(rest.len().min((1 << 20) + 7));
        let frame = talk.takes(&mut input);
        input.unsplit(rest);
        assert_eq!(talk.machine.on_request(&talk.mysql, &frame), Attachment::Upstream);
        assert!(frame.text().starts_with(b"xxxxxxxxxx"));
        talk.lend_with(AGREED);
        let mut frame = frame;
        // Of a long statement only the beginning was seen.
        while let Ready::First(first) = talk.machine.prepare(&talk.mysql, &mut frame) {
            assert_eq!(command_in(&first), (Command::Query, "SELECT LAST_INSERT_ID(0)".into()));
            talk.hears(&ok(0, 0, b""));
        }
        let mut sent = frame.bytes().to_vec();
        while !input.is_empty() {
            let rest = talk.takes(&mut input);
            assert_eq!(talk.machine.on_request(&talk.mysql, &rest), Attachment::Continue);
            sent.extend_from_slice(rest.bytes());
        }
        assert_eq!(sent.len(), all.len());
        let start = 5 + body.len() - text;
        assert!(sent[5..start].iter().all(|byte| *byte == b' '), "{value} {text}");
        assert!(sent[..5] == all[..5] && sent[start..] == all[start..], "{value} {text}");
    }
}

#[test]
fn more_of_them_than_are_waited_for_are_refused() {
    let mut talk = Talk::named();
    let mut rest = command_of(Command::Query, &with("a", &vec![b'v'; 3 << 20], b"select 1"));
    let mut input = rest.split_to(2 << 20);
    let frame = talk.takes(&mut input);
    assert_eq!(talk.machine.on_request(&talk.mysql, &frame), Attachment::Answered);
    assert_eq!(talk.told(), 1235);
    // The rest belongs to it.
    assert!(SessionMachine::<Mysql>::is_open(&talk.machine));
    let last = talk.takes(&mut rest);
    assert_eq!(talk.machine.on_request(&talk.mysql, &last), Attachment::Continue);
    assert!(!SessionMachine::<Mysql>::is_open(&talk.machine));
    let (attachment, _) = talk.says(Command::Query, b"\0\x01select 1");
    assert_eq!(attachment, Attachment::Upstream);
}

#[test]
fn they_say_where_a_request_goes() {
    let access = |body: &[u8]| {
        let mut talk = Talk::named();
        let (_, frame) = talk.says(Command::Query, body);
        talk.machine.access(&talk.mysql, &frame)
    };
    let read = b"select a from b";
    assert_eq!(access(&[b"\0\x01", &read[..]].concat()), Access::Read);
    assert_eq!(access(&with("route", b"primary", read)), Access::Write);
    assert_eq!(access(&with("Route", b"PRIMARY", read)), Access::Write);
    assert_eq!(access(&with("route", b"archive", read)), Access::Read);
    // What the parser does not know, and a comment that says otherwise.
    let unknown = b"select a from b natural whatever";
    assert_eq!(access(&with("a", b"b", unknown)), Access::Write);
    assert_eq!(access(&with("route", b"replica", unknown)), Access::Read);
    let hinted = b"/* wiremesh: route=primary */ select a from b natural whatever";
    assert_eq!(access(&with("route", b"replica", hinted)), Access::Read);
    let hinted = b"/* wiremesh: route=replica */ select a from b";
    assert_eq!(access(&with("route", b"primary", hinted)), Access::Write);
    // It does not make a read of what is none.
    assert_eq!(access(&with("route", b"replica", b"delete from b")), Access::Write);
}

#[test]
fn executions_have_their_own() {
    let mut talk = Talk::named();
    let (_, frame) = talk.says(Command::StmtPrepare, b"select a from b where c = ?");
    talk.lend_with(AGREED);
    talk.sent(&frame);
    let mut input = BytesMut::new();
    put_packet(&mut input, 1, &[0, 70, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    put_packet(&mut input, 2, b"\x03def\0\0\0\x01?\0\x0c\x3f\0\0\0\0\0\x06\x80\0\0\0\0");
    let (limits, mysql) = (Limits::default(), &talk.mysql);
    let taken = talk.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input);
    let reply = taken.expect("it is right").expect("it is whole");
    assert!(matches!(talk.machine.on_reply(mysql, &reply), Hold::Release { .. }));
    let place = talk.machine.detach();

    for (value, access) in
        [("replica", Access::Read), ("primary", Access::Write), ("x", Access::Read)]
    {
        let (_, frame) = talk.says(Command::StmtExecute, &execution("route", value));
        assert_eq!(wiremesh::HeaderView::header(&frame, "route").as_deref(), Some(value));
        assert_eq!(talk.machine.access(&talk.mysql, &frame), access, "{value}");
        talk.machine.on_failed(&talk.mysql);
    }
    let none = b"\x01\0\0\0\x08\x01\0\0\0\x01\0\x01\x01\0\0\x05";
    let (_, frame) = talk.says(Command::StmtExecute, none);
    assert_eq!(talk.machine.access(&talk.mysql, &frame), Access::Read);
    talk.machine.on_failed(&talk.mysql);
    // A server that knows none is told of the parameter alone.
    let (_, frame) = talk.says(Command::StmtExecute, &execution("a", "b"));
    talk.machine.attach(place);
    assert_eq!(talk.sent(&frame), b"\x17\x46\0\0\0\0\x01\0\0\0\0\x01\x01\0\x05");
}

#[test]
fn who_has_none_costs_nothing() {
    for (agreed, body) in [(AGREED, &b"select 1"[..]), (NAMED, b"\0\x01select 1")] {
        let mut talk = Talk::with(agreed, State::set_up(b""));
        let (_, mut frame) = talk.says(Command::Query, body);
        talk.lend_with(agreed);
        let bytes = frame.bytes().as_ptr();
        let allocated = allocation_counter::measure(|| {
            assert!(matches!(talk.machine.prepare(&talk.mysql, &mut frame), Ready::Send));
            assert_eq!(frame.attributes().count(), 0);
        });
        assert_eq!((allocated.count_total, frame.bytes().as_ptr()), (0, bytes));
    }
}
