//! Sessions of peers that say anything at all.

use wiremesh::{Failure, Peer, Reason};
use wiremesh_mysql::Capabilities;

use super::{
    driver::Driver,
    packets::{CAPS, JOE, greeting, login, ok},
};

/// Flags that change how packets are read.
const FLAGS: [Capabilities; 8] = [
    Capabilities::DEPRECATE_EOF,
    Capabilities::OPTIONAL_RESULTSET_METADATA,
    Capabilities::SESSION_TRACK,
    Capabilities::QUERY_ATTRIBUTES,
    Capabilities::MULTI_RESULTS,
    Capabilities::MARIADB_CACHE_METADATA,
    Capabilities::MARIADB_PROGRESS,
    Capabilities::COMPRESS,
];

/// A session of these bytes: how it begins, and then who says what. Nothing panics, nothing is lost, and it makes no difference
/// in which pieces bytes come.
pub fn survive(data: &[u8]) {
    let Some(([how, flags], mut rest)) = data.split_first_chunk() else { return };
    let chosen = FLAGS.iter().enumerate().filter(|(bit, _)| flags & 1 << bit != 0);
    let caps = chosen.fold(CAPS, |caps, (_, flag)| caps | flag.0);
    let mut drivers = [Driver::default(), Driver::default()];
    for driver in &mut drivers {
        if how & 1 != 0 {
            driver.receive(Peer::Upstream, &greeting(caps)).expect("a greeting");
        }
        if how & 3 == 3 {
            driver.receive(Peer::Client, &login(1, caps, JOE)).expect("a login");
            driver.receive(Peer::Upstream, &ok(2, 2)).expect("an OK");
        }
    }
    let mut said = [Vec::new(), Vec::new()];
    for driver in &drivers {
        said = driver.passed.clone();
        (0..2).for_each(|side| said[side].extend_from_slice(&driver.input[side]));
    }
    while let Some((&step, after)) = rest.split_first() {
        let from = if step & 1 == 0 { Peer::Client } else { Peer::Upstream };
        let (bytes, after) = after.split_at(after.len().min(usize::from(step >> 1)));
        rest = after;
        said[from as usize].extend_from_slice(bytes);
        let [whole, single] = &mut drivers;
        // Where the other side's wait, it is a matter of who is first: a piece may let them in before the next piece.
        let alone = single.input[1 - from as usize].is_empty();
        let piece = if alone { 1 } else { bytes.len().max(1) };
        let outcomes = [
            whole.receive(from, bytes),
            bytes.chunks(piece).try_for_each(|piece| single.receive(from, piece)),
        ];
        let [one, other] = outcomes.each_ref().map(Result::is_err);
        assert_eq!(one, other, "{outcomes:?}");
        if one {
            return;
        }
        assert_eq!(whole.seen, single.seen);
        assert_eq!((whole.busy, whole.closed), (single.busy, single.closed));
        for driver in &drivers {
            for (side, said) in said.iter().enumerate() {
                let all = [&driver.passed[side][..], &driver.input[side]].concat();
                assert!(driver.closed || all == *said, "what is not passed on is kept");
            }
        }
    }
    let [farewell, other] =
        drivers.each_mut().map(|driver| driver.farewell(&Failure::new(Reason::Draining, "bye")));
    assert_eq!(farewell, other);
}
