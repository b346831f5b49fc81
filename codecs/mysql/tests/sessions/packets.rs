//! Packets of either side.

#![allow(dead_code)] // each user has use for a part of it

use wiremesh_mysql::{Capabilities, wire::put_packet};

/// What both can do.
pub const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_WITH_DB.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::CONNECT_ATTRS.0;

/// An OK, with this status.
pub fn ok(seq: u8, status: u8) -> Vec<u8> {
    packet(seq, &[0, 0, 0, status, 0, 0, 0])
}

pub fn packet(seq: u8, body: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    put_packet(&mut out, seq, body);
    out.to_vec()
}

pub fn greeting(caps: u64) -> Vec<u8> {
    let caps = caps.to_le_bytes();
    let mut body = b"\x0a8.0.33\0\x07\0\0\0saltsalt\0".to_vec();
    body.extend([caps[0], caps[1], 45, 2, 0, caps[2], caps[3], 21]);
    body.extend([0; 10]);
    body.extend(b"moresaltmore\0caching_sha2_password\0");
    packet(0, &body)
}

pub fn login(seq: u8, caps: u64, tail: &[u8]) -> Vec<u8> {
    let caps = caps.to_le_bytes();
    let mut body = vec![caps[0], caps[1], caps[2], caps[3], 0, 0, 0, 1, 45];
    body.extend([0; 23]);
    body.extend(tail);
    packet(seq, &body)
}

/// The end of a login.
pub const JOE: &[u8] = b"joe\0\x03pwdshop\0plugin\0\x13\x0cprogram_name\x05shell";
