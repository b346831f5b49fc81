#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wiremesh::kit::fuzz_talk(&wiremesh_toys::Call, data));
