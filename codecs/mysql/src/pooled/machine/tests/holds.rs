//! What holds a connection, and how it gets on to others.

use super::*;

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
fn a_connection_for_sessions_without_a_schema_that_has_one_is_for_nobody() {
    let mut talk = Talk::new(b"");
    let lane = talk.machine.lane();
    assert!(matches!(talk.asks("use shop", &ok(0, 0, IN_SHOP)), Hold::Close));
    assert_ne!(talk.machine.lane(), lane);
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
