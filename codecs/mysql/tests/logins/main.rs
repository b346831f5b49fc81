//! Logins and compressed connections as real servers and clients recorded them.

mod hostile;

use std::path::Path;

use bytes::{Buf, BytesMut};
use wiremesh_mysql::Capabilities;
use wiremesh_mysql::auth::{Ed25519Key, FastDigest, NativeKey, Plugin, PublicKey};
use wiremesh_mysql::compress::{Algorithm, Decompressor};
use wiremesh_mysql::handshake::{ChangeUser, Greeting, Login};
use wiremesh_mysql::wire::{HEAD, Head};

/// One direction of a recorded connection, from its beginning.
struct Said(BytesMut);

impl Said {
    fn of(name: &str, direction: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/mysql");
        let file = folder.join(format!("{name}.{direction}.bin"));
        let bytes = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        Self(BytesMut::from(&bytes[..]))
    }

    fn packet(&mut self) -> Option<BytesMut> {
        let head = Head::read(&self.0)?;
        self.0.advance(HEAD);
        Some(self.0.split_to(head.len))
    }
}

/// A recorded login: the salts that were sent, and what was answered.
struct Recorded {
    login: Login,
    greeting: Greeting,
    /// Plugin, salt and answer: the last is the one that counted.
    last: (Vec<u8>, Vec<u8>, Vec<u8>),
    /// What the server sent as more data, and the client's answers to it.
    more: Vec<(Vec<u8>, Option<BytesMut>)>,
    client: Said,
    server: Said,
}

/// Follows a connection up to the OK of its login.
fn recorded(name: &str) -> Recorded {
    let (mut server, mut client) = (Said::of(name, "s2c"), Said::of(name, "c2s"));
    let greeting = Greeting::parse(&server.packet().expect("a greeting")).expect("it is one");
    let login = Login::parse(&client.packet().expect("a login")).expect("it is one");
    let mut last = (login.plugin.clone(), greeting.salt.clone(), login.auth_data.clone());
    let mut more = Vec::new();
    loop {
        let said = server.packet().expect("an OK");
        match said[0] {
            0 => return Recorded { login, greeting, last, more, client, server },
            1 if said[1..] == [3] => more.push((said[1..].to_vec(), None)),
            1 => more.push((said[1..].to_vec(), client.packet())),
            0xfe => {
                let name = said[1..].split(|byte| *byte == 0).next().expect("there is one");
                let salt = &said[name.len() + 2..];
                let salt = if salt.len() == 21 { &salt[..20] } else { salt };
                let answer = client.packet().expect("an answer");
                last = (name.to_vec(), salt.to_vec(), answer.to_vec());
            }
            other => panic!("{other:#x}"),
        }
    }
}

#[test]
fn what_clients_answered_is_what_we_expect() {
    let native = NativeKey::of(b"natpw");
    for name in [
        "mysql8-zlib",
        "mariadb10-zlib",
        "mariadb11-zlib",
        "mysql8-cli",
        "mariadb10-cli",
        "mariadb11-lib-mariadb-j",
        "mariadb11-lib-mysql-async",
        "mariadb11-lib-mysqlclient",
    ] {
        let (plugin, salt, answer) = recorded(name).last;
        assert_eq!(Plugin::of(&plugin), Some(Plugin::NativePassword), "{name}");
        assert_eq!(native.hash().check(&salt, &answer), Some(native.clone()), "{name}");
        assert_eq!(native.answer(&salt)[..], answer, "{name}");
    }
    let digest = FastDigest::of(b"sha2pw");
    for name in ["mysql8-sha2-fast", "mysql8-sha2-full"].into_iter().chain(LIBRARIES) {
        let (plugin, salt, answer) = recorded(name).last;
        assert_eq!(Plugin::of(&plugin), Some(Plugin::CachingSha2), "{name}");
        // sqlx hashes in another order: no server lets it in by this.
        assert_eq!(digest.check(&salt, &answer), name != "mysql8-lib-sqlx", "{name}");
    }
    for name in ["mariadb10-ed25519", "mariadb10-lib-pymysql", "mariadb10-lib-mysql-async"] {
        let (plugin, salt, answer) = recorded(name).last;
        assert_eq!(Plugin::of(&plugin), Some(Plugin::ClientEd25519), "{name}");
        assert!(Ed25519Key::of(b"edpw").check(&salt, &answer), "{name}");
    }
}

/// All that were recorded with MySQL, where the server knew their user no more.
const LIBRARIES: [&str; 8] = [
    "mysql8-lib-connector-j",
    "mysql8-lib-go",
    "mysql8-lib-mariadb-j",
    "mysql8-lib-mysql-async",
    "mysql8-lib-mysql2",
    "mysql8-lib-mysqlclient",
    "mysql8-lib-pymysql",
    "mysql8-lib-sqlx",
];

#[test]
fn a_full_leg_by_rsa() {
    for name in ["mysql8-sha2-full"].into_iter().chain(LIBRARIES) {
        let full = recorded(name);
        let [(ask, key), (pem, cipher)] = &full.more[..] else { panic!("{name}: two turns") };
        assert_eq!((&ask[..], key.as_deref()), (&[4][..], Some(&[2][..])), "{name}");
        assert!(PublicKey::from_pem(pem).is_ok(), "{name}");
        assert_eq!(cipher.as_ref().map(BytesMut::len), Some(256), "{name}");
    }
    assert_eq!(recorded("mysql8-sha2-fast").more, [(vec![3], None)]);
}

/// What is written of what was read is what was read.
#[test]
fn greetings_and_logins_are_written_as_they_were() {
    let others = ["mysql8-cli", "mariadb10-cli", "mariadb11-cli", "mariadb10-bulk-modern"];
    for name in others.into_iter().chain(LIBRARIES) {
        let mut out = BytesMut::new();
        Greeting::parse(&Said::of(name, "s2c").packet().expect("a greeting"))
            .expect("it is one")
            .write(&mut out);
        assert_eq!(Some(out), Said::of(name, "s2c").packet(), "{name}");
        let mut out = BytesMut::new();
        let said = Said::of(name, "c2s").packet().expect("a login");
        let login = Login::parse(&said).expect("it is one");
        login.write(3, &mut out);
        assert_eq!(out, said, "{name}");
    }
}

#[test]
fn changes_of_user_are_written_as_they_were() {
    for name in ["mysql8-users", "mariadb10-users", "mariadb11-users"] {
        let Recorded { login, greeting, mut client, .. } = recorded(name);
        let agreed = login.agreed(greeting.capabilities);
        let mut seen = 0;
        while let Some(said) = client.packet() {
            if said.first() == Some(&0x11) {
                let change = ChangeUser::parse(&said[1..], agreed).expect("it is one");
                let mut out = BytesMut::new();
                change.write(agreed, &mut out);
                assert_eq!(out, said, "{name}");
                seen += 1;
            }
        }
        assert!(seen > 0, "{name}");
    }
}

#[test]
fn compressed_connections_are_packets() {
    for name in ["mysql8-zlib", "mysql8-zstd", "mariadb10-zlib", "mariadb11-zlib"] {
        let Recorded { login, greeting, client, server, .. } = recorded(name);
        let algorithm =
            Algorithm::of(login.agreed(greeting.capabilities)).expect("it was asked for");
        let zstd = name.ends_with("zstd");
        assert_eq!(algorithm, if zstd { Algorithm::Zstd } else { Algorithm::Zlib });
        for chunk in [1, 7, 100_000] {
            let asked = unpacked(algorithm, &client.0, chunk);
            let told = unpacked(algorithm, &server.0, chunk);
            assert!(
                asked.iter().any(|body| body.ends_with(b"select repeat('abc', 3000)")),
                "{name}"
            );
            assert_eq!(asked.last().map(|body| &body[..]), Some(&[1][..]), "it left");
            let long = [&[0xfc, 0x28, 0x23][..], &b"abc".repeat(3000)].concat();
            assert!(told.contains(&BytesMut::from(&long[..])), "{name}");
        }
    }
    assert_eq!(Algorithm::of(Capabilities(0)), None);
}

/// The packets' bodies in the frames, which come in pieces of `chunk` bytes.
fn unpacked(algorithm: Algorithm, frames: &[u8], chunk: usize) -> Vec<BytesMut> {
    let mut unpack = Decompressor::new(algorithm);
    let (mut input, mut plain) = (BytesMut::new(), Said(BytesMut::new()));
    for piece in frames.chunks(chunk) {
        input.extend_from_slice(piece);
        while unpack.read(&mut input, &mut plain.0, usize::MAX).expect("frames") {}
    }
    assert!(input.is_empty() && unpack.is_between_frames());
    let bodies: Vec<_> = std::iter::from_fn(|| plain.packet()).collect();
    assert!(plain.0.is_empty());
    bodies
}

/// Recorded bytes, some of them changed, to whoever may be at the other end.
#[test]
fn anything_is_survived() {
    let [told, asked] = ["s2c", "c2s"].map(|direction| Said::of("mysql8-sha2-full", direction).0);
    let (zlib, zstd) = (recorded("mysql8-zlib").server.0, recorded("mysql8-zstd").server.0);
    let ok = b"\x1c\0\0\x01\0\0\0\x02\x40\0\0\0\x13\0\x0e\x0aautocommit\x02ON\x02\x011";
    let pem = recorded("mysql8-sha2-full").more.swap_remove(1).0;
    let seeds: [&[u8]; 8] = [&zlib, &zstd, &told, &told, &asked, &asked, ok, &pem];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % bound as u64).expect("it is below the bound")
    };
    for (how, seed) in (0_u8..).zip(seeds) {
        let mut data = vec![how];
        if matches!(how, 4 | 5) {
            data.push(2);
        }
        data.extend_from_slice(seed);
        hostile::survive(&data);
        for _ in 0..300 {
            let mut data = data.clone();
            for _ in 0..=next(3) {
                let at = 1 + next(data.len() - 1);
                data[at] = next(256).to_le_bytes()[0];
            }
            data.truncate(data.len() - next(data.len()) * next(2));
            hostile::survive(&data);
        }
    }
}
