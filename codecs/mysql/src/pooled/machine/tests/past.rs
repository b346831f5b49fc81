//! What of a connection's past is the session's own.

use super::*;

/// An OK that says that a transaction is open.
const IN_TRANSACTION: [u8; 7] = [0, 0, 0, 3, 0, 0, 0];

const FOUND: &str = "select found_rows()";
const CHANGED_ROWS: &str = "select row_count()";

impl Talk {
    /// In a transaction, of which the connection was told by a command that is no statement, so that it knows nothing of the
    /// session yet.
    fn held() -> Self {
        let mut talk = Self::new(b"");
        let (attachment, mut frame) = talk.says(Command::Statistics, b"");
        assert_eq!(attachment, Attachment::Upstream);
        talk.lend(true);
        assert_eq!(talk.first(&mut frame), None);
        talk.machine.session.pin_for("the test");
        assert!(matches!(talk.hears(b"Uptime: 1"), Hold::Held));
        talk
    }

    /// Whether this is a question that the server may be asked.
    fn may_ask(&mut self, question: &str) -> bool {
        let (attachment, _) = self.says(Command::Query, question.as_bytes());
        match attachment {
            Attachment::Upstream => {
                self.machine.on_failed(&self.mysql);
                true
            }
            _ => {
                assert_eq!(self.told(), 1105, "{question}");
                false
            }
        }
    }

    /// A statement that is answered by so many rows.
    fn asks_rows(&mut self, text: &str, rows: u8) {
        let (attachment, mut frame) = self.says(Command::Query, text.as_bytes());
        assert_eq!(attachment, Attachment::Upstream, "{text}");
        while self.first(&mut frame).is_some() {
            self.hears(&ok(0, 0, b""));
        }
        self.hears_rows(rows);
    }
}

#[test]
fn what_leaves_the_counters_leaves_a_strangers() {
    let mut talk = Talk::held();
    assert!(!talk.may_ask(FOUND) && !talk.may_ask(CHANGED_ROWS), "COM_STATISTICS sets neither");
    for text in ["show grants", "show create table a", "values row(1)", "checksum table a"] {
        let mut talk = Talk::held();
        talk.asks_rows(text, 3);
        assert!(talk.may_ask(CHANGED_ROWS) && !talk.may_ask(FOUND), "{text}");
    }
    for text in ["begin", "update a set b = 1", "do 1", "/*!99999 select 1 */"] {
        let mut talk = Talk::held();
        talk.asks(text, &IN_TRANSACTION);
        assert!(!talk.may_ask(FOUND), "{text}");
    }
    for text in ["get diagnostics @a = number", "explain for connection 5", "/*!99999 do 1 */"] {
        let mut talk = Talk::held();
        talk.asks(text, &IN_TRANSACTION);
        assert!(!talk.may_ask(CHANGED_ROWS), "{text}");
    }
}

#[test]
fn what_sets_the_counters_makes_them_the_sessions_own() {
    for (text, rows) in [("select a from b", 2), ("select a from b where 0", 0)] {
        let mut talk = Talk::held();
        talk.asks_rows(text, rows);
        assert!(talk.may_ask(FOUND), "{text}");
        let mut talk = Talk::held();
        talk.asks_rows(text, rows);
        // It goes on being its own whatever leaves it.
        talk.asks_rows("show grants", 1);
        assert!(talk.may_ask(FOUND), "{text}");
    }
    let mut talk = Talk::held();
    talk.asks("select a into @a from b", &IN_TRANSACTION);
    assert!(talk.may_ask(FOUND) && talk.may_ask(CHANGED_ROWS));
    // An error is the session's last statement, and has found nothing.
    let mut talk = Talk::held();
    talk.asks("select a from b", &error(1146));
    assert!(talk.may_ask(CHANGED_ROWS) && !talk.may_ask(FOUND));
    let mut talk = Talk::held();
    // Which of them has failed nobody knows.
    talk.asks("show explain for 5; delete from a", &error(1094));
    assert!(!talk.may_ask(CHANGED_ROWS));
}

#[test]
fn commands_set_no_more_than_how_many_rows_were_changed() {
    let ok = ok(0, 0, b"");
    let eof = [0xfe, 0, 0, 2, 0];
    for (command, body, answer, row_count) in [
        (Command::Ping, &b""[..], &ok[..], true),
        (Command::Statistics, b"", b"Uptime: 1", false),
        (Command::InitDb, b"shop", &ok, true),
        (Command::SetOption, b"\0\0", &eof, true),
        (Command::Debug, b"", &eof, true),
        (Command::Refresh, b"\x01", &ok, true),
        (Command::FieldList, b"a\0", &eof, true),
        (Command::StmtPrepare, b"select 1", &[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false),
    ] {
        let mut talk = Talk::held();
        let (attachment, mut frame) = talk.says(command, body);
        assert_eq!(attachment, Attachment::Upstream, "{command:?}");
        assert_eq!(talk.first(&mut frame), None);
        talk.hears(answer);
        // A refusal would be what has changed none.
        assert_eq!(talk.may_ask(CHANGED_ROWS), row_count, "{command:?}");
        assert!(!talk.may_ask(FOUND), "{command:?}");
    }
}

#[test]
fn what_is_asked_where_nobody_sees_it_is_nobodys() {
    let text = "select 1 from dual";
    for hides in ["call p()", "select mine()", "execute p", "prepare p from 'select found_rows()'"]
    {
        let mut talk = Talk::new(b"");
        let (_, mut frame) = talk.says(Command::Query, hides.as_bytes());
        talk.lend(true);
        let first = talk.first(&mut frame).expect("it may ask for a stranger's id");
        assert_eq!(first, (Command::Query, "SELECT LAST_INSERT_ID(0)".into()), "{hides}");
        assert!(matches!(talk.hears_rows(1), Hold::Prepared));
        assert_eq!(talk.first(&mut frame), None);
        assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Held));
        // From here on what is there is the session's.
        let (_, mut frame) = talk.says(Command::Query, hides.as_bytes());
        assert_eq!(talk.first(&mut frame), None, "{hides}");
        talk.hears(&ok(0, 0, b""));
        assert!(!talk.may_ask("select last_insert_id()"), "{hides}");
        let mut talk = Talk::new(b"");
        talk.asks(hides, &ok(0, 0, b""));
        assert!(talk.may_ask(CHANGED_ROWS), "{hides}");
    }
    // An id of its own is not to be lost.
    let mut talk = Talk::new(b"");
    assert!(matches!(talk.asks("insert into a values ()", &ok(7, 0, b"")), Hold::Linger));
    let (_, mut frame) = talk.says(Command::Query, b"call p()");
    assert_eq!(talk.first(&mut frame), Some((Command::Query, "SELECT 1".into())));
    assert!(matches!(talk.hears_rows(1), Hold::Prepared));
    assert_eq!(talk.first(&mut frame), None);
    talk.hears(&ok(0, 0, b""));
    assert!(talk.may_ask("select last_insert_id()"));
    // What is asked for in sight is known, or refused.
    let mut talk = Talk::new(b"");
    let (attachment, _) = talk.says(Command::Query, b"call p(row_count())");
    assert_eq!((attachment, talk.told()), (Attachment::Answered, 1105));
    talk.asks("delete from a", &IN_TRANSACTION);
    let (_, mut frame) = talk.says(Command::Query, b"call p(row_count())");
    assert_eq!(talk.first(&mut frame), None);
    talk.hears(&ok(0, 0, b""));
    // Nothing is done about what nobody hides.
    let mut talk = Talk::new(b"");
    let (_, mut frame) = talk.says(Command::Query, text.as_bytes());
    talk.lend(true);
    assert_eq!(talk.first(&mut frame), None);
}
