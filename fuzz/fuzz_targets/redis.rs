#![no_main]

#[path = "../../codecs/redis/tests/redis/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wiremesh::kit::fuzz_decode(&wiremesh_redis::Redis::default(), data);
    hostile::survive(data.get(1..).unwrap_or_default());
});
