//! The tables of commands and capabilities of the documentation say what is done.

use std::collections::BTreeMap;

use wiremesh::correlation::{Attachment, Hold, Ready, SessionMachine};
use wiremesh_mysql::{
    Command,
    pooled::{Place, Pooled},
};

use super::*;

const PAGE: &str = include_str!("../../../../docs/protocols/mysql.md");

/// The cells of the rows of a table, which is the first under this heading.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).expect("there is the heading");
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.map(cells).collect()
}

/// The names in the first cell of each row, with what its other cells say.
fn by_name(heading: &str) -> BTreeMap<String, Vec<&'static str>> {
    let mut all = BTreeMap::new();
    for row in table(heading) {
        let (names, rest) = row.split_first().expect("a row has cells");
        assert!(rest.iter().all(|cell| !cell.is_empty()), "{names}: each cell says something");
        for name in names.split(", ") {
            let before = all.insert(name.trim_matches('`').to_owned(), rest.to_vec());
            assert!(before.is_none(), "{name} has two rows");
        }
    }
    all
}

/// All codes of MySQL's commands.
const CODES: [u8; 34] = {
    let mut codes = [0; 34];
    let mut at = 0;
    while at < codes.len() {
        codes[at] = Command::ALL[at].0 as u8;
        at += 1;
    }
    codes
};

const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];
/// Statement 7, without parameters and columns to tell of.
const PREPARED: [u8; 12] = [0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A result with a cursor, and that with its last row.
const CURSOR: [u8; 7] = [0xfe, 0, 0, 0x42, 0, 0, 0];
const FETCHED: [u8; 7] = [0xfe, 0, 0, 0x42, 0, 0, 0];
const OK_OF_ROWS: [u8; 7] = [0xfe, 0, 0, 2, 0, 0, 0];
const COLUMN: &[u8] = b"\x03def\0\0\0\x011\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";

/// A client that was let in, in a schema.
struct Session {
    mysql: Mysql,
    machine: Pooled,
    agreed: Capabilities,
    /// It has a connection.
    has: bool,
}

impl Session {
    fn new() -> Self {
        let accounts = accounts(&[known("joe", "pw", NATIVE)]);
        let client = client("joe", "pw", Capabilities(0), false);
        let (mut admitted, logged_in) = logged_in(log_in(&accounts, arrival(), client));
        admitted.schema = b"shop".to_vec();
        let machine = Pooled::new(&admitted, "8.0.33");
        let mysql = Mysql::default();
        Self { mysql, machine, agreed: logged_in.established.agreed, has: false }
    }

    /// The client sends this command: what becomes of it, and whether the connection is held, as the table has it. `answer`: the
    /// packets of a server's reply, if the request gets there.
    fn says(&mut self, said: &[u8], answer: &[&[u8]]) -> (String, &'static str) {
        let mut input = BytesMut::new();
        put_packet(&mut input, 0, said);
        let (limits, from) = (Limits::default(), Peer::Client);
        let taken = self.machine.take(&self.mysql, from, &mut (), &limits, &mut input);
        let frame = taken.expect("it is right").expect("it is whole");
        match self.machine.on_request(&self.mysql, &frame) {
            Attachment::Upstream | Attachment::UpstreamNoReply => self.goes(&frame, answer),
            Attachment::Answered => match self.machine.answer() {
                Some(answer) if answer.bytes()[HEAD] == 0xff => (refused(&answer), "-"),
                Some(_) => ("is answered by the proxy".into(), "-"),
                None => ("is taken by the proxy".into(), "-"),
            },
            Attachment::Quit => ("is taken by the proxy".into(), "-"),
            Attachment::Reset | Attachment::Cancel(_) => ("is answered by the proxy".into(), "-"),
            other => panic!("{other:?}"),
        }
    }

    fn goes(&mut self, frame: &MysqlFrame, answer: &[&[u8]]) -> (String, &'static str) {
        if !std::mem::replace(&mut self.has, true) {
            self.machine.attach(Place::new(self.agreed, b"8.0.33", 7, true, false));
        }
        let mut sent = frame.clone();
        loop {
            match self.machine.prepare(&self.mysql, &mut sent) {
                Ready::Send => break,
                Ready::First(first) => {
                    let prepares = first.bytes().contains(&(Command::StmtPrepare as u8));
                    let reply: &[u8] = if prepares { &PREPARED } else { &OK };
                    assert!(matches!(self.hears(&[reply]).1, Hold::Prepared));
                }
                Ready::Answer(answer) => return (refused(&answer.expect("an error")), "-"),
                Ready::Elsewhere => panic!("there is one server"),
            }
        }
        let mut same = sent.bytes() == frame.bytes();
        let hold = match answer {
            [] => self.machine.let_go(&self.mysql),
            packets => {
                let (given, hold) = self.hears(packets);
                same &= given;
                hold
            }
        };
        let holds = match hold {
            Hold::Held => "yes",
            Hold::Release { reset: None } => {
                self.machine.detach();
                self.has = false;
                "no"
            }
            _ => panic!("the connection is lost"),
        };
        (if same { "passes" } else { "is transcoded" }.into(), holds)
    }

    /// The server's reply: whether the client is given the same.
    fn hears(&mut self, packets: &[&[u8]]) -> (bool, Hold<Mysql>) {
        let mut input = BytesMut::new();
        for (seq, packet) in (1..).zip(packets) {
            put_packet(&mut input, seq, packet);
        }
        let (said, mut given) = (input.clone(), BytesMut::new());
        let limits = Limits::default();
        loop {
            let from = Peer::Upstream;
            let taken = self.machine.take(&self.mysql, from, &mut (), &limits, &mut input);
            let frame = taken.expect("it is right").expect("there is more");
            given.extend_from_slice(frame.bytes());
            match self.machine.on_reply(&self.mysql, &frame) {
                Hold::Pending => {}
                hold => return (given == said, hold),
            }
        }
    }
}

fn refused(answer: &MysqlFrame) -> String {
    let body = &answer.bytes()[HEAD..];
    assert_eq!(body[0], 0xff);
    format!("is refused: {}", u16::from_le_bytes([body[1], body[2]]))
}

/// What a session does before the command, what the command says, and what a server answers.
type Scene = (Vec<(&'static [u8], Vec<&'static [u8]>)>, &'static [u8], Vec<&'static [u8]>);

fn scene(command: Option<Command>) -> Scene {
    use Command as C;
    const SELECT: &[u8] = b"\x16select a from b where c = ?";
    let prepared = || vec![(SELECT, vec![&PREPARED[..]])];
    let cursor = || {
        let execute: &[u8] = b"\x17\x01\0\0\0\x01\x01\0\0\0";
        vec![(SELECT, vec![&PREPARED[..]]), (execute, vec![b"\x01", COLUMN, &CURSOR])]
    };
    let ok = || vec![&OK[..]];
    let rows = || vec![b"\x01", COLUMN, &OK_OF_ROWS[..]];
    match command {
        None => (vec![], b"\x50abc", ok()),
        Some(C::InitDb) => (vec![], b"\x02shop", ok()),
        Some(C::Query) => (vec![], b"\x03delete from a", ok()),
        Some(C::FieldList) => (vec![], b"\x04a\0", vec![COLUMN, &OK_OF_ROWS]),
        Some(C::Statistics) => (vec![], b"\x09", vec![b"Uptime: 1"]),
        Some(C::ProcessInfo) => (vec![], b"\x0a", rows()),
        Some(C::ProcessKill) => (vec![], b"\x0c\x07\0\0\x40", ok()),
        Some(C::ChangeUser) => (vec![], b"\x11joe\0\0\0\x2d\0mysql_native_password\0", ok()),
        Some(C::StmtPrepare) => (vec![], SELECT, vec![&PREPARED]),
        Some(C::StmtExecute) => (prepared(), b"\x17\x01\0\0\0\0\x01\0\0\0", rows()),
        Some(C::StmtSendLongData) => (prepared(), b"\x18\x01\0\0\0\0\0long", vec![]),
        Some(C::StmtClose) => (prepared(), b"\x19\x01\0\0\0", vec![]),
        Some(C::StmtReset) => (prepared(), b"\x1a\x01\0\0\0", ok()),
        Some(C::StmtFetch) => (cursor(), b"\x1c\x01\0\0\0\x01\0\0\0", vec![&FETCHED]),
        Some(C::StmtBulkExecute) => {
            (prepared(), b"\xfa\x01\0\0\0\x80\0\x08\0\0\x07\0\0\0\0\0\0\0", ok())
        }
        Some(C::SetOption) => (vec![], b"\x1b\x01\0", vec![&OK_OF_ROWS]),
        Some(other) => {
            // Nothing that matters stands behind their codes.
            let code = CODES.iter().position(|code| *code == other as u8).expect("a code");
            (vec![], &CODES[code..=code], ok())
        }
    }
}

#[test]
fn each_command_is_done_with_as_documented() {
    let mut documented = by_name("### Commands in pooled mode");
    let all = Command::ALL.map(|(command, name)| (Some(command), name));
    for (command, name) in all.into_iter().chain([(None, "all others")]) {
        let row = documented.remove(name).unwrap_or_else(|| panic!("{name} has no row"));
        let (before, said, answer) = scene(command);
        let mut session = Session::new();
        for (said, answer) in before {
            session.says(said, &answer);
        }
        let (becomes, holds) = session.says(said, &answer);
        assert_eq!(row[0], becomes, "{name}");
        // Behind the word there may be what else it depends on.
        assert_eq!(row[1].split(',').next(), Some(holds), "{name}");
    }
    assert!(documented.is_empty(), "there are no such commands: {documented:?}");
}

/// What the proxy asks a server for that offers everything, on behalf of clients that have these.
fn asked(of_clients: Capabilities, tls: bool, mysql: bool) -> Capabilities {
    let accounts = accounts(&[known("joe", "pw", NATIVE)]);
    let all = Capabilities(u64::from(u32::MAX) | 0x3f << 32);
    let offered = if mysql { all } else { all.without(Capabilities::CLIENT_MYSQL) };
    let key = accounts.account(0).expect("there is one").upstream.key();
    let departure = Departure { random: [0; 64], tls, private: false };
    let mut login = UpstreamLogin::new(&accounts, Lane::new(key, of_clients), &departure);
    let mut step = login.on_frame(&Mysql::default(), greeting("8.0.33", offered));
    if let Progress::StartTls(_) = step {
        step = login.on_secured(&Mysql::default());
    }
    let Progress::Continue(Some(said)) = step else { panic!("it logs in") };
    Login::parse(&said.bytes()[HEAD..]).expect("it is a login").capabilities
}

/// What clients are offered.
fn offered(tls: bool) -> Capabilities {
    let accounts = accounts(&[known("joe", "pw", NATIVE)]);
    let mut entrance = Entrance::new(accounts, "8.0.33", Arrival { tls, ..arrival() });
    let Progress::Continue(Some(said)) = entrance.start(&Mysql::default()) else {
        panic!("it greets")
    };
    Greeting::parse(&said.bytes()[HEAD..]).expect("it is a greeting").capabilities
}

#[test]
fn each_capability_is_offered_and_asked_for_as_documented() {
    let mut documented = by_name("### Capabilities in pooled mode");
    let (none, all) = (Capabilities(0), Capabilities(u64::MAX));
    for (flag, name) in Capabilities::NAMES {
        let row = documented.remove(*name).unwrap_or_else(|| panic!("{name} has no row"));
        let clients = match (offered(false).has(*flag), offered(true).has(*flag)) {
            (true, true) => "yes",
            (false, true) => "with TLS",
            (false, false) => "no",
            (true, false) => panic!("{name}: TLS takes nothing away"),
        };
        // MariaDB's own there are only where the server does not say that it is MySQL.
        let asks =
            |of, tls| [true, false].into_iter().any(|mysql| asked(of, tls, mysql).has(*flag));
        let servers = match (asks(none, false), asks(all, false), asks(none, true)) {
            (true, true, _) => "yes",
            (false, true, _) => "as the client",
            (false, false, true) => "with TLS",
            (false, false, false) => "no",
            (true, false, _) => panic!("{name}: clients take nothing away"),
        };
        assert_eq!(row[..2], [clients, servers], "{name}");
    }
    assert!(documented.is_empty(), "there are no such capabilities: {documented:?}");
}
