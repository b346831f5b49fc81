//! What a connection is told before a request, so that it is as the session has it.

use super::*;

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
