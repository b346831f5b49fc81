//! What may be changed in a frame, and that nothing else changes with it.

use std::time::Duration;

use proptest::prelude::*;
use wiremesh::{EditError, Frame, HeaderView, Kind, Protocol, correlation::Multiplexed};
use wiremesh_bolt::{Bolt, BoltFrame, Builder, ResponseStatus, Version};

use crate::common::{encoded, frame, hex, sent};

type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The pairs of the header block, nulls included, read from the wire by other means than the codec's.
fn pairs(frame: &BoltFrame) -> Vec<Pair> {
    let bytes = frame.as_bytes();
    let response = frame.response_status().is_some();
    let fixed = if response { 20 } else { 22 } + if frame.version() == Version::V1 { 0 } else { 2 };
    let short = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let start = fixed + short(fixed - 8);
    let mut block = &bytes[start..start + short(fixed - 6)];
    let mut text = || {
        let (len, rest) = block.split_first_chunk::<4>()?;
        let len = i32::from_be_bytes(*len);
        let (text, rest) = rest.split_at(usize::try_from(len).unwrap_or(0));
        block = rest;
        Some((len >= 0).then(|| text.to_vec()))
    };
    std::iter::from_fn(|| Some((text()?, text()?))).collect()
}

fn block(pairs: &[(Option<&str>, Option<&str>)]) -> Vec<u8> {
    let text = |text: &Option<&str>| match text {
        None => vec![0xff; 4],
        Some(text) => [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat(),
    };
    pairs.iter().flat_map(|(name, value)| [text(name), text(value)].concat()).collect()
}

/// A request with this header block, which may hold what [`Builder`] does not write.
fn with_block(version: Version, block: &[u8], content: &[u8]) -> BoltFrame {
    let plain = Builder { version, class: b"a.b.C", content, ..Builder::default() };
    let mut bytes = encoded(&plain.build().unwrap());
    let fixed = if version == Version::V1 { 22 } else { 24 };
    bytes[fixed - 6..fixed - 4].copy_from_slice(&(block.len() as u16).to_be_bytes());
    bytes.splice(fixed + 5..fixed + 5, block.iter().copied());
    let mut frame = frame(&bytes);
    if version == Version::V2Crc {
        frame.set_switch(1).unwrap();
    }
    frame
}

#[derive(Clone, Debug)]
enum Edit {
    Set(String, String),
    Remove(String),
    Id(u32),
    Timeout(u64),
    Switch(u8),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("k".into()),
        Just("service".into()),
        Just("sofa_head_deadline_remain_time".into()),
        "[a-c]{1,2}"
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (name(), ".{0,12}").prop_map(|(name, value)| Edit::Set(name, value)),
        2 => name().prop_map(Edit::Remove),
        1 => any::<u32>().prop_map(Edit::Id),
        1 => (0u64..1 << 40).prop_map(Edit::Timeout),
        1 => (0u8..0x80).prop_map(Edit::Switch),
    ]
}

proptest! {
    #[test]
    fn edits_change_what_they_say_and_nothing_else(
        lane in 0u32..3,
        start in prop::collection::vec(
            (prop::option::weighted(0.9, name()), prop::option::weighted(0.9, ".{0,9}")), 0..8),
        content in prop::collection::vec(any::<u8>(), 0..40),
        edits in prop::collection::vec(edit(), 0..12),
    ) {
        let version = Version::from_lane(lane).unwrap();
        let start: Vec<_> =
            start.iter().map(|(name, value)| (name.as_deref(), value.as_deref())).collect();
        let mut frame = with_block(version, &block(&start), &content);
        for edit in edits {
            let before = (pairs(&frame), frame.id(), frame.timeout_ms(), frame.switch());
            let same = |frame: &BoltFrame| {
                (pairs(frame), frame.id(), frame.timeout_ms(), frame.switch()) == before
            };
            // Pairs with a null say nothing and are left alone, whatever their name.
            let others = |pairs: Vec<Pair>, name: &str| -> Vec<Pair> {
                let other = |p: &Pair| p.1.is_none() || p.0.as_deref() != Some(name.as_bytes());
                pairs.into_iter().filter(other).collect()
            };
            match &edit {
                Edit::Set(name, value) => {
                    frame.set_header(name, value).unwrap();
                    prop_assert!(frame.header(name).is_some_and(|v| v == **value));
                    let mut seen = 0;
                    frame.for_each_header(&mut |n, _| seen += usize::from(n == name));
                    prop_assert_eq!(seen, 1);
                    prop_assert_eq!(others(pairs(&frame), name), others(before.0, name));
                }
                Edit::Remove(name) => {
                    let had = frame.header(name).is_some();
                    prop_assert_eq!(frame.remove_header(name).unwrap(), had);
                    prop_assert_eq!(frame.header(name), None);
                    prop_assert_eq!(pairs(&frame), others(before.0, name));
                }
                Edit::Id(id) => {
                    Bolt::default().set_id(&mut frame, u64::from(*id));
                    prop_assert_eq!(Bolt::default().id(&frame), u64::from(*id));
                    frame.set_id(before.1);
                    prop_assert!(same(&frame));
                }
                Edit::Timeout(ms) => {
                    frame.set_timeout(Duration::from_millis(*ms));
                    let want = i32::try_from(*ms).unwrap_or(i32::MAX).max(1);
                    prop_assert_eq!(frame.timeout_ms(), Some(want));
                    if let Some(left) = frame.header("sofa_head_deadline_remain_time") {
                        prop_assert_eq!(left, want.to_string());
                    }
                }
                Edit::Switch(switch) => {
                    let done = frame.set_switch(*switch);
                    prop_assert_eq!(done.is_ok(), version != Version::V1);
                    prop_assert_eq!(frame.switch(), (version != Version::V1).then_some(*switch));
                    prop_assert_eq!(frame.has_crc(), version == Version::V2Crc && switch & 1 == 1);
                }
            }
            // What arrives is the same: lengths and CRC are right.
            let there = sent(&frame);
            prop_assert_eq!(pairs(&there), pairs(&frame));
            prop_assert_eq!(there.content(), &content[..]);
            prop_assert_eq!(there.class_name(), "a.b.C");
            prop_assert_eq!((there.id(), there.timeout_ms()), (frame.id(), frame.timeout_ms()));
            prop_assert_eq!(there.wire_len(), frame.wire_len());
        }
    }

    #[test]
    fn any_bytes_decode_to_their_own_bytes_or_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        opening in prop::sample::select(vec!["0101000101", "0100000201", "020101000101", "020200000201"]),
    ) {
        let bytes = [hex(opening), bytes].concat();
        let mut decoder = crate::common::decoder();
        if let Ok(frames) = decoder.feed(&bytes) {
            let again: Vec<u8> = frames.iter().flat_map(encoded).collect();
            prop_assert_eq!(&bytes[..bytes.len() - decoder.waiting()], &again[..]);
        }
    }

    #[test]
    fn whatever_is_built_arrives(
        lane in 0u32..3, id: u32, codec: u8, switch in 0u8..0x80, timeout: i32, status: u16,
        response: bool, class in "[a-zA-Z.$]{0,40}", value in ".{0,40}",
        content in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let version = Version::from_lane(lane).unwrap();
        let kind = if response { Kind::Response } else { Kind::Request };
        let (class, headers) = (class.as_bytes(), [("k", &*value)]);
        let frame = Builder {
            version, kind, id, codec, switch, timeout, status, class, headers: &headers, content: &content,
        };
        let there = sent(&frame.build().unwrap());
        prop_assert_eq!((there.version(), there.kind(), there.id()), (version, kind, id));
        prop_assert_eq!((there.codec(), there.content()), (codec, &content[..]));
        prop_assert_eq!(there.switch(), (lane > 0).then_some(switch));
        prop_assert_eq!(there.timeout_ms(), (!response).then_some(timeout));
        prop_assert_eq!(there.response_status().map(ResponseStatus::code), response.then_some(status));
        prop_assert!(there.class_name().as_bytes() == class);
        prop_assert!(there.header("k").is_some_and(|v| v == value));
        prop_assert_eq!(Bolt::default().lane(&there), lane);
    }
}

#[test]
fn the_last_of_several_values_counts() {
    let several = [
        (Some("k"), Some("first")),
        (Some("other"), Some("x")),
        (Some("k"), Some("last")),
        (Some("k"), None),
        (None, Some("k")),
    ];
    let mut frame = with_block(Version::V1, &block(&several), b"content");
    assert_eq!(frame.header("k").as_deref(), Some("last"));
    let mut seen = Vec::new();
    frame.for_each_header(&mut |name, value| seen.push(format!("{name}={value}")));
    assert_eq!(seen, ["k=first", "other=x", "k=last"]);

    frame.set_header("k", "new").unwrap();
    let (k, other) = (Some(b"k".to_vec()), Some(b"other".to_vec()));
    let want = [
        (other, Some(b"x".to_vec())),
        (k.clone(), None),
        (None, k.clone()),
        (k, Some(b"new".to_vec())),
    ];
    assert_eq!(pairs(&sent(&frame)), want);
    assert_eq!(frame.content(), b"content");
}

#[test]
fn nulls_stay_on_the_wire() {
    let nulls = block(&[(None, None), (Some("k"), None), (Some("a"), Some("b"))]);
    let frame = with_block(Version::V2Crc, &nulls, b"");
    assert_eq!(frame.header("k"), None);
    assert_eq!(pairs(&sent(&frame)).len(), 3);
}

#[test]
fn a_header_that_is_not_utf_8_reads_with_replacements_and_stays() {
    let bytes =
        [&[0, 0, 0, 1, b'k', 0, 0, 0, 2, 0xff, b'x'][..], &block(&[(Some("a"), Some("b"))])]
            .concat();
    let mut frame = with_block(Version::V1, &bytes, b"");
    assert_eq!(frame.header("k").as_deref(), Some("\u{fffd}x"));
    frame.set_header("a", "longer").unwrap();
    assert_eq!(pairs(&sent(&frame))[0].1.as_deref(), Some(&[0xff, b'x'][..]));
}

#[test]
fn a_header_grows_to_the_limit_and_no_further() {
    for version in Version::ALL {
        let mut frame = with_block(version, &block(&[(Some("a"), Some("1"))]), b"content");
        // 10 bytes are taken, a pair has 9 besides its value.
        let room = 32_767 - 10 - 9;
        let before = encoded(&frame);
        let error = frame.set_header("k", &"v".repeat(room + 1)).unwrap_err();
        assert_eq!(error, EditError::TooLong { what: "the header", size: 32_768, max: 32_767 });
        assert_eq!(encoded(&frame), before, "unchanged");
        frame.set_header("k", &"v".repeat(room)).unwrap();
        assert_eq!(sent(&frame).header("k").unwrap().len(), room);
        let full = encoded(&frame);
        assert!(frame.set_header("a", "22").is_err());
        assert!(frame.set_header("b", "").is_err());
        assert_eq!(encoded(&frame), full, "unchanged");
        frame.set_header("a", "2").unwrap();
        assert!(frame.remove_header("k").unwrap());
        assert_eq!(sent(&frame).header("a").as_deref(), Some("2"));
    }
}

#[test]
fn duplicates_by_the_thousand_are_replaced_in_one_go() {
    let many = vec![(Some(""), Some("")); 4000];
    let mut frame = with_block(Version::V1, &block(&many), &vec![7; 8 << 20]);
    frame.set_header("", "x").unwrap();
    assert_eq!(pairs(&frame).len(), 1);
    assert_eq!(sent(&frame).content().len(), 8 << 20);
}

#[test]
fn a_timeout_is_written_in_both_places_that_have_one() {
    let headers = [("sofa_head_deadline_remain_time", "3000")];
    let request =
        Builder { version: Version::V2Crc, switch: 1, headers: &headers, ..Builder::default() };
    let mut request = request.build().unwrap();
    request.set_timeout(Duration::from_micros(1_999));
    let there = sent(&request);
    assert_eq!(there.timeout(), Some(Duration::from_millis(1)));
    assert_eq!(there.header("sofa_head_deadline_remain_time").as_deref(), Some("1"));

    for (kind, takes) in [
        (Kind::Request, true),
        (Kind::OneWay, true),
        (Kind::Heartbeat, false),
        (Kind::GoAway, false),
        (Kind::Response, false),
    ] {
        let mut frame = Builder { kind, ..Builder::default() }.build().unwrap();
        let before = encoded(&frame);
        frame.set_timeout(Duration::ZERO);
        assert_eq!(encoded(&frame) != before, takes, "{kind:?}");
        // Nothing left is not the same as no timeout.
        assert_eq!(frame.timeout(), takes.then_some(Duration::from_millis(1)));
        assert_eq!(frame.header("sofa_head_deadline_remain_time"), None);
    }
}

#[test]
fn the_switch_brings_the_crc_and_takes_it_away() {
    let request = Builder { version: Version::V2Crc, content: b"abc", ..Builder::default() };
    let mut request = request.build().unwrap();
    let without = encoded(&request);
    request.set_switch(0x41).unwrap();
    assert_eq!((sent(&request).has_crc(), request.wire_len()), (true, without.len() + 4));
    request.set_switch(0).unwrap();
    assert_eq!(encoded(&request), without);
    assert!(request.set_switch(0x80).is_err());

    let mut plain = Builder { version: Version::V2, ..Builder::default() }.build().unwrap();
    plain.set_switch(1).unwrap();
    assert_eq!((plain.wire_len(), sent(&plain).has_crc()), (24, false));
    let mut v1 = Builder::default().build().unwrap();
    assert!(v1.set_switch(1).is_err());
}
