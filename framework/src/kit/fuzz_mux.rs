//! The body of a fuzz target for the multiplexer.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a fuzzer is told")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    correlation::{Expect, Multiplexed},
    engine::{Engine, Mux, Received, Slot},
};

/// A request that the multiplexer has taken, under its id on the wire.
struct Asked {
    slot: Slot,
    original: u64,
    token: u64,
    deadline: Option<Instant>,
    given_up: bool,
}

/// Drives a [`Mux`] as `data` says, a byte or two a step, beside a model of what it must know.
///
/// `frame` stands for every request and reply: only its id matters.
///
/// # Panics
///
/// When a reply reaches another request than its own, an id is in use twice, or a count is wrong.
pub fn fuzz_mux<P: Multiplexed>(protocol: &P, frame: &P::Frame, data: &[u8]) {
    let Some((capacity, steps)) = data.split_first() else { return };
    let mut mux = <Mux<u64> as Engine<P, u64>>::with_capacity(usize::from(*capacity).max(1));
    let start = Instant::now();
    let (mut now, mut token) = (start, 0_u64);
    let mut asked = BTreeMap::<u64, Asked>::new();
    for step in steps.chunks(2) {
        let (what, arg) = (step[0], u64::from(step.get(1).copied().unwrap_or(0)));
        // One of the ids in use, chosen by the argument.
        let known = asked.keys().nth(arg as usize % asked.len().max(1)).copied();
        match what % 8 {
            0..=2 => {
                token += 1;
                let original = token.wrapping_mul(0x9e37_79b9) & (u64::MAX >> (64 - P::ID_BITS));
                let deadline = (arg > 99).then(|| now + Duration::from_millis(arg));
                let mut request = frame.clone();
                protocol.set_id(&mut request, original);
                let full = Engine::<P, u64>::is_full(&mux);
                match mux.send(protocol, &mut request, Expect::One, deadline, token) {
                    Ok(slot) => {
                        assert!(!full, "taken though full");
                        let one = Asked { slot, original, token, deadline, given_up: false };
                        let before = asked.insert(protocol.id(&request), one);
                        assert!(before.is_none(), "an id in use twice");
                    }
                    Err(given_back) => {
                        assert!(full, "refused though not full");
                        assert_eq!(given_back, token);
                        assert_eq!(protocol.id(&request), original, "refused, not as it was");
                    }
                }
            }
            3 | 4 => {
                let id = if what & 0x80 == 0 { known.unwrap_or(arg) } else { arg };
                let mut reply = frame.clone();
                protocol.set_id(&mut reply, id);
                match (mux.receive(protocol, &mut reply), asked.remove(&id)) {
                    (Received::Last(token), Some(one)) => {
                        assert!(!one.given_up, "answered though given up");
                        assert_eq!(token, one.token, "answered by another's reply");
                        assert_eq!(protocol.id(&reply), one.original, "answered by another id");
                    }
                    (Received::Late, Some(one)) => assert!(one.given_up, "late, and awaited"),
                    (Received::Unknown | Received::Late, None) => {}
                    (received, one) => {
                        panic!(
                            "{received:?} for an id {}",
                            if one.is_some() { "in use" } else { "not in use" }
                        )
                    }
                }
            }
            5 => {
                if let Some(one) = known.and_then(|id| asked.get_mut(&id)) {
                    let taken = Engine::<P, u64>::abandon(&mut mux, one.slot);
                    assert_eq!(taken, (!one.given_up).then_some(one.token));
                    one.given_up = true;
                }
            }
            6 => {
                now += Duration::from_millis(arg);
                while let Some(token) = Engine::<P, u64>::expire(&mut mux, now) {
                    let one = asked.values_mut().find(|one| one.token == token);
                    let one = one.expect("expired, and not asked");
                    assert!(!one.given_up, "expired twice");
                    assert!(one.deadline.is_some_and(|at| at <= now), "expired too early");
                    one.given_up = true;
                }
                let awaited = asked.values().filter(|one| !one.given_up);
                let earliest = awaited.filter_map(|one| one.deadline).min();
                let next = Engine::<P, u64>::next_deadline(&mux);
                assert!(
                    earliest.is_none_or(|at| next.is_some_and(|next| next <= at)),
                    "sleeps too long"
                );
                assert!(earliest.is_none_or(|at| at > now), "not expired");
            }
            _ => {
                let mut stamped = frame.clone();
                mux.stamp(protocol, &mut stamped);
                assert!(!asked.contains_key(&protocol.id(&stamped)), "stamped with an id in use");
            }
        }
        let given_up = asked.values().filter(|one| one.given_up).count();
        assert_eq!(Engine::<P, u64>::abandoned(&mux), given_up);
        assert_eq!(Engine::<P, u64>::in_flight(&mux), asked.len() - given_up);
    }
    let mut left = Vec::new();
    while let Some(token) = Engine::<P, u64>::close(&mut mux) {
        left.push(token);
    }
    left.sort_unstable();
    let mut awaited: Vec<_> =
        asked.values().filter(|one| !one.given_up).map(|one| one.token).collect();
    awaited.sort_unstable();
    assert_eq!(left, awaited, "closed");
}
