use super::*;

/// An OK that says that a transaction is open.
const IN_TRANSACTION: [u8; 7] = [0, 0, 0, 3, 0, 0, 0];

#[test]
fn what_a_transaction_has_come_to_is_the_servers_to_say() {
    let mut talk = Talk::new(b"");
    let (_, mut frame) = talk.says(Command::StmtPrepare, b"select 1");
    talk.lend(true);
    assert_eq!(talk.first(&mut frame), None);
    assert_eq!(reset_in(talk.hears(&[0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), None);
    // With no transaction nobody needs to be asked.
    let (attachment, _) = talk.says(Command::StmtReset, &[1, 0, 0, 0]);
    assert_eq!(attachment, Attachment::Answered);
    assert_eq!(talk.machine.answer().expect("an OK").bytes()[7..9], [2, 0]);

    assert!(matches!(talk.asks("begin", &IN_TRANSACTION), Hold::Held));
    // It ends the transaction, and then fails.
    assert!(matches!(talk.asks("drop table nowhere", &error(1051)), Hold::Held));
    let (attachment, mut frame) = talk.says(Command::StmtReset, &[1, 0, 0, 0]);
    assert_eq!(attachment, Attachment::Upstream);
    assert_eq!(talk.first(&mut frame), None);
    assert_eq!(command_in(&frame), (Command::Ping, String::new()));
    let hold = talk.hears(&ok(0, 0, b""));
    assert!(!matches!(hold, Hold::Held | Hold::Close | Hold::Pending));
    let (attachment, _) = talk.says(Command::StmtReset, &[9, 0, 0, 0]);
    assert_eq!((attachment, talk.told()), (Attachment::Answered, 1243));
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
