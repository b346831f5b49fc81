//! The digests, over several pieces.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

pub(super) fn sha1(pieces: &[&[u8]]) -> [u8; 20] {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, pieces)
}

pub(crate) fn sha256(pieces: &[&[u8]]) -> [u8; 32] {
    digest(&SHA256, pieces)
}

pub(super) fn sha512(pieces: &[&[u8]]) -> [u8; 64] {
    digest(&SHA512, pieces)
}

/// The beginning of the pieces' SHA-256, as a number.
pub(crate) fn key_of(pieces: &[&[u8]]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(pieces);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The time this takes does not tell where two of one length differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

pub(super) fn xor<const N: usize>(a: [u8; N], b: [u8; N]) -> [u8; N] {
    let mut out = a;
    for (out, b) in out.iter_mut().zip(b) {
        *out ^= b;
    }
    out
}

fn digest<const N: usize>(algorithm: &'static Algorithm, pieces: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(algorithm);
    for piece in pieces {
        context.update(piece);
    }
    let digest = context.finish();
    let mut out = [0; N];
    for (out, byte) in out.iter_mut().zip(digest.as_ref()) {
        *out = *byte;
    }
    out
}
