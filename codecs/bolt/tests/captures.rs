//! Recorded connections of real peers: every frame decodes, and encodes to the bytes that it was decoded from.

use std::{fs, path::PathBuf};

use bytes::BytesMut;
use wiremesh::{Frame, Limits, Peer, Protocol, WriteBuf};
use wiremesh_bolt::{Bolt, BoltFrame};

/// All frames of one direction of a capture.
fn frames(name: &str) -> Vec<BoltFrame> {
    let path = directory().join(format!("{name}.bin"));
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let from = if name.ends_with("c2s") { Peer::Client } else { Peer::Upstream };
    let mut input = BytesMut::from(&bytes[..]);
    let (mut state, mut frames) = (Default::default(), Vec::new());
    while let Some(frame) = Bolt::default()
        .decode(from, &mut state, &Limits::default(), &mut input)
        .unwrap_or_else(|e| panic!("{name}, frame {}: {e}", frames.len()))
    {
        frames.push(frame);
    }
    assert!(input.is_empty(), "{name}: {} bytes left over", input.len());
    frames
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/bolt"))
}

fn names() -> Vec<String> {
    let files = fs::read_dir(directory()).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = files
        .filter_map(|f| f.to_str().and_then(|f| f.strip_suffix(".bin")).map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn every_capture_encodes_to_its_own_bytes() {
    let names = names();
    assert_eq!(names.len(), 30);
    for name in names {
        let mut out = WriteBuf::default();
        let frames = frames(&name);
        assert!(!frames.is_empty(), "{name}");
        for frame in frames {
            let before = out.len();
            let wire_len = frame.wire_len();
            Bolt::default().encode(frame, &mut out);
            assert_eq!(out.len() - before, wire_len, "{name}");
        }
        let path = directory().join(format!("{name}.bin"));
        assert!(out.to_bytes() == fs::read(path).unwrap(), "{name}");
    }
}
