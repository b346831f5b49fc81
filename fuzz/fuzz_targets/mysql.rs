#![no_main]

#[path = "../../codecs/mysql/tests/sessions/driver.rs"]
mod driver;
#[path = "../../codecs/mysql/tests/sessions/hostile.rs"]
mod hostile;
#[path = "../../codecs/mysql/tests/sessions/packets.rs"]
mod packets;

use wiremesh_mysql::digest::{Charset, DIGEST_MAX, Dialect, digest};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wiremesh::kit::fuzz_decode(&wiremesh_mysql::Mysql::default(), data);
    wiremesh::kit::fuzz_talk(&wiremesh_mysql::Mysql::default(), data);
    hostile::survive(data);
    let [flags, sql @ ..] = data else { return };
    let dialect = Dialect {
        ansi_quotes: flags & 1 != 0,
        no_backslash_escapes: flags & 2 != 0,
        charset: [Charset::Plain, Charset::Gbk, Charset::Sjis][usize::from(flags >> 2) % 3],
    };
    let mut out = Vec::new();
    digest(sql, dialect, flags & 64 == 0, &mut out);
    assert!(out.len() <= DIGEST_MAX + 32);
});
