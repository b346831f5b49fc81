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
