//! What is refused, and that it is refused with the first bytes that show it.

use crate::common::{decoder, hex};
use wiremesh::{DecodeError, Detection, Frame, Kind, Limits, Protocol};
use wiremesh_bolt::{Bolt, Builder, Version};

const V1: &str = "01 01 0001 01 00000007 01 00000bb8 0000 0000 00000000";
const V1_RESPONSE: &str = "01 00 0002 01 00000007 01 0000 0000 0000 00000000";
const V2: &str = "02 02 01 0001 01 00000007 01 00 00000bb8 0000 0000 00000000";
const V2_RESPONSE: &str = "02 01 00 0002 01 00000007 01 00 0000 0000 0000 00000000";

/// The error, and after how many of the bytes it came.
fn refused(bytes: &[u8], limits: &Limits) -> Option<(usize, DecodeError)> {
    let mut decoder = decoder();
    decoder.limits = limits.clone();
    (1..=bytes.len())
        .find_map(|len| decoder.feed(&bytes[len - 1..len]).err().map(|error| (len, error)))
}

/// `text` with the bytes at `at` replaced is refused after `after` bytes.
#[track_caller]
fn check(text: &str, at: usize, with: &[u8], after: usize, want: &DecodeError) {
    let mut bytes = hex(text);
    assert_eq!(refused(&bytes, &Limits::default()), None, "the unchanged frame is good");
    bytes[at..at + with.len()].copy_from_slice(with);
    let (len, error) = refused(&bytes, &Limits::default()).expect("refused");
    assert_eq!((len, &error), (after, want));
    // And when all of it comes at once.
    assert_eq!(decoder().feed(&bytes).unwrap_err(), *want);
}

fn unknown(what: &'static str, value: u64) -> DecodeError {
    DecodeError::Unknown { what, value }
}

#[test]
fn unknown_protocol_code() {
    for code in [0, 3, 0xda, 0xff] {
        check(V1, 0, &[code], 1, &unknown("protocol code", u64::from(code)));
    }
}

#[test]
fn unknown_protocol_version() {
    for ver1 in [0, 3, 0xff] {
        check(V2, 1, &[ver1], 2, &unknown("protocol version", u64::from(ver1)));
    }
}

#[test]
fn unknown_type() {
    for kind in [3, 0x7f, 0xff] {
        check(V1, 1, &[kind], 2, &unknown("type", u64::from(kind)));
        check(V2, 2, &[kind], 3, &unknown("type", u64::from(kind)));
    }
}

#[test]
fn unknown_command() {
    for (code, early) in [(3u16, 0), (99, 0), (101, 0), (0x0100, 1), (0xffff, 1)] {
        let [high, _] = code.to_be_bytes();
        let seen = u64::from(if early == 1 { u16::from(high) << 8 } else { code });
        let want = unknown("cmdcode", seen);
        let mut bytes = hex(V1);
        bytes[2..4].copy_from_slice(&code.to_be_bytes());
        assert_eq!(refused(&bytes, &Limits::default()), Some((4 - early, want.clone())));
        let mut bytes = hex(V2);
        bytes[3..5].copy_from_slice(&code.to_be_bytes());
        assert_eq!(refused(&bytes, &Limits::default()), Some((5 - early, want)));
    }
}

#[test]
fn a_go_away_that_is_a_response() {
    check(V1_RESPONSE, 2, &[0, 100], 4, &unknown("cmdcode", 100));
}

#[test]
fn bit_7_of_the_switch() {
    check(V2, 11, &[0x80], 12, &unknown("switch", 0x80));
    check(V2_RESPONSE, 11, &[0xff], 12, &unknown("switch", 0xff));
}

#[test]
fn lengths_that_java_reads_as_negative() {
    let class = DecodeError::limit("classLen", 0x7fff, 0x8000);
    let header = DecodeError::limit("headerLen", 0x7fff, 0xffff);
    let content = DecodeError::Malformed { what: "contentLen" };
    for (text, fixed) in [(V1, 22), (V1_RESPONSE, 20), (V2, 24), (V2_RESPONSE, 22)] {
        check(text, fixed - 8, &[0x80, 0], fixed - 6, &class);
        check(text, fixed - 6, &[0xff, 0xff], fixed - 4, &header);
        check(text, fixed - 4, &[0x80, 0, 0, 0], fixed, &content);
    }
}

#[test]
fn wrong_crc() {
    let frame =
        Builder { version: Version::V2Crc, switch: 1, content: b"abc", ..Builder::default() };
    let good = crate::common::encoded(&frame.build().unwrap());
    assert_eq!(refused(&good, &Limits::default()), None);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        let error = decoder().feed(&bytes).err();
        // Lengths and codes are refused for themselves, or leave the frame incomplete; ver1 = 1 has no CRC.
        if at >= 12 && !(16..24).contains(&at) {
            assert!(matches!(error, Some(DecodeError::Checksum { .. })), "byte {at}: {error:?}");
        }
    }
    let (len, error) =
        refused(&[&good[..good.len() - 1], b"x"].concat(), &Limits::default()).unwrap();
    assert_eq!(len, good.len());
    assert!(matches!(error, DecodeError::Checksum { .. }));
}

#[test]
fn no_crc_is_looked_for_where_there_is_none() {
    // ver1 = 1 and a switch of 1, as plain Java clients of v2 send it; and ver1 = 2 with other bits of the switch.
    for (version, switch, trailer) in
        [(Version::V2, 1, 0), (Version::V2Crc, 0x7e, 0), (Version::V2Crc, 0x7f, 4)]
    {
        let frame = Builder { version, switch, ..Builder::default() }.build().unwrap();
        assert_eq!(frame.wire_len(), 24 + trailer);
        assert_eq!(crate::common::sent(&frame).switch(), Some(switch));
    }
}

#[test]
fn header_blocks_that_are_cut_off() {
    let malformed = DecodeError::Malformed { what: "header key/value block" };
    for block in [
        "00",
        "00000001",
        r#"00000001 "k""#,
        r#"00000001 "k" 000000"#,
        r#"00000001 "k" 00000002 "v""#,
        r#"00000001 "k" 00000001 "v" 00"#,
        r#"00000001 "k" fffffffe"#,
        "fffffffe 00000000",
        "80000000 00000000",
        "7fffffff 00000000",
        "ffffffff",
    ] {
        let block = hex(block);
        let mut bytes = hex(V1);
        bytes[16..18].copy_from_slice(&(block.len() as u16).to_be_bytes());
        bytes[18..22].copy_from_slice(&1000u32.to_be_bytes());
        bytes.extend_from_slice(&block);
        // Refused although the content has not come yet.
        assert_eq!(refused(&bytes, &Limits::default()), Some((bytes.len(), malformed.clone())));
    }
}

#[test]
fn limits_are_kept_before_the_bytes_come() {
    let frame = |class: &[u8], value: &str, content: &[u8]| {
        let headers = [("k", value)];
        let frame = Builder { class, headers: &headers, content, ..Builder::default() };
        crate::common::encoded(&frame.build().unwrap())
    };
    let limits = Limits { max_frame: 100, max_header: 20, ..Limits::default() };
    // 22 bytes, class 5, header 9 + 6, content 58.
    assert_eq!(refused(&frame(b"class", "valuev", &[7; 58]), &limits), None);
    let long = refused(&frame(b"class", "valuev", &[7; 59]), &limits);
    assert_eq!(long, Some((22, DecodeError::limit("max_frame", 100, 101))));
    let wide = refused(&frame(b"class", "valueva", &[]), &limits);
    assert_eq!(wide, Some((22, DecodeError::limit("max_header", 20, 21))));

    // Whatever the format allows in names, the default allows.
    let names = Builder { class: &[b'c'; 32_767], ..Builder::default() };
    let names = Builder { headers: &[("k", &"v".repeat(32_758))], ..names };
    assert_eq!(refused(&crate::common::encoded(&names.build().unwrap()), &Limits::default()), None);
    assert!(Limits::default().max_frame < 64 << 20);
    let mut huge = hex(V1);
    huge[18..22].copy_from_slice(&i32::MAX.to_be_bytes());
    let error = DecodeError::limit("max_frame", 32 << 20, 22 + i32::MAX as usize);
    assert_eq!(refused(&huge, &Limits::default()), Some((22, error)));
}

#[test]
fn the_crc_counts_towards_the_limit() {
    let frame =
        Builder { version: Version::V2Crc, switch: 1, ..Builder::default() }.build().unwrap();
    let bytes = crate::common::encoded(&frame);
    let limits = |max_frame| Limits { max_frame, ..Limits::default() };
    assert_eq!(refused(&bytes, &limits(28)), None);
    assert_eq!(refused(&bytes, &limits(27)), Some((24, DecodeError::limit("max_frame", 27, 28))));
}

#[test]
fn too_long_is_refused_on_the_way_out() {
    let class = [b'c'; 32_768];
    assert!(Builder { class: &class, ..Builder::default() }.build().is_err());
    assert!(Builder { class: &class[1..], ..Builder::default() }.build().is_ok());
    let value = "v".repeat(32_767 - 9);
    let longer = format!("{value}v");
    assert!(Builder { headers: &[("k", &value)], ..Builder::default() }.build().is_ok());
    assert!(Builder { headers: &[("k", &longer)], ..Builder::default() }.build().is_err());
    assert!(Builder { version: Version::V2, switch: 0x80, ..Builder::default() }.build().is_err());
}

#[test]
fn detection_needs_five_bytes_at_most() {
    for text in [V1, V2] {
        let bytes = hex(text);
        let enough = if bytes[0] == 1 { 4 } else { 5 };
        for len in 0..bytes.len() {
            let want = match len {
                0 => Detection::NeedMore(4),
                len if len < enough => Detection::NeedMore(enough),
                _ => Detection::Match,
            };
            assert_eq!(Bolt::detect(&bytes[..len]), want, "{len} bytes of {text}");
        }
    }
    // What a server says is nothing to begin with.
    for text in [V1_RESPONSE, V2_RESPONSE] {
        assert_eq!(Bolt::detect(&hex(text)), Detection::Mismatch);
    }
    for other in [
        &b"GET / HTTP/1.1"[..],
        b"PRI * ",
        b"\xda\xbb\xc2\0",
        b"\x80\x01\0\x01",
        b"\x16\x03\x01",
        b"\x01\x03",
        b"\x02\x00",
        b"\x01\x01\x01",
        b"\x02\x01\x01\0\x05",
        b"*1\r\n",
    ] {
        assert_eq!(Bolt::detect(other), Detection::Mismatch, "{other:x?}");
    }
}

#[test]
fn versions_may_be_mixed_and_cut_anywhere() {
    let texts = [V1, V2, V1_RESPONSE, V2_RESPONSE];
    let all: Vec<u8> = texts.iter().cycle().take(12).flat_map(|t| hex(t)).collect();
    for step in 1..50 {
        let mut decoder = decoder();
        let frames: Vec<_> = all.chunks(step).flat_map(|c| decoder.feed(c).unwrap()).collect();
        let kinds: Vec<_> = frames.iter().map(|f| (f.version(), f.kind())).collect();
        let want = [
            (Version::V1, Kind::Request),
            (Version::V2Crc, Kind::Request),
            (Version::V1, Kind::Response),
            (Version::V2, Kind::Response),
        ];
        assert_eq!(kinds, want.repeat(3), "in pieces of {step}");
    }
}
