//! The `wiremesh` binary.

fn main() {}
