//! The fuzz bodies over their corpora, on stable: samples, changes to them, and what a fuzzer has found since.

use std::path::PathBuf;

use wiremesh::{Protocol, kit};
use wiremesh_toys::{Desk, Kv, Mx, samples};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(target)
}

#[test]
fn multiplexed() {
    assert!(kit::replay(&Mx, &samples::mx(), &corpus("multiplexed")).unwrap() > 100);
}

#[test]
fn inorder() {
    assert!(kit::replay(&Kv, &samples::kv(), &corpus("inorder")).unwrap() > 100);
}

#[test]
fn session() {
    let desk = Desk::default();
    assert!(kit::replay(&desk, &samples::desk(), &corpus("session")).unwrap() > 100);
}

/// The multiplexer, by a thousand scripts of steps.
#[test]
fn mux() {
    let frame = Mx.heartbeat(0).unwrap();
    let mut state = 0x2545_f491_u32;
    for _ in 0..1000 {
        let script: Vec<u8> = (0..400)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        kit::fuzz_mux(&Mx, &frame, &script);
    }
}
