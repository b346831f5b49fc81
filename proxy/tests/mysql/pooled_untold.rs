//! Pooled mode before servers that do not tell what changes in their sessions, since they cannot or will not: each connection
//! is one client's alone, and nobody sees what another has done.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::net::TcpStream;
use wiremesh_mysql::{Capabilities, Command};
use wiremesh_proxy::server::Handle;

use crate::{
    common::{address, block_on, eventually, millis, start, thread::ServerThread},
    peers::{Talk, greeting},
    pooled::pooled_to,
};

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::TRANSACTIONS.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::CONNECT_WITH_DB.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::MULTI_STATEMENTS.0
    | Capabilities::MULTI_RESULTS.0;

/// Why a server tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Untold {
    /// It does not know how.
    Lacks,
    /// It says that it does, and refuses to.
    Refuses,
    /// It says that it will, and does not.
    Forgets,
}

const ALL: [Untold; 3] = [Untold::Lacks, Untold::Refuses, Untold::Forgets];

/// A server whose connections have a state, which `state` shows and which is on no other connection.
struct Server {
    thread: ServerThread,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    /// Statements that are prepared, on all connections.
    prepared: AtomicU64,
    /// What was asked, after the connection's number.
    said: Mutex<Vec<String>>,
}

impl Server {
    fn start(untold: Untold) -> Self {
        let seen = Arc::<Seen>::default();
        let thread = ServerThread::each({
            let seen = Arc::clone(&seen);
            move |stream| {
                let seen = Arc::clone(&seen);
                async move {
                    let number = seen.connections.fetch_add(1, Relaxed) + 1;
                    let mut session = Session::new(stream, untold, seen, number);
                    // A proxy that has gone is no failure of the server's.
                    if session.greet().await.is_some() {
                        while session.serve().await.is_some() {}
                    }
                    session.seen.prepared.fetch_sub(session.prepared.len() as u64, Relaxed);
                }
            }
        });
        Self { thread, seen }
    }

    fn said(&self) -> Vec<String> {
        self.seen.said.lock().expect("not poisoned").clone()
    }
}

struct Session {
    talk: Talk,
    untold: Untold,
    seen: Arc<Seen>,
    number: u64,
    schema: String,
    zone: String,
    variable: String,
    begun: bool,
    /// Text and the schema that it was prepared in.
    prepared: HashMap<u32, (String, String)>,
    last: u32,
}

impl Session {
    fn new(stream: TcpStream, untold: Untold, seen: Arc<Seen>, number: u64) -> Self {
        Self {
            talk: Talk::new(stream),
            untold,
            seen,
            number,
            schema: String::new(),
            zone: "SYSTEM".into(),
            variable: String::new(),
            begun: false,
            prepared: HashMap::new(),
            last: 0,
        }
    }

    async fn greet(&mut self) -> Option<()> {
        let more = match self.untold {
            Untold::Lacks => 0,
            Untold::Refuses | Untold::Forgets => Capabilities::SESSION_TRACK.0,
        };
        let greeting = greeting(CAPS | more, 7, "mysql_native_password");
        self.talk.send(0, &greeting).await?;
        let (seq, _) = self.talk.receive().await?;
        self.talk.send(seq + 1, &[0, 0, 0, 2, 0, 0, 0]).await
    }

    /// An OK that says this.
    async fn ok(&mut self, seq: u8, more: u8, info: &str) -> Option<()> {
        let status = 2 | u8::from(self.begun) | more;
        let mut body = vec![0, 0, 0, status, 0, 0, 0];
        if !info.is_empty() {
            body.push(u8::try_from(info.len()).expect("it is short"));
        }
        body.extend(info.bytes());
        self.talk.send(seq, &body).await
    }

    async fn serve(&mut self) -> Option<()> {
        let (_, asked) = self.talk.receive().await?;
        let command = Command::of(asked[0]).expect("it is known");
        let text = String::from_utf8_lossy(&asked[1..]).into_owned();
        if command == Command::Query || command == Command::ResetConnection {
            let said = format!("{} {} {text}", self.number, command.name());
            self.seen.said.lock().expect("not poisoned").push(said);
        }
        let id = |asked: &[u8]| u32::from_le_bytes(asked[1..5].try_into().expect("an id"));
        match command {
            Command::Quit => None,
            Command::Query => self.query(&text).await,
            Command::InitDb if text == "nowhere" => self.talk.error(1, 1049, "42000").await,
            Command::InitDb => {
                self.schema = text;
                self.ok(1, 0, "").await
            }
            Command::StmtPrepare => {
                self.last += 1;
                self.seen.prepared.fetch_add(1, Relaxed);
                self.prepared.insert(self.last, (text, self.schema.clone()));
                let mut head = vec![0];
                head.extend(self.last.to_le_bytes());
                head.extend([0; 7]);
                self.talk.send(1, &head).await
            }
            Command::StmtExecute => match self.prepared.get(&id(&asked)) {
                Some((text, schema)) => {
                    let info = format!("{text} in {schema:?}");
                    self.ok(1, 0, &info).await
                }
                None => self.talk.error(1, 1243, "HY000").await,
            },
            Command::StmtClose => {
                let known = self.prepared.remove(&id(&asked)).is_some();
                self.seen.prepared.fetch_sub(u64::from(known), Relaxed);
                Some(())
            }
            // As of servers that are too old for it.
            Command::ResetConnection => self.talk.error(1, 1047, "08S01").await,
            _ => self.ok(1, 0, "").await,
        }
    }

    async fn query(&mut self, text: &str) -> Option<()> {
        if text.contains("session_track") && self.untold == Untold::Refuses {
            return self.talk.error(1, 1193, "HY000").await;
        }
        let mut texts = text.split(';').peekable();
        let mut seq = 1;
        while let Some(text) = texts.next() {
            let info = match text.split_once(' ').unwrap_or((text, "")) {
                ("fail", _) => return self.talk.error(seq, 1146, "42S02").await,
                ("use", "nowhere") => return self.talk.error(seq, 1049, "42000").await,
                ("drop", _) => {
                    self.schema.clear();
                    String::new()
                }
                ("state", _) => {
                    let Self { schema, zone, variable, begun, number, .. } = &self;
                    format!("{number}: {schema:?} {zone} {variable:?} {begun}")
                }
                (verb, rest) => {
                    self.changes(verb, rest);
                    String::new()
                }
            };
            self.ok(seq, if texts.peek().is_some() { 8 } else { 0 }, &info).await?;
            seq += 1;
        }
        Some(())
    }

    fn changes(&mut self, verb: &str, rest: &str) {
        match (verb, rest.split_once(" = ")) {
            ("use", _) => self.schema = rest.trim_matches('`').into(),
            ("set", Some(("time_zone", zone))) => self.zone = zone.trim_matches('\'').into(),
            ("set", Some(("@a", value))) => self.variable = value.into(),
            ("begin", _) => self.begun = true,
            ("commit", _) => self.begun = false,
            _ => {}
        }
    }
}

/// A client, and what its session has to be like.
struct Client {
    talk: Talk,
    model: Model,
    /// The upstream connection that it has.
    number: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    schema: &'static str,
    zone: Option<&'static str>,
    variable: &'static str,
    begun: bool,
}

/// What a client does to its session.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(&'static str),
    Use(&'static str),
    Zone(&'static str),
    Variable(&'static str),
    Begin,
    Commit,
    Reset,
    ChangeUser,
}

impl Client {
    async fn connect(proxy: &Handle) -> Self {
        let talk = Talk::logged_in(address(proxy), Capabilities::MULTI_STATEMENTS.0).await;
        Self { talk, model: Model::default(), number: None }
    }

    /// What an OK says, or the error's number. Of several results the last one.
    async fn say(&mut self, command: Command, body: &[u8]) -> Result<String, u16> {
        self.talk.send(0, &[&[command as u8], body].concat()).await.expect("connected");
        loop {
            let (seq, mut answer) = self.talk.receive().await.expect("an answer");
            if answer[0] == 0xfe {
                // No password is an empty answer to any salt.
                self.talk.send(seq + 1, b"").await.expect("connected");
                continue;
            }
            if answer[0] == 0xff {
                return Err(u16::from_le_bytes([answer[1], answer[2]]));
            }
            if answer[3] & 8 == 0 {
                return Ok(String::from_utf8(answer.split_off(answer.len().min(8))).expect("text"));
            }
        }
    }

    async fn ask(&mut self, text: &str) -> Result<String, u16> {
        self.say(Command::Query, text.as_bytes()).await
    }

    async fn prepare(&mut self, text: &str) -> [u8; 4] {
        let said = [&[Command::StmtPrepare as u8], text.as_bytes()].concat();
        self.talk.send(0, &said).await.expect("connected");
        let (_, answer) = self.talk.receive().await.expect("an answer");
        assert_eq!(answer[0], 0, "{answer:?}");
        answer[1..5].try_into().expect("an id")
    }

    async fn execute(&mut self, id: [u8; 4]) -> Result<String, u16> {
        self.say(Command::StmtExecute, &[&id[..], &[0, 1, 0, 0, 0]].concat()).await
    }

    async fn close(&mut self, id: [u8; 4]) {
        let said = [&[Command::StmtClose as u8], &id[..]].concat();
        self.talk.send(0, &said).await.expect("connected");
    }

    /// Does that, and finds its session to be as it should.
    async fn does(&mut self, step: Step) {
        let (command, text) = match step {
            Step::Enter(schema) => (Command::InitDb, schema.to_owned()),
            Step::Use(schema) => (Command::Query, format!("use {schema}")),
            Step::Zone(zone) => (Command::Query, format!("set time_zone = '{zone}'")),
            Step::Variable(value) => (Command::Query, format!("set @a = {value}")),
            Step::Begin => (Command::Query, "begin".into()),
            Step::Commit => (Command::Query, "commit".into()),
            Step::Reset => (Command::ResetConnection, String::new()),
            Step::ChangeUser => {
                (Command::ChangeUser, "joe\0\0\0\x2d\0mysql_native_password\0".into())
            }
        };
        assert_eq!(self.say(command, text.as_bytes()).await, Ok(String::new()), "{step:?}");
        let model = &mut self.model;
        match step {
            Step::Enter(schema) | Step::Use(schema) => model.schema = schema,
            Step::Zone(zone) => model.zone = Some(zone),
            Step::Variable(value) => model.variable = value,
            Step::Begin => model.begun = true,
            Step::Commit => model.begun = false,
            Step::Reset => *model = Model { schema: model.schema, ..Model::default() },
            Step::ChangeUser => *model = Model::default(),
        }
        if matches!(step, Step::Reset | Step::ChangeUser) {
            self.number = None;
        }
        self.looks(&format!("{step:?}")).await;
    }

    async fn looks(&mut self, when: &str) {
        let state = self.ask("state").await.expect("it is told");
        let (number, state) = state.split_once(": ").expect("a number");
        let Model { schema, zone, variable, begun } = self.model;
        let zone = zone.unwrap_or("SYSTEM");
        assert_eq!(state, format!("{schema:?} {zone} {variable:?} {begun}"), "{when}");
        // It keeps the one that it has.
        assert_eq!(self.number.get_or_insert_with(|| number.into()), number, "{when}");
    }
}

fn proxy(server: &Server, connections: usize) -> Handle {
    start(pooled_to(&[server.thread.address], connections))
}

#[test]
fn nobody_sees_what_another_has_done() {
    use Step::{Begin, ChangeUser, Commit, Enter, Reset, Use, Variable, Zone};
    let scripts = [
        &[Enter("one"), Variable("'1'"), Begin, Zone("+01:00"), Use("two"), Reset, Use("one")][..],
        &[Use("two"), Zone("+02:00"), Reset, Begin, Variable("'2'"), ChangeUser, Begin],
        &[Begin, Commit, Zone("+03:00"), Enter("three"), Reset, Reset, Variable("'3'")],
        &[Variable("'4'"), Reset, Use("four"), ChangeUser, Reset, Enter("one"), Begin],
    ];
    for untold in ALL {
        let server = Server::start(untold);
        let proxy = proxy(&server, scripts.len());
        block_on(async {
            for round in 0..4 {
                let mut clients = Vec::new();
                for _ in &scripts {
                    let mut client = Client::connect(&proxy).await;
                    // All that it finds is new, whoever was there before.
                    client.looks("it is new").await;
                    clients.push(client);
                }
                for step in 0..scripts[0].len() {
                    for (number, script) in scripts.iter().enumerate() {
                        let client = (number + round) % clients.len();
                        clients[client].does(script[step]).await;
                    }
                }
                let numbers: std::collections::HashSet<_> =
                    clients.iter().map(|client| client.number.clone()).collect();
                assert_eq!(numbers.len(), clients.len(), "two have one connection");
            }
        });
        // What such a server would answer to that nobody knows.
        assert!(!server.said().iter().any(|said| said.contains("COM_RESET_CONNECTION")));
    }
}

#[test]
fn a_connection_is_held_from_the_first_statement_until_its_client_leaves() {
    for untold in ALL {
        let server = Server::start(untold);
        let mut config = pooled_to(&[server.thread.address], 1);
        config.clusters[0].pending_timeout = millis(200);
        let proxy = start(config);
        block_on(async {
            let (mut one, mut other) =
                (Client::connect(&proxy).await, Client::connect(&proxy).await);
            one.looks("it is the first").await;
            assert_eq!(other.ask("state").await, Err(1203));
            one.looks("it has it still").await;
            drop(one);
            let mut again = other.ask("state").await;
            while again == Err(1203) {
                again = other.ask("state").await;
            }
            assert_eq!(again, Ok("2: \"\" SYSTEM \"\" false".into()));
        });
    }
}

#[test]
fn the_schema_of_a_use_outlives_a_reset() {
    for untold in ALL {
        let server = Server::start(untold);
        let proxy = proxy(&server, 2);
        block_on(async {
            let mut client = Client::connect(&proxy).await;
            for step in
                [Step::Use("one"), Step::Reset, Step::Enter("two"), Step::Reset, Step::Use("`a b`")]
            {
                if let Step::Use("`a b`") = step {
                    // As it is without its quotes.
                    assert_eq!(client.ask("use `a b`").await, Ok(String::new()));
                    client.model.schema = "a b";
                } else {
                    client.does(step).await;
                }
            }
            client.does(Step::Reset).await;
            // What has failed has changed nothing.
            assert_eq!(client.ask("use nowhere").await, Err(1049));
            assert_eq!(client.say(Command::InitDb, b"nowhere").await, Err(1049));
            client.does(Step::Reset).await;
        });
    }
}

#[test]
fn who_is_in_a_schema_that_nobody_knows_is_not_reset() {
    for untold in ALL {
        let server = Server::start(untold);
        let proxy = proxy(&server, 2);
        block_on(async {
            for text in ["use one;use two", "use one;fail", "drop schema two"] {
                let mut client = Client::connect(&proxy).await;
                client.does(Step::Use("two")).await;
                client.does(Step::Variable("'1'")).await;
                let failed = client.ask(text).await.is_err();
                assert_eq!(failed, text.contains("fail"));
                assert_eq!(client.say(Command::ResetConnection, b"").await, Err(1235), "{text}");
                // The session goes on as it was.
                client.model.schema = match text {
                    "use one;use two" => "two",
                    "use one;fail" => "one",
                    _ => "",
                };
                client.looks(text).await;
                // It can say where it wants to be.
                client.does(Step::Use("three")).await;
                client.does(Step::Reset).await;
                client.does(Step::ChangeUser).await;
            }
        });
    }
}

#[test]
fn a_statement_means_what_it_meant_when_it_was_prepared() {
    // More than are kept on a connection that is anybody's.
    const MANY: usize = 70;
    for untold in ALL {
        let server = Server::start(untold);
        let proxy = proxy(&server, 2);
        block_on(async {
            let mut client = Client::connect(&proxy).await;
            let mut prepared = Vec::new();
            for n in 0..MANY {
                let schema = if n % 2 == 0 { "one" } else { "two" };
                match n % 4 < 2 {
                    true => client.does(Step::Use(schema)).await,
                    false => client.does(Step::Enter(schema)).await,
                }
                // By the same text, and by one that is nobody else's.
                for text in ["same".to_owned(), format!("text {n}")] {
                    prepared.push((client.prepare(&text).await, format!("{text} in {schema:?}")));
                }
            }
            for _ in 0..2 {
                for (id, says) in &prepared {
                    assert_eq!(client.execute(*id).await.as_ref(), Ok(says));
                }
                client.does(Step::Use("three")).await;
            }
            // What is closed is closed at the server.
            for (id, _) in prepared.drain(..MANY) {
                client.close(id).await;
            }
            for (id, says) in &prepared {
                assert_eq!(client.execute(*id).await.as_ref(), Ok(says));
            }
            assert_eq!(server.seen.prepared.load(Relaxed), MANY as u64);
            let (gone, _) = prepared[0];
            client.does(Step::Reset).await;
            assert_eq!(client.execute(gone).await, Err(1243));
            eventually("none is prepared any more", || server.seen.prepared.load(Relaxed) == 0)
                .await;
        });
    }
}
