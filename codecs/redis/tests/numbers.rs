//! Clients that name one another by number, and what has to get past others.

use wiremesh::{
    Frame, Kind,
    correlation::{ClientMachine, Expect, Pipelined, Release, Step, View},
};
use wiremesh_redis::{Client, Message, Redis};

const NOBODY: &str = "9223372036854775807";

/// A client, as the proxy drives it in front of one server.
struct Followed<'a> {
    redis: &'a Redis,
    client: Client,
    number: u64,
    nodes: usize,
    shards: usize,
}

impl<'a> Followed<'a> {
    fn new(redis: &'a Redis, number: u64) -> Self {
        Self { redis, client: Client::default(), number, nodes: 1, shards: 0 }
    }

    fn view(&self, own: bool) -> View<'static> {
        View {
            client: self.number,
            shards: self.shards,
            nodes: self.nodes,
            own: own.then_some(0),
            cluster: 1,
            ..View::default()
        }
    }

    fn ask(&mut self, line: &str) -> Step<Redis> {
        let view = self.view(false);
        self.client.on_request(self.redis, &view, Message::request(line.split(' ')))
    }

    /// What goes to the client's own connection.
    fn own(&mut self, line: &str) -> Message {
        match self.ask(line) {
            Step::Private { request, .. } => request,
            _ => panic!("{line}: not on a connection of its own"),
        }
    }

    fn attached(&mut self, number: Option<u64>) {
        let view = self.view(true);
        self.client.on_attached(self.redis, &view, number);
    }

    fn reply(&mut self, bytes: &str) -> Message {
        let view = self.view(true);
        let mut reply = Message::raw(bytes.as_bytes().into());
        self.client.on_reply(self.redis, &view, &mut reply);
        reply
    }
}

fn words(message: &Message) -> String {
    let words: Vec<_> = message.args().map(String::from_utf8_lossy).collect();
    words.join(" ")
}

fn shared(step: Step<Redis>) -> String {
    match step {
        Step::Shared(request, _) => words(&request),
        Step::Answer(reply) => String::from_utf8_lossy(reply.bytes()).into_owned(),
        _ => panic!("not on a connection that is shared"),
    }
}

#[test]
fn a_client_that_waits_is_known_to_the_server_by_another_number() {
    let redis = Redis::default();
    let (mut waiting, mut other) = (Followed::new(&redis, 5), Followed::new(&redis, 6));
    assert_eq!(shared(other.ask("CLIENT UNBLOCK 5")), format!("CLIENT UNBLOCK {NOBODY}"));
    waiting.own("BLPOP l 0");
    waiting.attached(Some(70));
    waiting.reply("*-1\r\n");
    assert!(matches!(waiting.client.release(&redis, 0, false), Release::Clean(_)));
    assert_eq!(shared(other.ask("CLIENT UNBLOCK 5")), format!("CLIENT UNBLOCK {NOBODY}"));
    waiting.own("BLPOP l 0");
    waiting.attached(Some(71));
    assert_eq!(shared(other.ask("CLIENT UNBLOCK 5 ERROR")), "CLIENT UNBLOCK 71 ERROR");
    waiting.reply("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    // On its way to the server the number must not come to mean somebody else.
    assert!(matches!(waiting.client.release(&redis, 0, false), Release::Hold));
    assert_eq!(waiting.own("GET k").command_name(), b"GET");
    waiting.reply("$-1\r\n");
    assert!(matches!(waiting.client.release(&redis, 0, true), Release::Close));
    for line in ["CLIENT UNBLOCK x", "CLIENT UNBLOCK -1", "CLIENT UNBLOCK"] {
        assert_eq!(shared(other.ask(line)), line, "the server says what is wrong");
    }
    other.nodes = 2;
    assert!(shared(other.ask("CLIENT UNBLOCK 5")).starts_with("-ERR wiremesh: "));
}

#[test]
fn invalidations_go_to_the_client_of_that_number() {
    let redis = Redis::default();
    let (mut reader, mut told) = (Followed::new(&redis, 5), Followed::new(&redis, 6));
    told.own("SUBSCRIBE __redis__:invalidate");
    told.attached(Some(70));
    let sent = reader.own("CLIENT TRACKING ON REDIRECT 6 NOLOOP");
    assert_eq!(words(&sent), "CLIENT TRACKING ON REDIRECT 70 NOLOOP");
    reader.attached(Some(71));
    reader.reply("+OK\r\n");
    reader.own("CLIENT GETREDIR");
    assert_eq!(reader.reply(":70\r\n").bytes(), b":6\r\n");
    reader.own("CLIENT TRACKINGINFO");
    let info = reader.reply("*4\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n$8\r\nredirect\r\n:70\r\n");
    assert!(info.bytes().ends_with(b"$8\r\nredirect\r\n:6\r\n"));
    let broken = reader.reply(">2\r\n$21\r\ntracking-redir-broken\r\n:70\r\n");
    assert_eq!(broken.bytes(), b">2\r\n$21\r\ntracking-redir-broken\r\n:6\r\n");
    // Within a transaction the number is another, too.
    let mut third = Followed::new(&redis, 7);
    third.own("MULTI");
    assert_eq!(words(&third.own("CLIENT UNBLOCK 6")), "CLIENT UNBLOCK 70");
}

#[test]
fn what_ends_a_script_waits_behind_nothing() {
    let redis = Redis::default();
    for line in ["SCRIPT KILL", "FUNCTION KILL", "FUNCTION STATS", "CLIENT UNPAUSE"] {
        let mut client = Followed::new(&redis, 5);
        let selected = match client.ask("SELECT 9") {
            Step::Alone(request, _) => request.lane(),
            _ => panic!("not alone"),
        };
        let view = client.view(false);
        client.client.on_reply(&redis, &view, &mut Message::simple("OK"));
        let sent = client.own(line);
        assert_ne!(sent.lane(), selected, "while a script runs no database can be selected");
        client.reply("+OK\r\n");
        assert!(matches!(client.client.release(&redis, 0, false), Release::Close));
        assert_eq!(shared(client.ask("GET k")), "GET k");
    }
}

#[test]
fn subscriptions_are_told_of_when_replies_are_off() {
    let redis = Redis::default();
    let mut client = Followed::new(&redis, 5);
    client.own("CLIENT REPLY OFF");
    let sent = client.own("PSUBSCRIBE *");
    assert_eq!(redis.expects(&sent), Expect::None, "it might be refused, and that is not told");
    let told = client.reply("*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    assert_eq!(told.kind(), Kind::Push);
    let told = client.reply("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$1\r\nx\r\n");
    assert_eq!(told.kind(), Kind::Push);
}

#[test]
fn a_subscriber_of_a_cluster_is_told_that_it_is_one() {
    let redis = Redis::default();
    let mut client = Followed::new(&redis, 5);
    client.shards = 3;
    client.own("PSUBSCRIBE a");
    client.reply("*3\r\n$10\r\npsubscribe\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(client.own("GEORADIUS k 0 0 1 m").command_name(), b"GEORADIUS");
    let told = client.reply("-MOVED 1 127.0.0.1:1\r\n");
    client.own("WATCH k");
    let other = client.reply("-MOVED 1 127.0.0.1:1\r\n");
    assert!(other.bytes().starts_with(b"-ERR Can't execute 'watch': only "));
    assert_eq!(told.bytes(), b"-ERR Can't execute 'georadius': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n");
}

#[test]
fn half_an_answer_is_none() {
    let redis = Redis::default();
    let mut client = Followed::new(&redis, 5);
    client.shards = 3;
    for line in ["CLIENT TRACKING ON", "CLIENT NO-EVICT ON", "CLIENT REPLY OFF", "DEBUG JMAP"] {
        assert!(shared(client.ask(line)).contains("about one server"), "{line}");
    }
    let queued = |client: &mut Followed<'_>, line: &str| shared(client.ask(line));
    assert_eq!(queued(&mut client, "MULTI"), "+OK\r\n");
    assert_eq!(queued(&mut client, "CLIENT GETNAME"), "+QUEUED\r\n");
    assert_eq!(client.own("GET k").command_name(), b"GET");
    for line in ["DBSIZE", "FLUSHALL", "SCAN 0", "CONFIG SET a b", "KEYS *"] {
        assert!(shared(client.ask(line)).contains("about all shards"), "{line}");
    }
    client.reply("+QUEUED\r\n");
    assert_eq!(client.own("EXEC").command_name(), b"DISCARD", "what is left of it is not executed");
    // Behind it the connection may be given back.
    assert!(matches!(client.ask("DBSIZE"), Step::Wait(_)));
    client.reply("+OK\r\n");
    assert!(matches!(client.client.release(&redis, 0, false), Release::Clean(_)));
    assert!(matches!(client.ask("DBSIZE"), Step::Parts(..)));
}
