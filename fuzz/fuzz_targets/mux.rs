#![no_main]

use wiremesh::Protocol;
use wiremesh_toys::Mx;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(frame) = Mx.heartbeat(0) {
        wiremesh::kit::fuzz_mux(&Mx, &frame, data);
    }
});
