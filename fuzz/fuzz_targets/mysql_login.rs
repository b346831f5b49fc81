#![no_main]

#[path = "../../codecs/mysql/tests/logins/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hostile::survive(data);
});
