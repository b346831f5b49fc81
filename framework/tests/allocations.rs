//! What one frame costs in heap allocations once buffers have grown: nothing. The crate that counts replaces the global
//! allocator, hence the binary of its own.

#[path = "engines/protocols.rs"]
mod protocols;

use std::time::{Duration, Instant};

use bytes::Buf;
use protocols::{Ids, Message, ONE_WAY, Ordered};
use wiremesh::{
    Failure, Protocol, Reason, WriteBuf,
    correlation::Expect,
    engine::{Engine, Inbox, Mux, Passthrough, Pipeline, Received, Reorder, SessionPool},
};

const DEPTH: u64 = 64;
const ROUNDS: u64 = 1_000;

/// Allocations of many rounds, the first ones not counted.
fn allocations(mut round: impl FnMut(u64)) -> u64 {
    (0..ROUNDS).for_each(&mut round);
    let counted = allocation_counter::measure(|| (ROUNDS..2 * ROUNDS).for_each(&mut round));
    counted.count_total
}

/// Sends to a depth, gives up on some, lets some expire, and answers all.
fn exchange<P, E>(protocol: &P, id: impl Fn(&Message) -> u64) -> u64
where
    P: Protocol<Frame = Message>,
    E: Engine<P, u64>,
{
    let start = Instant::now();
    let mut engine = E::with_capacity(DEPTH as usize);
    let mut wire_ids = Vec::new();
    let (mut answered, mut late) = (0, 0);
    let count = allocations(|round| {
        let now = start + Duration::from_millis(round * 7);
        for nonce in 0..DEPTH {
            let mut request = Message::new(nonce, nonce);
            let deadline = now + Duration::from_millis(nonce % 5 * 1_700);
            let slot = engine.send(protocol, &mut request, Expect::One, Some(deadline), nonce);
            wire_ids.push(id(&request));
            if nonce % 7 == 0 {
                assert_eq!(engine.abandon(slot.unwrap()), Some(nonce));
            }
            engine.stamp(protocol, &mut Message::new(nonce, ONE_WAY));
        }
        while engine.expire(now).is_some() {}
        for id in wire_ids.drain(..) {
            match engine.receive(protocol, &mut Message::new(id, 0)) {
                Received::Last(_) => answered += 1,
                Received::Late => late += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(answered > 0 && late > 0);
    count
}

#[test]
fn none_through_the_multiplexer() {
    assert_eq!(exchange::<Ids<32>, Mux<u64>>(&Ids, |m| m.id), 0);
    assert_eq!(exchange::<Ids<64>, Mux<u64>>(&Ids, |m| m.id), 0);
}

#[test]
fn none_through_the_pipeline() {
    assert_eq!(exchange::<Ordered, Pipeline<u64>>(&Ordered, |_| 0), 0);
}

#[test]
fn none_through_the_inboxes() {
    let (mut inbox, mut out) = (Passthrough, WriteBuf::default());
    let failure = Failure::new(Reason::Timeout, "");
    let count = allocations(|_| {
        for nonce in 0..DEPTH {
            let place = Inbox::<Ids<32>>::admit(&mut inbox, Expect::One);
            inbox.reply(&Ids::<32>, place, Message::new(0, nonce), true, &mut out);
            assert!(inbox.fail(&Ids::<32>, place, &0, &failure, &mut out));
        }
        out.advance(out.len());
    });
    assert_eq!(count, 0);

    let mut inbox = Reorder::<Ordered>::default();
    let mut places = Vec::new();
    let count = allocations(|_| {
        places.extend((0..DEPTH).map(|_| inbox.admit(Expect::One)));
        // The last first: all are held back.
        for place in places.drain(..).rev() {
            inbox.reply(&Ordered, place, Message::new(0, 0), true, &mut out);
        }
        assert_eq!(out.len() as u64, 8 * DEPTH);
        out.advance(out.len());
    });
    assert_eq!(count, 0);
}

#[test]
fn none_through_the_session_pool() {
    let now = Instant::now();
    let mut pool = SessionPool::new(4, DEPTH as usize);
    let count = allocations(|_| {
        for client in 0..DEPTH {
            pool.acquire(client, Some(now));
            while pool.poll().is_some() {}
        }
        for connection in 0..4 {
            pool.connected(connection);
            pool.release(connection, true);
            pool.reset_done(connection);
        }
        while pool.poll().is_some() {}
        while pool.expire(now).is_some() {}
    });
    assert_eq!(count, 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|round| drop(Box::new(round))), ROUNDS);
}
