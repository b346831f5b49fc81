//! What is bounded: exactly the bound passes, one more is refused.

use wiremesh_mysql::{Capabilities, Command, handshake::MAX_HANDSHAKE, wire::HEAD};
use wiremesh_proxy::server::Handle;

use crate::{
    common::{address, block_on, start},
    errors::{connect, refused, say, server},
    mysql,
    peers::{Talk, login},
    pooled::pooled_to,
};

/// What becomes of a login of these bytes: the numbers of the answer's packet and of its error.
async fn logs_in(proxy: &Handle, said: &[u8]) -> Result<(), (u16, String)> {
    let mut talk = connect(proxy).await;
    talk.receive().await.expect("a greeting");
    talk.send(1, said).await.expect("connected");
    // What is refused is refused by the proxy: the server lets everybody in.
    match refused(&mut talk).await {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The number of the error that is the next packet; 0: it is none.
async fn told(talk: &mut Talk) -> u16 {
    let (_, said) = talk.receive().await.expect("an answer");
    if said[0] == 0xff { u16::from_le_bytes([said[1], said[2]]) } else { 0 }
}

/// The packet's length is that of all of it, its head included, in whichever mode and for either kind of login.
#[test]
fn logins() {
    let server = server();
    let transparent = start(mysql(&[server.address]));
    let pooled = start(pooled_to(&[server.address], 1));
    // The server lets everybody in, the proxy nobody of that name, and asks who says to be another how that is proven.
    for (proxy, nobody, other) in [(&transparent, 0, 1047), (&pooled, 1045, 1043)] {
        for (len, first, again) in [(MAX_HANDSHAKE, nobody, 0), (MAX_HANDSHAKE + 1, 1043, other)] {
            block_on(async {
                let mut said = login(0);
                let name = len - HEAD - said.len() + 3;
                said.splice(32..35, vec![b'j'; name]);
                assert_eq!(said.len() + HEAD, len);
                let mut talk = connect(proxy).await;
                talk.receive().await.expect("a greeting");
                talk.send(1, &said).await.expect("connected");
                assert_eq!(told(&mut talk).await, first, "{len}");

                let mut talk = Talk::logged_in(address(proxy), 0).await;
                let rest = b"\0\0\0\x2d\0mysql_native_password\0";
                let name = vec![b'j'; len - HEAD - 1 - rest.len()];
                let said = [&[Command::ChangeUser as u8], &name[..], rest].concat();
                assert_eq!(said.len() + HEAD, len);
                talk.send(0, &said).await.expect("connected");
                assert_eq!(told(&mut talk).await, again, "{len}");
            });
        }
    }
}

#[test]
fn attributes_of_a_connection() {
    const MAX: usize = 64 << 10;
    let server = server();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        for (len, result) in [(MAX, Ok(())), (MAX + 1, Err((1043, "08S01".to_owned())))] {
            let mut said = login(Capabilities::CONNECT_ATTRS.0);
            let lenenc = |len: usize| [&[0xfd][..], &len.to_le_bytes()[..3]].concat();
            // A name of one letter, and the value.
            let value = len - 2 - 4;
            let all = [lenenc(len), b"\x01k".to_vec(), lenenc(value), vec![b'v'; value]];
            said.extend(all.concat());
            assert_eq!(logs_in(&proxy, &said).await, result, "{len}");
        }
    });
}

#[test]
fn columns() {
    let server = server();
    let proxy = start(mysql(&[server.address]));
    block_on(async {
        let mut talk = Talk::logged_in(address(&proxy), 0).await;
        say(&mut talk, "columns 65535").await;
        // Their number, themselves, and two ends.
        for _ in 0..65_535 + 3 {
            let (_, packet) = talk.receive().await.expect("all of it");
            assert_ne!(packet[0], 0xff, "{packet:?}");
        }
        say(&mut talk, "columns 65536").await;
        assert_eq!(refused(&mut talk).await, Some((1815, "HY000".to_owned())));
        assert_eq!(talk.receive().await, None);
    });
}

#[test]
fn prepared_statements_of_a_connection() {
    let server = server();
    let proxy = start(pooled_to(&[server.address], 1));
    block_on(async {
        let mut talk = Talk::logged_in(address(&proxy), 0).await;
        let prepare = [&[Command::StmtPrepare as u8], &b"select 1"[..]].concat();
        let mut error = None;
        let mut count = 0;
        while error.is_none() {
            talk.send(0, &prepare).await.expect("connected");
            let (_, answer) = talk.receive().await.expect("an answer");
            match answer[0] {
                0 => count += 1,
                _ => error = Some(u16::from_le_bytes([answer[1], answer[2]])),
            }
        }
        assert_eq!((count, error), (16_382, Some(1461)));
        // The session goes on, and with one less there is room for one.
        let close = [Command::StmtClose as u8, 1, 0, 0, 0];
        talk.send(0, &close).await.expect("connected");
        talk.send(0, &prepare).await.expect("connected");
        assert_eq!(talk.receive().await.map(|(_, answer)| answer[0]), Some(0));
    });
}
