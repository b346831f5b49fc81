//! What may go to a copy, and what is waited for there.

use std::time::Duration;

use wiremesh::correlation::Access;

use super::*;

impl Talk {
    /// What a request needs that is sent with no connection, or with one that lingers.
    fn needs(&mut self, command: Command, body: &[u8]) -> Access {
        let (attachment, frame) = self.says(command, body);
        assert_eq!(attachment, Attachment::Upstream);
        let access = self.machine.access(&self.mysql, &frame);
        self.machine.on_failed(&self.mysql);
        access
    }

    fn query_needs(&mut self, text: &str) -> Access {
        self.needs(Command::Query, text.as_bytes())
    }

    /// A query for which it is lent a connection, so far as it goes without waiting for anything.
    fn begins(&mut self, text: &str, place: Place) -> (MysqlFrame, Ready<Mysql>) {
        let (_, mut frame) = self.says(Command::Query, text.as_bytes());
        self.machine.access(&self.mysql, &frame);
        self.machine.attach(place);
        let ready = self.machine.prepare(&self.mysql, &mut frame);
        (frame, ready)
    }

    /// One that writes, on a connection to the primary, which is let go then.
    fn writes(&mut self, text: &str, answer: &[u8]) {
        let place = fresh();
        let (_, ready) = self.begins(text, place);
        assert!(matches!(ready, Ready::Send), "{text}");
        self.hears(answer);
        self.machine.let_go(&self.mysql);
        self.machine.detach();
    }

    /// The reply to what is waited for.
    pub(super) fn hears_rows(&mut self, rows: u8) -> Hold<Mysql> {
        let mut input = BytesMut::new();
        put_packet(&mut input, 1, b"\x01");
        put_packet(&mut input, 2, b"\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0");
        for n in 0..rows {
            put_packet(&mut input, 3 + n, b"\x011");
        }
        put_packet(&mut input, 3 + rows, &[0xfe, 0, 0, 2, 0, 0, 0]);
        loop {
            let (limits, mysql) = (Limits::default(), &self.mysql);
            let taken = self.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input);
            let frame = taken.expect("it is right").expect("it is there");
            let hold = self.machine.on_reply(mysql, &frame);
            if !matches!(hold, Hold::Pending) {
                assert!(input.is_empty());
                return hold;
            }
        }
    }
}

/// A connection as new, with a state that fits.
fn fresh() -> Place {
    Place::new(AGREED, b"8.0.33", 7, true, true)
}

fn causal() -> Talk {
    let mut talk = Talk::new(b"");
    talk.mysql.causal_reads = Some(Duration::from_millis(1500));
    talk
}

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

/// An OK of a statement that changed a row, by this transaction.
fn wrote(number: u8) -> Vec<u8> {
    let gtid = format!("{UUID}:{number}");
    let len = |more: usize| u8::try_from(gtid.len() + more).expect("it is short");
    let mut changes = vec![3, len(2), 0, len(0)];
    changes.extend(gtid.as_bytes());
    let mut ok = ok(0, 0, &changes);
    ok[1] = 1;
    ok
}

#[test]
fn what_certainly_reads_may_go_to_a_copy() {
    let mut talk = Talk::new(b"");
    for text in [
        "select * from a where id = 1",
        "(select 1) union (select 2)",
        "with a as (select 1) select * from a",
        "values row(1), row(2)",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM a",
        "/* wiremesh: route=replica */ select * from information_schema.tables",
        "show tables /* wiremesh: other=1, Route=REPLICA */",
        "/*wiremesh:route=replica*/select a b c d from e",
        "select 1 /* wiremesh: route=elsewhere */",
    ] {
        assert_eq!(talk.query_needs(text), Access::Read, "{text}");
    }
    for text in [
        "insert into a values (1)",
        "select * from a for update",
        "select * from a lock in share mode",
        "select * from a into outfile 'x'",
        "select /*!50000 1 into outfile 'x' */ from a",
        "select * from a /*! for update */",
        "select @a := 1",
        "select @a",
        "select @@server_id",
        "select f(1)",
        "select s.nextval from dual",
        "select nextval(s)",
        "select next value for s",
        "select get_lock('a', 1)",
        "select last_insert_id(1)",
        "select 1; select 2",
        "with a as (select 1) delete from b",
        "select * from information_schema.tables",
        "select a b c d from e",
        "show tables",
        "begin",
        "use shop",
        "set time_zone = '+00:00'",
        "/* wiremesh: route=primary */ select 1",
        "/* wiremesh: route=replica */ insert into a values (1)",
        "/* wiremesh: route=replica */ select * from a for update",
        "/* wiremesh: route=replica */ select f(1)",
        "/* wiremesh: route=replica */ select @a",
        "/* wiremesh: route=replica */ with a as (select 1) delete from b",
        "/* wiremesh: route=replica */ select 1; delete from b",
        "/* wiremesh: route=replica */ call p()",
    ] {
        assert_eq!(talk.query_needs(text), Access::Write, "{text}");
    }
    assert_eq!(talk.needs(Command::Ping, b""), Access::Write);
    assert_eq!(talk.needs(Command::FieldList, b"a\0"), Access::Write);
    // By how it is read: a name in quotes, and a backslash in a character.
    let ansi = b"\x00\x15\x08sql_mode\x0bANSI_QUOTES\x02\x011";
    talk.writes("set sql_mode = 'ANSI_QUOTES'", &ok(0, 0, ansi));
    assert_eq!(talk.query_needs("select \"a\" from b"), Access::Read);
    assert_eq!(talk.query_needs("select \"f\"(1) from b"), Access::Write);
}

#[test]
fn executions_need_what_their_statements_need() {
    let mut talk = Talk::new(b"");
    for (text, flags, access) in [
        ("select * from a", 0, Access::Read),
        ("select * from a", 1, Access::Write),
        ("select * from a for update", 0, Access::Write),
        ("/* wiremesh: route=primary */ select * from a", 0, Access::Write),
        ("delete from a", 0, Access::Write),
    ] {
        let (_, mut frame) = talk.says(Command::StmtPrepare, text.as_bytes());
        assert_eq!(talk.machine.access(&talk.mysql, &frame), Access::Write);
        talk.lend(true);
        assert_eq!(talk.first(&mut frame), None);
        talk.hears(&[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        talk.machine.detach();
        let id = talk.machine.prepared.keys().max().expect("there is one").to_le_bytes();
        let execution = [&id[..], &[flags, 1, 0, 0, 0]].concat();
        for _ in 0..2 {
            assert_eq!(talk.needs(Command::StmtExecute, &execution), access, "{text}");
        }
        let (attachment, _) = talk.says(Command::StmtClose, &id);
        assert_eq!(attachment, Attachment::Answered);
    }
}

#[test]
fn with_something_on_a_connection_or_without_autocommit_nothing_is_a_read() {
    let mut begun = ok(0, 0, b"");
    begun[3] |= 1;
    let mut off = ok(0, 0, b"");
    off[3] &= !2;
    for (text, answer) in [
        ("begin", begun),
        ("set autocommit = 0", off),
        ("set @a = 1", ok(0, 0, CHANGED)),
        ("set transaction read only", ok(0, 0, b"")),
    ] {
        let mut talk = Talk::new(b"");
        talk.asks(text, &answer);
        assert_eq!(talk.query_needs("select 1"), Access::Write, "{text}");
        let replica = "/* wiremesh: route=replica */ select 1";
        assert_eq!(talk.query_needs(replica), Access::Write, "{text}");
    }
}

#[test]
fn what_is_asked_about_the_past_stays_where_it_is_known() {
    let mut talk = Talk::new(b"");
    let (_, ready) = talk.begins("select * from a", fresh());
    assert!(matches!(ready, Ready::Send));
    assert!(matches!(talk.hears(&ok(0, 1, b"")), Hold::Linger));
    for text in ["show warnings", "select row_count()", "show count(*) warnings"] {
        assert_eq!(talk.query_needs(text), Access::Read, "{text}");
    }
    // What writes does not stay on a copy for that.
    for text in ["insert into a select row_count()", "get diagnostics @a = number"] {
        assert_eq!(talk.query_needs(text), Access::Write, "{text}");
    }
    talk.machine.let_go(&talk.mysql);
    talk.machine.detach();
    let (attachment, _) = talk.says(Command::Query, b"show warnings");
    assert_eq!((attachment, talk.told()), (Attachment::Answered, 1105));
}

#[test]
fn what_writes_is_not_done_where_only_reads_are() {
    let mut talk = Talk::new(b"");
    let (_, ready) = talk.begins("select * from v", fresh());
    assert!(matches!(ready, Ready::Send));
    // A function in a view has changed something.
    assert!(matches!(talk.hears(&ok(0, 0, CHANGED)), Hold::Held));
    for (text, is_sent) in [("select @a", false), ("delete from a", false), ("select 1", true)] {
        let (_, mut frame) = talk.says(Command::Query, text.as_bytes());
        let ready = talk.machine.prepare(&talk.mysql, &mut frame);
        assert_eq!(matches!(ready, Ready::Send), is_sent, "{text}");
        assert_eq!(matches!(ready, Ready::Elsewhere), !is_sent, "{text}");
        if is_sent {
            talk.hears(&ok(0, 0, b""));
        }
    }
}

#[test]
fn a_copy_is_read_from_when_it_has_what_was_written() {
    let mut talk = causal();
    // With nothing written there is nothing to wait for.
    let (_, ready) = talk.begins("select * from a", fresh());
    assert!(matches!(ready, Ready::Send));
    talk.hears(&ok(0, 0, b""));
    talk.machine.detach();
    talk.writes("insert into a values (1)", &wrote(5));
    talk.writes("insert into a values (2)", &wrote(9));
    let (mut frame, ready) = talk.begins("select * from a", fresh());
    let Ready::First(wait) = ready else { panic!("nothing is waited for") };
    let text =
        format!("SELECT 1 FROM DUAL WHERE WAIT_FOR_EXECUTED_GTID_SET('{UUID}:5-9',1.5)=0 LIMIT 1");
    assert_eq!(command_in(&wait), (Command::Query, text));
    assert!(matches!(talk.hears_rows(1), Hold::Prepared));
    assert_eq!(talk.first(&mut frame), None);
    assert_eq!(reset_in(talk.hears(&ok(0, 0, b""))), None);
    // The connection has it, whoever comes next.
    let place = talk.machine.detach();
    let (_, ready) = talk.begins("select * from b", place);
    assert!(matches!(ready, Ready::Send));
    talk.hears(&ok(0, 0, b""));
    let place = talk.machine.detach();
    talk.writes("insert into a values (3)", &wrote(10));
    let (_, ready) = talk.begins("select * from b", place);
    assert!(matches!(ready, Ready::First(_)));
}

#[test]
fn where_a_copy_is_late_the_primary_is_read_from() {
    for refused in [true, false] {
        let mut talk = causal();
        talk.writes("insert into a values (1)", &wrote(5));
        let (mut frame, ready) = talk.begins("select * from a", fresh());
        assert!(matches!(ready, Ready::First(_)));
        let hold = if refused { talk.hears(&error(1777)) } else { talk.hears_rows(0) };
        assert!(matches!(hold, Hold::Prepared));
        let ready = talk.machine.prepare(&talk.mysql, &mut frame);
        assert!(matches!(ready, Ready::Elsewhere));
        assert_eq!(reset_in(talk.machine.let_go(&talk.mysql)), None);
        talk.machine.detach();
        talk.lend(true);
        assert_eq!(talk.first(&mut frame), None);
        talk.hears(&ok(0, 0, b""));
    }
}

#[test]
fn what_servers_tell_no_number_of_is_read_from_the_primary() {
    let mut talk = causal();
    let mut changed = ok(0, 0, b"");
    changed[1] = 1;
    talk.writes("insert into a values (1)", &changed);
    assert_eq!(talk.query_needs("select 1"), Access::Write);
    // It was within a transaction; or rolled back.
    talk.writes("commit", &wrote(1));
    assert_eq!(talk.query_needs("select 1"), Access::Read);
    talk.writes("insert into a values (1)", &changed);
    assert_eq!(talk.query_needs("select 1"), Access::Read);
    // Which of these was carried out is not told.
    talk.writes("insert into a values (1); delete from nowhere", &error(1146));
    assert_eq!(talk.query_needs("select 1"), Access::Write);
}

#[test]
fn mariadb_tells_it_as_a_variable() {
    for (name, version) in [("last_gtid", "5.5.5-10.11.6-MariaDB"), ("timestamp", "11.4.5-MariaDB")]
    {
        let mut talk = causal();
        let place = || Place::new(AGREED, version.as_bytes(), 7, true, true);
        let (_, ready) = talk.begins("insert into a values (1)", place());
        assert!(matches!(ready, Ready::Send));
        let len = u8::try_from(name.len()).expect("it is short");
        let told = [&[0, len + 8, len], name.as_bytes(), b"\x060-1-17"].concat();
        assert_eq!(reset_in(talk.hears(&ok(0, 0, &told))), None);
        talk.machine.detach();
        let (_, ready) = talk.begins("select * from a", place());
        let Ready::First(wait) = ready else { panic!("nothing is waited for") };
        let (_, text) = command_in(&wait);
        assert!(
            text.contains("IN ('0','OFF'),0,MASTER_GTID_WAIT('0-1-17',1.5))=0 LIMIT 1"),
            "{text}"
        );
    }
}
