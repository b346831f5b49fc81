//! A private protocol is small: each toy, docs included, is under 100 lines.

use std::{fs, path::Path};

#[test]
fn every_toy_is_under_100_lines() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in ["multiplexed.rs", "inorder.rs", "session.rs"] {
        let lines = fs::read_to_string(src.join(file)).unwrap().lines().count();
        assert!((10..100).contains(&lines), "{file} has {lines} lines");
    }
}
