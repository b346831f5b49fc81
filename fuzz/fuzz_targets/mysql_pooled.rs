#![no_main]

#[path = "../../codecs/mysql/tests/pooled/client.rs"]
mod client;
#[path = "../../codecs/mysql/tests/pooled/hostile.rs"]
mod hostile;
#[path = "../../codecs/mysql/tests/pooled/server.rs"]
mod server;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::survive(data);
});
