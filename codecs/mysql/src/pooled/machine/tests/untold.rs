//! Servers that do not tell what changes in their sessions.

use super::*;

impl Talk {
    /// The client is lent a connection to such a server, for what it has begun to ask.
    fn lend_untold(&mut self) {
        let bare = self.machine.session.state().schema().is_empty();
        self.machine.attach(Place::new(AGREED, b"8.0.33", 7, false, bare));
    }

    /// What it has done, and its schema after a reset; `None`: which is refused.
    fn schema_after(texts: &[(&str, bool)]) -> Option<String> {
        let mut talk = Self::new(b"here");
        for (text, failed) in texts {
            let (command, body) = match text.strip_prefix("COM_INIT_DB ") {
                Some(name) => (Command::InitDb, name),
                None => (Command::Query, *text),
            };
            let (attachment, mut frame) = talk.says(command, body.as_bytes());
            assert_eq!(attachment, Attachment::Upstream, "{text}");
            if talk.machine.lent.place.is_none() {
                talk.lend_untold();
            }
            while talk.first(&mut frame).is_some() {
                assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Prepared), "{text}");
            }
            let answer = if *failed { error(1146) } else { ok(0, 0, b"") };
            assert!(matches!(talk.hears(&answer), Hold::Held), "{text}");
        }
        let (attachment, _) = talk.says(Command::ResetConnection, b"");
        if attachment == Attachment::Answered {
            assert_eq!(talk.told(), 1235);
            return None;
        }
        assert_eq!(attachment, Attachment::Reset);
        talk.machine.answer().expect("an OK");
        assert!(matches!(talk.machine.let_go(&talk.mysql), Hold::Close));
        talk.machine.detach();
        let (_, mut frame) = talk.says(Command::Query, b"select 1");
        talk.lend_untold();
        let mut schema = None;
        while let Some((command, text)) = talk.first(&mut frame) {
            if command == Command::InitDb {
                schema = Some(text);
            }
            talk.hears(&ok(0, 0, b""));
        }
        Some(schema.expect("it is in one"))
    }
}

#[test]
fn the_schema_is_what_the_text_says_where_the_server_does_not() {
    for (texts, schema) in [
        (&[("use shop", false)][..], "shop"),
        (&[("COM_INIT_DB shop", false)], "shop"),
        (&[(" USE `a b` ; ", false)], "a b"),
        (&[("use `sch\u{f6}n`", false)], "sch\u{f6}n"),
        (&[("use shop", true), ("COM_INIT_DB shop", true)], "here"),
        (&[("set names latin1", false), ("use shop", false)], "shop"),
        (&[("use a; use b", false), ("use shop", false)], "shop"),
        (&[("drop schema here", false), ("COM_INIT_DB shop", false)], "shop"),
        (&[("drop table t", false), ("create schema s", false), ("revoke all", false)], "here"),
        (&[("select 'use shop; use other'", false)], "here"),
    ] {
        assert_eq!(Talk::schema_after(texts).as_deref(), Some(schema), "{texts:?}");
    }
}

#[test]
fn a_schema_that_nobody_knows_is_not_taken_along() {
    for texts in [
        &[("use a; use b", false)][..],
        &[("use a; select 1 from nowhere", true)],
        &[("use /* the */ shop", false)],
        &[("/*!50000 use shop */", false)],
        &[("drop database if exists here", false)],
        &[("set names latin1", false), ("use `sch\u{f6}n`", false)],
    ] {
        assert_eq!(Talk::schema_after(texts), None, "{texts:?}");
    }
}

#[test]
fn reads_go_to_the_primary_where_a_replica_would_hold_the_session() {
    let mut talk = Talk::new(b"");
    let (_, mut frame) = talk.says(Command::Query, b"select 1 from t");
    assert_eq!(talk.machine.access(&talk.mysql, &frame), Access::Read);
    talk.lend_untold();
    assert!(matches!(talk.machine.prepare(&talk.mysql, &mut frame), Ready::Elsewhere));
    assert!(matches!(talk.machine.let_go(&talk.mysql), Hold::Close));
    talk.machine.detach();
    talk.lend_untold();
    assert_eq!(talk.first(&mut frame), None);
    assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Held));
    // There it stays.
    let (_, frame) = talk.says(Command::Query, b"select 1 from t");
    assert_eq!(talk.machine.access(&talk.mysql, &frame), Access::Write);
}
