//! Pooled mode (and [transparent](self::transparent)) when something breaks: the upstream is cut off after each packet and within it, or the client is killed, in
//! every kind of reply and in what the proxy itself says before and after. The client gets the right answer, an error in
//! its place, or nothing more; whoever comes next sees nothing of it.

pub mod client;
pub mod server;
mod transparent;

use wiremesh_mysql::Command;
use wiremesh_proxy::{server::Handle, telemetry::EndpointTotals};

use self::{
    client::{Client, End, Step},
    server::Server,
};
use crate::{
    common::{NAME, block_on, eventually, start},
    pooled::pooled_to,
};

/// What one client does while another looks on.
#[derive(Clone)]
struct Script {
    name: &'static str,
    /// The client has no `DEPRECATE_EOF`.
    eof: bool,
    /// What the other has done before that.
    witness: Vec<Step>,
    /// What was done before by the one, ahead of the other.
    before: Vec<Step>,
    /// What is broken off somewhere.
    steps: Vec<Step>,
    /// What is to be found in what the server hears and the client gets.
    expects: &'static [&'static str],
    /// The session is on its connection and nowhere else, at some point.
    ties: bool,
    /// It is so in the end.
    holds: bool,
}

fn script(
    name: &'static str,
    steps: impl Into<Vec<Step>>,
    expects: &'static [&'static str],
) -> Script {
    Script {
        name,
        eof: false,
        witness: Vec::new(),
        before: Vec::new(),
        steps: steps.into(),
        expects,
        ties: false,
        holds: false,
    }
}

impl Script {
    fn after(self, before: impl Into<Vec<Step>>) -> Self {
        Self { before: before.into(), ..self }
    }

    fn beside(self, witness: impl Into<Vec<Step>>) -> Self {
        Self { witness: witness.into(), ..self }
    }

    fn ties(self) -> Self {
        Self { ties: true, ..self }
    }

    fn holds(self) -> Self {
        Self { ties: true, holds: true, ..self }
    }
}

const PREPARE: Step = Step::Command(Command::StmtPrepare, "select rows from one where a = ?");
const RESET: Step = Step::Command(Command::ResetConnection, "");
const STATE: Step = Step::Query("select state from one");
const PIN: Step = Step::Query("set @a = mine");

fn scripts() -> Vec<Script> {
    use Step::{Close, Execute, Fetch, Long, Query};
    let update = Query("update one set a = 1");
    let all = [
        script("OK", [update.clone()], &["one"]),
        script(
            "error, and the reset behind it",
            [Query("select fail from one"), update.clone()],
            &["no one", "COM_RESET_CONNECTION"],
        ),
        script("rows", [Query("select rows from one")], &["one row 2"]),
        script("no rows", [Query("select none from one")], &[]),
        script("a long row", [Query("select long from one")], &["llll"]),
        script("an error behind rows", [Query("select midway from one"), update], &["no one"]),
        script("results", [Query("call many(one)")], &["one row 1"]).holds(),
        script("prepared", [PREPARE, Execute(0), Execute(0), Close], &["one row 2, 0 long"]),
        script("a cursor", [Execute(1), Fetch(2), Fetch(2)], &["one row 0", "one row 2"])
            .after([PREPARE])
            .ties(),
        script("a cursor that stays", [Execute(1), Fetch(2)], &["one row 1"])
            .after([PREPARE])
            .holds(),
        script("long data", [Long(10), Long(5), Execute(0)], &["15 long"]).after([PREPARE]).ties(),
        script(
            "a file",
            [Step::File("load data local infile 'one' into table t", &[10, 5])],
            &["one: 15 bytes"],
        ),
        script(
            "small ones",
            [
                Step::Command(Command::Ping, ""),
                Step::Command(Command::Statistics, ""),
                Step::ResetStatement,
            ],
            &["Uptime"],
        )
        .after([PREPARE]),
        script("fields", [Step::Command(Command::FieldList, "one\0")], &["\u{3}one"]),
        script("processes", [Step::Command(Command::ProcessInfo, "")], &["7 joe", "8 joe"]),
        script("an option", [Step::Command(Command::SetOption, "\0\0")], &["COM_SET_OPTION"]),
        script("a schema", [Step::Command(Command::InitDb, "shop"), STATE], &["\"shop\""]),
        script("a pin", [PIN, STATE], &["\"mine\""]).holds(),
        script("a pin that is reset", [PIN, RESET, STATE], &["\"SYSTEM\" \"\""]).ties(),
        script("a pin, and another user", [PIN, Step::ChangeUser, STATE], &["\"SYSTEM\" \"\""])
            .ties(),
        script(
            "what is set",
            [Query("use shop"), Query("set time_zone = '+01:00'"), STATE],
            &["\"shop\" \"+01:00\""],
        ),
        script(
            "what goes before",
            [STATE, STATE],
            &[
                "COM_INIT_DB shop",
                "COM_QUERY SET @@session.time_zone='+05:00'",
                "\"shop\" \"+05:00\" \"\"",
            ],
        )
        .after([Query("use shop"), Query("set time_zone = '+05:00'")])
        .beside([Query("use other"), Query("set time_zone = '-03:00'")]),
        script("what is prepared before", [Execute(0)], &["COM_STMT_PREPARE", "one row 2"])
            .after([PREPARE])
            .beside([PIN, RESET]),
    ];
    // Where it makes a difference.
    let rows = all.iter().filter(|script| {
        let first = [
            "rows",
            "no rows",
            "an error behind rows",
            "prepared",
            "a cursor",
            "fields",
            "an option",
        ];
        first.contains(&script.name)
    });
    let with_eof = rows.map(|script| Script { eof: true, ..script.clone() });
    with_eof.chain(all.iter().cloned()).collect()
}

/// What a session is like.
#[derive(Clone, Default)]
struct Model {
    schema: String,
    zone: Option<String>,
    variable: String,
}

impl Model {
    /// After these steps.
    fn after(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Command(Command::ResetConnection, _) => {
                    *self = Self { schema: self.schema.clone(), ..Self::default() }
                }
                Step::ChangeUser => *self = Self::default(),
                Step::Command(Command::InitDb, schema) => self.schema = (*schema).into(),
                Step::Query(text) => {
                    if let Some(schema) = text.strip_prefix("use ") {
                        self.schema = schema.into();
                    } else if let Some(value) = text.strip_prefix("set @a = ") {
                        self.variable = value.into();
                    } else if text.starts_with("set time_zone") {
                        self.zone = text.split('\'').nth(1).map(Into::into);
                    }
                }
                _ => {}
            }
        }
    }

    /// As the server tells it.
    fn row(&self, tag: &str) -> String {
        let zone = self.zone.as_deref().unwrap_or("SYSTEM");
        format!("{tag}: {:?} {zone:?} {:?}", self.schema, self.variable)
    }
}

/// A proxy with one connection for two clients, of which one does what the script says.
struct Stage<'a> {
    script: &'a Script,
    server: Server,
    proxy: Handle,
    one: Option<Client>,
    witness: Client,
    /// What the session of the one is like, and of the other.
    model: Model,
    seen: Model,
}

impl<'a> Stage<'a> {
    async fn set(script: &'a Script) -> Self {
        let server = Server::start();
        let proxy = start(pooled_to(&[server.thread.address], 1));
        let mut one = Client::connect(&proxy, script.eof).await;
        let mut witness = Client::connect(&proxy, false).await;
        let (mut model, mut seen) = (Model::default(), Model::default());
        for (client, model, steps) in
            [(&mut one, &mut model, &script.before), (&mut witness, &mut seen, &script.witness)]
        {
            for step in steps {
                assert!(matches!(client.step(step, None).await, End::Answered(_)), "{step:?}");
            }
            model.after(steps);
        }
        if !script.witness.is_empty() {
            // A reset is over by then.
            let state = witness.ask("select state from witness").await;
            assert_eq!(state, Some(Ok(seen.row("witness"))), "{}", script.name);
        }
        one.count();
        Self { script, server, proxy, one: Some(one), witness, model, seen }
    }

    /// The client does all, of which it gets what is right; or what else becomes of it.
    async fn act(&mut self, right: Option<&[Vec<Vec<u8>>]>) -> Vec<End> {
        let mut ends = Vec::new();
        let one = self.one.as_mut().expect("it is there");
        for (number, step) in self.script.steps.iter().enumerate() {
            let end = one.step(step, right.map(|right| &right[number][..])).await;
            let answered = matches!(end, End::Answered(_));
            ends.push(end);
            if !answered {
                break;
            }
            self.model.after(std::slice::from_ref(step));
        }
        ends
    }

    /// The proxy knows of all that has happened to its connections.
    async fn settled(&self) {
        eventually("the proxy knows what is closed", || {
            let totals = self.proxy.metrics().snapshot();
            let address = self.server.thread.address.to_string();
            let active =
                totals.endpoint(NAME, &address).map_or(0, EndpointTotals::connections_active);
            active == self.server.wire.open()
        })
        .await;
    }

    /// Only so many clients are left.
    async fn clients(&self, count: u64) {
        eventually("the proxy knows who has left", || {
            let totals = self.proxy.metrics().snapshot();
            totals.listener(NAME).is_some_and(|listener| listener.connections_active() == count)
        })
        .await;
    }

    /// The other has its session as it was.
    async fn bear_witness(&mut self, may_fail: bool) {
        let state = "select state from witness";
        let mut answer = self.witness.ask(state).await;
        if may_fail && matches!(answer, Some(Err(_))) {
            self.settled().await;
            answer = self.witness.ask(state).await;
        }
        assert_eq!(answer, Some(Ok(self.seen.row("witness"))), "{}", self.script.name);
        let rows = self.witness.ask("select rows from witness").await;
        assert_eq!(rows, Some(Ok("witness row 2".into())), "{}", self.script.name);
        // Somebody new finds nothing, either.
        let mut new = Client::connect(&self.proxy, false).await;
        let answer = new.ask(state).await;
        assert_eq!(answer, Some(Ok(Model::default().row("witness"))), "{}", self.script.name);
    }
}

/// What is right, and how long what was said is: the server's packets, and the client's both ways.
struct Rehearsal {
    right: Vec<Vec<Vec<u8>>>,
    server: Vec<usize>,
    client: Vec<usize>,
}

async fn rehearse(script: &Script) -> Rehearsal {
    let mut stage = Stage::set(script).await;
    stage.server.wire.listen();
    let ends = stage.act(None).await;
    let client = stage.one.as_ref().expect("it is there").lengths.clone();
    let right: Vec<_> = ends
        .into_iter()
        .map(|end| match end {
            End::Answered(packets) => packets,
            end => panic!("{}: {end:?}", script.name),
        })
        .collect();
    if script.holds {
        stage.one = None;
        stage.clients(1).await;
    }
    // What else the server says until the other is served belongs to it, too.
    stage.bear_witness(false).await;
    let (server, heard) = stage.server.wire.listened();
    let got = right.iter().flatten().map(|packet| String::from_utf8_lossy(packet).into_owned());
    let all: Vec<_> = heard.into_iter().chain(got).collect();
    for expected in script.expects {
        assert!(all.iter().any(|it| it.contains(expected)), "{}: {expected}: {all:?}", script.name);
    }
    Rehearsal { right, server, client }
}

/// Before each packet, within it, and behind the last.
fn places(lengths: &[usize]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    for len in lengths {
        places.extend([at, at + len / 2]);
        at += len;
    }
    places.push(at);
    places.dedup();
    places
}

/// The server's connection is cut off there.
async fn cut(script: &Script, rehearsal: &Rehearsal, place: usize) {
    let name = format!("{}, at {place}, eof: {}", script.name, script.eof);
    let mut stage = Stage::set(script).await;
    stage.server.wire.cut_after(place);
    let ends = stage.act(Some(&rehearsal.right)).await;
    let may_fail = !stage.server.wire.is_cut();
    stage.settled().await;
    match ends.last().expect("there are steps") {
        End::Answered(_) | End::Closed => {}
        End::Error(number, text) => {
            assert!([1158, 3168].contains(number), "{name}: {number} {text}");
            // What was only there is lost, and with it the session; otherwise that is what it was.
            let state = stage.one.as_mut().expect("it is there").ask("select state from one").await;
            match state {
                None => assert!(script.ties, "{name}: it was closed after {number} {text}"),
                Some(state) => assert_eq!(state, Ok(stage.model.row("one")), "{name}"),
            }
        }
        End::Killed => panic!("{name}: it is killed"),
    }
    if script.holds {
        stage.one = None;
        stage.clients(1).await;
    }
    stage.bear_witness(may_fail).await;
    stage.settled().await;
    assert!(stage.server.wire.is_cut(), "{name}");
    if let Some(one) = &mut stage.one
        && matches!(ends.last(), Some(End::Answered(_)))
        && let Some(state) = one.ask("select state from one").await
    {
        assert_eq!(state, Ok(stage.model.row("one")), "{name}");
    }
}

#[test]
fn an_upstream_cut_off_anywhere() {
    let mut count = 0;
    for script in scripts() {
        block_on(async {
            let rehearsal = rehearse(&script).await;
            for place in places(&rehearsal.server) {
                println!("{}, at {place}, eof: {}", script.name, script.eof);
                cut(&script, &rehearsal, place).await;
                count += 1;
            }
        });
    }
    println!("{count} places");
}

#[test]
fn a_client_killed_anywhere() {
    let mut count = 0;
    for script in scripts() {
        block_on(async {
            let rehearsal = rehearse(&script).await;
            for place in places(&rehearsal.client) {
                println!("{}, at {place}, eof: {}", script.name, script.eof);
                let mut stage = Stage::set(&script).await;
                stage.one.as_mut().expect("it is there").kill_after(place);
                let ends = stage.act(Some(&rehearsal.right)).await;
                let last = ends.last().expect("there are steps");
                assert!(
                    matches!(last, End::Answered(_) | End::Killed),
                    "{}: {last:?}",
                    script.name
                );
                stage.one = None;
                stage.bear_witness(false).await;
                stage.clients(1).await;
                count += 1;
            }
        });
    }
    println!("{count} places");
}
