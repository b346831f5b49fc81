use super::*;

/// An OK that tells of the isolation of transactions, and that something has changed.
fn isolation() -> Vec<u8> {
    let told = [&b"\x15transaction_isolation"[..], b"\x0cSERIALIZABLE"].concat();
    let mut block = vec![0, u8::try_from(told.len()).expect("it is short")];
    block.extend(told);
    ok(0, 0, &block)
}

/// Whether the client hears of it when it is told so.
fn hears_of_it(talk: &mut Talk) -> bool {
    let (_, mut frame) = talk.says(Command::Query, b"set transaction_isolation = 'SERIALIZABLE'");
    while talk.first(&mut frame).is_some() {
        assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Prepared));
    }
    let mut input = BytesMut::new();
    put_packet(&mut input, 1, &isolation());
    let limits = Limits::default();
    let taken = talk.machine.take(&talk.mysql, Peer::Upstream, &mut (), &limits, &mut input);
    let frame = taken.expect("it is right").expect("it is whole");
    let heard = frame.bytes().windows(12).any(|part| part == b"SERIALIZABLE");
    assert!(matches!(talk.machine.on_reply(&talk.mysql, &frame), Hold::Release { reset: None }));
    heard
}

#[test]
fn what_is_tracked_is_the_proxys_and_what_is_told_the_clients() {
    const NAMES: &[u8] =
        b"set session_track_system_variables = 'transaction_isolation', autocommit=1";
    let mut talk = Talk::new(b"");
    talk.lend(true);
    assert!(!hears_of_it(&mut talk));
    for answer in [error(1193), ok(0, 0, b"")] {
        let (attachment, mut frame) = talk.says(Command::Query, NAMES);
        assert_eq!(attachment, Attachment::Upstream);
        while talk.first(&mut frame).is_some() {
            assert!(matches!(talk.hears(&ok(0, 0, b"")), Hold::Prepared));
        }
        assert_eq!(command_in(&frame), (Command::Query, "SET autocommit=1".into()));
        let failed = answer[0] == 0xff;
        let hold = talk.hears(&answer);
        assert_eq!(matches!(hold, Hold::Linger), failed);
        assert_eq!(matches!(hold, Hold::Release { reset: None }), !failed);
        assert_eq!(talk.machine.pin(), None);
        if failed {
            assert!(matches!(talk.machine.let_go(&talk.mysql), Hold::Release { .. }));
            assert!(!hears_of_it(&mut talk), "it failed");
        }
    }
    assert!(hears_of_it(&mut talk));
    // On a connection to another server, too.
    talk.machine.detach();
    let agreed = AGREED.without(Capabilities::DEPRECATE_EOF);
    talk.machine.attach(Place::new(agreed, b"8.0.33", 8, true, true));
    assert!(hears_of_it(&mut talk));
    talk.machine.detach();
    talk.resets();
    talk.lend(true);
    assert!(!hears_of_it(&mut talk), "it is as it was when it began");
}
