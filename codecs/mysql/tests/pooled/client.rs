//! A client that was let in, and what it may say.

use std::sync::Arc;

use bytes::BytesMut;
use wiremesh::{
    Credentials, Limits, Password, Peer, Protocol, User, UserSecret,
    correlation::{Arrival, Handshake, Progress, Sessioned},
};
use wiremesh_mysql::{
    Capabilities, Command, Mysql, MysqlFrame,
    handshake::{Attributes, Login},
    pooled::{Accounts, Entrance, Place, Pooled},
    wire::put_packet,
};

use super::server::Server;

/// A client, and what the proxy keeps of it.
pub struct Client {
    pub machine: Pooled,
    /// What it has said, and was not taken.
    pub input: BytesMut,
    /// The request in progress, until it was sent; and whether there is one.
    pub request: Option<MysqlFrame>,
    pub busy: bool,
    /// The rest of what was refused is dropped.
    pub refused: bool,
    pub held: bool,
    pub connection: Option<Connection>,
    /// All that it was told.
    pub told: Vec<u8>,
}

impl Client {
    /// One that wants this of a session, and was let in.
    pub fn new(mysql: &Mysql, wanted: Capabilities) -> Self {
        Self {
            machine: admitted(mysql, wanted),
            input: BytesMut::new(),
            request: None,
            busy: false,
            refused: false,
            held: false,
            connection: None,
            told: Vec::new(),
        }
    }
}

/// An upstream connection. `place` is with the machine of who has it.
pub struct Connection {
    pub lane: u64,
    pub place: Place,
    pub server: Server,
}

/// A command of this kind, of a client that wants this of its session: the mark is in all that it says.
pub fn command(about: u8, mark: &[u8], wanted: Capabilities) -> Vec<u8> {
    use Command as C;
    const CODES: [C; 14] = [
        C::Query,
        C::StmtPrepare,
        C::StmtExecute,
        C::Query,
        C::StmtSendLongData,
        C::StmtClose,
        C::StmtReset,
        C::StmtFetch,
        C::InitDb,
        C::ResetConnection,
        C::SetOption,
        C::ChangeUser,
        C::Ping,
        C::FieldList,
    ];
    let (code, which) = (CODES[usize::from(about & 15) % CODES.len()], usize::from(about >> 4));
    let said = String::from_utf8_lossy(mark);
    let text = [
        format!("select '{said}' from b"),
        format!("insert into a values ('{said}')"),
        format!("select ? /* {said} */"),
        "select ? from shared".into(),
        "begin".into(),
        format!("set @a = '{said}'"),
        "set time_zone = '+01:00'".into(),
        format!("set lc_time_names = '{said}'"),
        "use shop".into(),
        format!("use `{said}`"),
        "show warnings".into(),
        "select last_insert_id()".into(),
        format!("call p('{said}')"),
        "load data local infile 'a' into table b".into(),
        "kill 1".into(),
        format!("/* wiremesh: route=replica */ select '{said}'; select 2"),
    ];
    let mut body = vec![code as u8];
    let id = u32::try_from(1 + which % 4).expect("it is small").to_le_bytes();
    match code {
        C::Query if wanted.has(Capabilities::QUERY_ATTRIBUTES) => {
            body.extend([&[0, 1], text[which].as_bytes()].concat());
        }
        C::Query | C::StmtPrepare => body.extend(text[which].as_bytes()),
        C::InitDb | C::FieldList => body.extend(mark),
        // One parameter, if there is one, with its type: a string.
        C::StmtExecute => {
            let values = [&[0_u8, 1, 0xfd, 0, 4][..], mark].concat();
            let values = if which & 8 == 0 { values } else { Vec::new() };
            body.extend(
                [&id[..], &[which.to_le_bytes()[0] >> 2 & 1, 1, 0, 0, 0], &values].concat(),
            );
        }
        C::StmtSendLongData => body.extend([&id[..], &[0, 0], mark].concat()),
        C::StmtFetch => body.extend([id, [9, 0, 0, 0]].concat()),
        C::StmtClose | C::StmtReset => body.extend(id),
        C::SetOption => body.extend([which.to_le_bytes()[0] & 1, 0]),
        C::ChangeUser => body.extend(b"joe\0\0\0\x2d\0mysql_native_password\0"),
        _ => {}
    }
    let mut packet = BytesMut::new();
    put_packet(&mut packet, 0, &body);
    packet.to_vec()
}

/// Those of one user.
pub fn accounts() -> Arc<Accounts> {
    let user = User {
        name: "joe".into(),
        secret: UserSecret::Known(Password::new("")),
        plugin: Some("mysql_native_password".into()),
        upstream: Credentials { user: "joe".into(), password: Password::new("") },
    };
    Arc::new(Accounts::new(&[user]).expect("it is right"))
}

/// A client that wants this of a session, and was let in.
fn admitted(mysql: &Mysql, wanted: Capabilities) -> Pooled {
    let arrival = Arrival {
        number: 1 << 30,
        random: [7; 64],
        peer: "192.0.2.7:50123".into(),
        tls: false,
        tls_required: false,
        private: false,
    };
    let mut entrance: Entrance = mysql.client_handshake(arrival);
    assert!(matches!(entrance.start(mysql), Progress::Continue(Some(_))));
    let login = Login {
        capabilities: wanted,
        max_packet: 1 << 24,
        collation: 45,
        user: b"joe".to_vec(),
        auth_data: Vec::new(),
        schema: Vec::new(),
        plugin: b"mysql_native_password".to_vec(),
        attributes: Attributes::default(),
    };
    let mut body = BytesMut::new();
    login.write(3, &mut body);
    let mut packet = BytesMut::new();
    put_packet(&mut packet, 1, &body);
    let frame = mysql.decode(Peer::Client, &mut (), &Limits::default(), &mut packet);
    let progress = entrance.on_frame(mysql, frame.expect("it is right").expect("it is whole"));
    assert!(matches!(progress, Progress::Done(Some(_))), "it is let in");
    Pooled::new(&entrance.into_admitted().expect("it is let in"), "8.0.33")
}
