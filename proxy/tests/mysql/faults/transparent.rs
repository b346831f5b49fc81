//! Transparent mode when something breaks: what a client gets is what the server has said, and then an error between packets, or
//! within one the end. The other leg is closed, and nobody else is touched.

use wiremesh_mysql::{Command, reply::Shape};
use wiremesh_proxy::{server::Handle, telemetry::ListenerTotals};

use super::{
    Model, PREPARE, STATE, Script,
    client::{Client, End, Step},
    places, script,
    server::Server,
};
use crate::{
    common::{NAME, block_on, eventually, start},
    mysql,
};

/// Those of pooled mode that are about one client, and what only a client's own connection has.
fn scripts() -> Vec<Script> {
    let ours = ["error, and the reset behind it"];
    let mut all = super::scripts();
    all.retain(|script| script.witness.is_empty() && !ours.contains(&script.name));
    all.extend([
        script("a login", [Step::LogIn("joe"), STATE], &["one: "]),
        script("a login with its password", [Step::LogIn("ann"), STATE], &["BEGIN PUBLIC KEY"]),
        script("a login that is denied", [Step::LogIn("eve")], &["no eve"]),
        script("an error", [Step::Query("select fail from one"), STATE], &["no one"]),
        script("what is prepared", [PREPARE], &["COM_STMT_PREPARE"]),
        script("another user", [Step::ChangeUser, STATE], &["\"\" \"SYSTEM\""])
            .after([Step::Query("use shop")]),
        script("what it knows", [Step::Command(Command::Debug, "")], &["COM_DEBUG"]),
    ]);
    let both = ["a login", "what is prepared", "processes", "results"];
    let rows = all.iter().filter(|script| both.contains(&script.name));
    let with_eof: Vec<_> = rows.map(|script| Script { eof: true, ..script.clone() }).collect();
    all.extend(with_eof);
    all
}

/// What is right, and how long what was said is: the server's packets for each step, and the client's both ways.
struct Rehearsal {
    right: Vec<Vec<Vec<u8>>>,
    server: Vec<Vec<usize>>,
    client: Vec<usize>,
}

/// How a conversation may go on where the server's connection ends.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In the middle of a packet of this step's answer.
    Within(usize),
    /// Between two of its packets, or before the first.
    Between(usize),
    /// Before this step, behind all that was said before.
    Idle(usize),
}

impl Rehearsal {
    fn place(&self, place: usize) -> Place {
        let mut at = 0;
        for (step, lengths) in self.server.iter().enumerate() {
            if at == place && at > 0 {
                return Place::Idle(step);
            }
            for len in lengths {
                if at == place {
                    return Place::Between(step);
                }
                at += len;
                if place < at {
                    return Place::Within(step);
                }
            }
        }
        Place::Idle(self.server.len())
    }
}

/// A proxy, a server and somebody else who talks to it.
struct Stage {
    server: Server,
    proxy: Handle,
    witness: Client,
    seen: Model,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start();
        let proxy = start(mysql(&[server.thread.address]));
        let mut witness = Client::open(&proxy, false).await;
        let mut seen = Model::default();
        let steps = [Step::LogIn("joe"), Step::Query("use shop"), Step::Query("set @a = mine")];
        for step in &steps {
            assert!(matches!(witness.step(step, None).await, End::Answered(_)));
        }
        seen.after(&steps);
        Self { server, proxy, witness, seen }
    }

    /// A client that has done what comes before.
    async fn client(&self, script: &Script) -> Client {
        let mut client = Client::open(&self.proxy, script.eof).await;
        let logs_in = matches!(script.steps[0], Step::LogIn(_));
        let login = (!logs_in).then_some(Step::LogIn("joe"));
        for step in login.iter().chain(&script.before) {
            let end = client.step(step, None).await;
            assert!(matches!(end, End::Answered(_)), "{}: {step:?}: {end:?}", script.name);
        }
        client.count();
        client
    }

    async fn rehearse(&mut self, script: &Script) -> Rehearsal {
        let mut client = self.client(script).await;
        let (mut right, mut server, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for step in &script.steps {
            // A server that greets has begun before it is asked.
            if !matches!(step, Step::LogIn(_)) {
                self.server.wire.listen();
            }
            match client.step(step, None).await {
                End::Answered(packets) => right.push(packets),
                end => panic!("{}: {step:?}: {end:?}", script.name),
            }
            let (lengths, heard) = self.server.wire.listened();
            server.push(match step {
                Step::LogIn(_) => right[0].iter().map(|packet| packet.len() + 4).collect(),
                _ => lengths,
            });
            all.extend(heard);
        }
        let got = right.iter().flatten().map(|packet| String::from_utf8_lossy(packet).into_owned());
        all.extend(got);
        for expected in script.expects {
            let found = all.iter().any(|it| it.contains(expected));
            assert!(found, "{}: {expected}: {all:?}", script.name);
        }
        Rehearsal { right, server, client: client.lengths.clone() }
    }

    /// The client does all, of which it gets what is right; or what else becomes of it.
    async fn act(client: &mut Client, script: &Script, rehearsal: &Rehearsal) -> (usize, End) {
        let mut last = (0, End::Answered(Vec::new()));
        for (number, step) in script.steps.iter().enumerate() {
            last = (number, client.step(step, Some(&rehearsal.right[number])).await);
            if !matches!(last.1, End::Answered(_)) {
                break;
            }
        }
        last
    }

    /// The server's connection is cut off there.
    async fn cut(&mut self, script: &Script, rehearsal: &Rehearsal, place: usize) {
        let name = format!("{}, at {place}, eof: {}", script.name, script.eof);
        println!("{name}");
        let mut client = match script.steps[0] {
            Step::LogIn(_) => {
                self.server.wire.cut_after(place);
                self.client(script).await
            }
            _ => {
                let client = self.client(script).await;
                self.server.wire.cut_after(place);
                client
            }
        };
        let (step, end) = Self::act(&mut client, script, rehearsal).await;
        let place = rehearsal.place(place);
        // Of one that has no answer the client hears nothing, whatever becomes of it.
        let answers = |step: &Step| match step {
            Step::Command(command, _) => Shape::of(Some(*command)) != Shape::None,
            Step::Close | Step::Long(_) => false,
            _ => true,
        };
        let next = |from: usize| (from..script.steps.len()).find(|at| answers(&script.steps[*at]));
        match (&place, &end) {
            (Place::Within(at), End::Closed) => assert_eq!(step, *at, "{name}"),
            // Of what was cut off nothing has reached the client.
            (Place::Within(at) | Place::Between(at), End::Error(1158, text)) => {
                assert_eq!(step, *at, "{name}");
                assert!(text.contains("wiremesh U"), "{name}: {text}");
            }
            (Place::Idle(at), End::Closed | End::Error(1158, _)) => {
                assert_eq!(Some(step), next(*at), "{name}");
            }
            (Place::Idle(at), End::Answered(_)) => assert_eq!(next(*at), None, "{name}"),
            // What it was sending then goes nowhere, and is not over.
            (Place::Between(at), End::Closed) if matches!(script.steps[*at], Step::File(..)) => {}
            _ => panic!("{name}: {place:?}: {end:?}"),
        }
        assert!(client.closed().await, "{name}: it goes on after {end:?}");
        eventually("it is cut off", || self.server.wire.is_cut()).await;
        self.bear_witness(&name).await;
    }

    async fn kill(&mut self, script: &Script, rehearsal: &Rehearsal, place: usize) {
        let name = format!("{}, at {place}, eof: {}", script.name, script.eof);
        println!("{name}");
        let mut client = self.client(script).await;
        client.kill_after(place);
        let (_, end) = Self::act(&mut client, script, rehearsal).await;
        assert!(matches!(end, End::Answered(_) | End::Killed), "{name}: {end:?}");
        drop(client);
        self.bear_witness(&name).await;
    }

    /// The other has its session as it was.
    async fn bear_witness(&mut self, name: &str) {
        let answer = self.witness.ask("select state from witness").await;
        assert_eq!(answer, Some(Ok(self.seen.row("witness"))), "{name}");
    }

    /// Nobody else is there, on either side.
    async fn is_alone(&self) {
        eventually("all others are gone", || {
            let totals = self.proxy.metrics().snapshot();
            let clients = totals.listener(NAME).map(ListenerTotals::connections_active);
            self.server.wire.open() == 1 && clients == Some(1)
        })
        .await;
    }
}

#[test]
fn an_upstream_cut_off_anywhere() {
    block_on(async {
        let (mut stage, mut count) = (Stage::set().await, 0);
        for script in scripts() {
            let rehearsal = stage.rehearse(&script).await;
            for place in places(&rehearsal.server.concat()) {
                stage.cut(&script, &rehearsal, place).await;
                count += 1;
            }
            stage.is_alone().await;
        }
        println!("{count} places");
    });
}

#[test]
fn a_client_killed_anywhere() {
    block_on(async {
        let (mut stage, mut count) = (Stage::set().await, 0);
        for script in scripts() {
            let rehearsal = stage.rehearse(&script).await;
            for place in places(&rehearsal.client) {
                stage.kill(&script, &rehearsal, place).await;
                count += 1;
            }
            stage.is_alone().await;
        }
        println!("{count} places");
    });
}
