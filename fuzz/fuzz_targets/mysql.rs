#![no_main]

#[path = "../../codecs/mysql/tests/sessions/driver.rs"]
mod driver;
#[path = "../../codecs/mysql/tests/sessions/hostile.rs"]
mod hostile;
#[path = "../../codecs/mysql/tests/sessions/packets.rs"]
mod packets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wiremesh::kit::fuzz_decode(&wiremesh_mysql::Mysql::default(), data);
    hostile::survive(data);
});
