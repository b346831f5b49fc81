//! By which numbers replies begin.

use super::*;

#[test]
fn a_reply_begins_behind_its_request() {
    let takes = |talk: &mut Talk, seq| {
        let mut input = BytesMut::new();
        put_packet(&mut input, seq, &ok(0, 0, b""));
        let (limits, mysql) = (Limits::default(), &talk.mysql);
        talk.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input).is_ok()
    };
    for (seq, right) in [(1, true), (2, false), (255, false)] {
        let mut talk = Talk::new(b"");
        let (_, mut frame) = talk.says(Command::Query, b"delete from a");
        talk.lend(true);
        assert_eq!(talk.first(&mut frame), None);
        assert_eq!(takes(&mut talk, seq), right, "{seq}");
        // So do those to what the proxy says first.
        let mut talk = Talk::new(b"shop");
        let (_, mut frame) = talk.says(Command::Query, b"delete from a");
        talk.lend(false);
        assert!(talk.first(&mut frame).is_some());
        assert_eq!(takes(&mut talk, seq), right, "{seq}");
    }
}

/// A packet's number, and whether the reply may begin with it.
type Begins = (u8, bool);

#[test]
fn a_reply_to_several_packets_begins_behind_the_last() {
    let limits = Limits { max_frame: 1 << 25, ..Limits::default() };
    let text = [b"\x03delete from a where b = '", &vec![b'x'; 0xff_ffff][..], b"'"].concat();
    let begins = |parts: usize, body: &[u8], (seq, right): Begins| {
        let mut talk = Talk::new(b"");
        let mut input = BytesMut::new();
        put_packet(&mut input, 0, &text);
        let take = |talk: &mut Talk, input: &mut BytesMut, from| {
            talk.machine.take(&talk.mysql, from, &mut (), &limits, input)
        };
        let first = take(&mut talk, &mut input, Peer::Client);
        let mut first = first.expect("it is right").expect("there is more");
        assert_eq!(talk.machine.on_request(&talk.mysql, &first), Attachment::Upstream);
        talk.lend(true);
        while talk.first(&mut first).is_some() {
            talk.hears(&ok(0, 0, b""));
        }
        // The rest is sent when the beginning was.
        if parts == 2 {
            while !input.is_empty() {
                let rest = take(&mut talk, &mut input, Peer::Client);
                assert!(rest.expect("it is right").is_some());
            }
        }
        let mut said = BytesMut::new();
        put_packet(&mut said, seq, body);
        assert_eq!(take(&mut talk, &mut said, Peer::Upstream).is_ok(), right, "{parts} {seq}");
    };
    for of in [(0, false), (1, false), (2, true), (3, false), (255, false)] {
        begins(2, &ok(0, 0, b""), of);
    }
    // An error may be about a part, and was perhaps said before the rest was there.
    for of in [(0, false), (1, true), (2, true)] {
        begins(2, &error(1153), of);
        begins(1, &error(1153), of);
    }
    for of in [(0, false), (1, false), (2, false)] {
        begins(1, &ok(0, 0, b""), of);
    }
}

#[test]
fn what_follows_a_file_begins_behind_it() {
    let follows = |body: &[u8], (seq, right): Begins| {
        let mut talk = Talk::new(b"");
        let (_, mut frame) = talk.says(Command::Query, b"load data local infile 'f' into table a");
        talk.lend(true);
        assert_eq!(talk.first(&mut frame), None);
        assert!(matches!(talk.hears(b"\xfbf"), Hold::Pending));
        let mut file = BytesMut::from(&b"\x02\0\0\x021\n\x02\0\0\x032\n\0\0\0\x04"[..]);
        let limits = Limits::default();
        while !file.is_empty() {
            let taken = talk.machine.take(&talk.mysql, Peer::Client, &mut (), &limits, &mut file);
            assert!(taken.expect("it is right").is_some());
        }
        let mut said = BytesMut::new();
        put_packet(&mut said, seq, body);
        let taken = talk.machine.take(&talk.mysql, Peer::Upstream, &mut (), &limits, &mut said);
        assert_eq!(taken.is_ok(), right, "{seq}");
    };
    for of in [(2, false), (4, false), (5, true), (6, false)] {
        follows(&ok(0, 0, b""), of);
    }
    for of in [(3, true), (5, true)] {
        follows(&error(1062), of);
    }
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
