use std::{fs, path::Path};

use bytes::BytesMut;
use proptest::prelude::*;
use wiremesh::{
    Frame, HeaderView, Limits, Peer, Protocol,
    correlation::{Access, ClientMachine, Pipelined, Progress as Talk, Step, Target, View},
};

use super::{definition::Definition, reply::definitions};
use crate::{
    Client, Message, Progress, Redis,
    acl::User,
    command::{Class, Command, Flags},
    resp::Version,
    slot::slot,
};

fn cluster() -> View<'static> {
    View { client: 1, shards: 3, nodes: 6, ..View::default() }
}

/// What redis-server 7.0.15 with RediSearch 1.2.2 answered.
fn recorded(version: &str) -> Message {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/redis/commands")
        .join(format!("command.{version}"));
    Message::raw(BytesMut::from(&fs::read(file).unwrap()[..]))
}

/// One element of the answer.
struct Told(Vec<Message>);

impl Told {
    fn new(name: &str, arity: i64, flags: &[&str], range: [i64; 3]) -> Self {
        let [first, last, step] = range.map(Message::integer);
        let (name, arity) = (Message::bulk(name.as_bytes()), Message::integer(arity));
        Self(vec![name, arity, words(flags), first, last, step])
    }

    fn since_7(mut self, categories: &[&str], tips: &[&str], keys: Vec<Message>) -> Self {
        self.0.extend([words(categories), words(tips), Message::array(keys)]);
        self
    }

    fn subcommands(mut self, all: Vec<Self>) -> Self {
        self.0.push(Message::array(all.into_iter().map(|it| Message::array(it.0))));
        self
    }
}

fn words(words: &[&str]) -> Message {
    Message::array(words.iter().map(|word| Message::simple(word)))
}

fn text(text: &str) -> Message {
    Message::bulk(text.as_bytes())
}

fn spec(flags: &[&str], begin: (&str, &[(&str, &str)]), find: (&str, &[(&str, &str)])) -> Message {
    let part = |(kind, parameters): (&str, &[(&str, &str)])| {
        let parameters = parameters.iter().map(|(name, value)| {
            let number = value.parse().map(Message::integer);
            (text(name), number.unwrap_or_else(|_| text(value)))
        });
        let parameters = Message::map(parameters, Version::Resp2);
        Message::map([(text("type"), text(kind)), (text("spec"), parameters)], Version::Resp2)
    };
    let fields = [
        (text("flags"), words(flags)),
        (text("begin_search"), part(begin)),
        (text("find_keys"), part(find)),
    ];
    Message::map(fields, Version::Resp2)
}

const AT_1: (&str, &[(&str, &str)]) = ("index", &[("index", "1")]);
const ONE: (&str, &[(&str, &str)]) =
    ("range", &[("lastkey", "0"), ("keystep", "1"), ("limit", "0")]);

fn answer(all: Vec<Told>) -> Message {
    Message::array(all.into_iter().map(|it| Message::array(it.0)))
}

/// A protocol that has been told this, of one cluster.
fn redis(all: Vec<Told>) -> Redis {
    let redis = Redis::default();
    redis.learnt().learn("c", vec![], definitions(&answer(all)));
    redis
}

fn request(redis: &Redis, line: &str) -> Message {
    let mut input = BytesMut::from(Message::request(line.split(' ')).bytes());
    let limits = Limits::default();
    redis.decode(Peer::Client, &mut Progress::default(), &limits, &mut input).unwrap().unwrap()
}

fn command(redis: &Redis, line: &str) -> Option<&'static Command> {
    request(redis, line).command()
}

fn keys(redis: &Redis, line: &str) -> Option<Vec<usize>> {
    let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    command(redis, line).unwrap().keys(&args).ok()
}

fn step(redis: &Redis, line: &str) -> String {
    match Client::default().on_request(redis, &cluster(), request(redis, line)) {
        Step::Shared(_, Target::Slot(at, access)) => format!("{at} {access:?}"),
        Step::Shared(_, target) => format!("shared {target:?}"),
        Step::Private { target: Target::Slot(at, _), .. } => format!("own {at}"),
        Step::Answer(message) => String::from_utf8_lossy(message.bytes()).trim_end().into(),
        Step::Parts(parts, _) => format!("{} parts", parts.len()),
        _ => "something else".into(),
    }
}

#[test]
fn a_server_with_a_module_tells_of_its_commands_alone() {
    let found = definitions(&recorded("resp2"));
    assert_eq!(found, definitions(&recorded("resp3")));
    let mut names: Vec<_> = found.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    // 240 commands are in the table.
    assert_eq!((names.len(), names[0], names[26]), (27, "ft.add", "ft.tagvals"));
    let redis = Redis::default();
    assert!(command(&redis, "FT.SUGADD k x 1").is_none());
    assert_eq!(request(&redis, "FT.SUGADD k x 1").method().unwrap(), "other");
    redis.learnt().learn("c", vec![], found);
    let adds = request(&redis, "Ft.SugAdd k x 1");
    assert_eq!(adds.command().map(|it| it.name), Some("ft.sugadd"));
    assert_eq!(adds.method().unwrap(), "FT.SUGADD");
    assert_eq!(adds.header("key").unwrap(), "k");
    assert_eq!(adds.header("command").unwrap(), "ft.sugadd");
    assert!(command(&redis, "ft.nosuch k").is_none());
    assert_eq!(
        command(&redis, "GET k").map(|it| it.id),
        crate::command::find(b"get", None).map(|it| it.id)
    );
    let k = slot(b"k");
    assert_eq!(step(&redis, "FT.SUGADD k x 1"), format!("{k} Write"));
    assert_eq!(step(&redis, "FT.SUGGET k x"), format!("{k} Read"));
}

#[test]
fn who_may_use_keys_may_use_them_by_a_module() {
    let redis = Redis::default();
    redis.learnt().learn("c", vec![], definitions(&recorded("resp2")));
    let may = |rules: &str, line: &str| {
        let user = User::parse("u", rules).unwrap();
        let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        user.check_args(command(&redis, line).unwrap(), &args).is_ok()
    };
    // As the server judges it, but that it does not know names before the module is loaded.
    for (rules, sugadd, sugget) in [
        ("~a +@all", true, true),
        ("~b +@all", false, false),
        ("~a +@all -ft.sugadd", false, true),
        ("~a +@all -FT.SUGADD +ft.sugadd", true, true),
        ("~a +FT.SUGADD", true, false),
        ("~a -ft.sugget +@all -@all +ft.sugget", false, true),
        ("~a +@read +@write +@slow", false, false),
        ("%R~a +@all", false, false),
        ("%R~a %W~a +@all", true, true),
        ("%R~a %W~b +@all", false, false),
        ("%RW~a +@all", true, true),
        ("~b (~a +ft.sugadd)", true, false),
        ("~a +ft.sugadd|A", true, false),
        ("~a +ft.sugadd|b", false, false),
    ] {
        assert_eq!(may(rules, "FT.SUGADD a x 1"), sugadd, "{rules}");
        assert_eq!(may(rules, "FT.SUGGET a x"), sugget, "{rules}");
    }
    for (rules, unrestricted) in [
        ("~* &* +@all", true),
        ("~* &* +@all -ft.sugadd", false),
        ("~* &* -ft.sugadd +@all", true),
        ("~* &* +@all -@dangerous", false),
    ] {
        assert_eq!(User::parse("u", rules).unwrap().is_unrestricted(), unrestricted, "{rules}");
    }
    for rules in ["+nosuch", "+nosuch|ft.x", "+ft.x|", "+ft.x|y|z"] {
        assert!(User::parse("u", rules).is_err(), "{rules}");
    }
}

#[test]
fn as_older_servers_tell_it() {
    let of_6 = |mut told: Told| {
        told.0.push(words(&["@write", "@fast"]));
        told
    };
    let redis = redis(vec![
        Told::new("m.one", 3, &["readonly"], [1, 1, 1]),
        of_6(Told::new("m.all", -2, &["write"], [2, -1, 2])),
        Told::new("m.two", 3, &["write"], [1, 2, 1]),
        Told::new("m.none", 1, &["readonly"], [0, 0, 0]),
        Told::new("m.movable", -3, &["write", "movablekeys"], [2, 2, 1]),
        Told::new("m.wrong", -3, &["write"], [2, 1, 0]),
    ]);
    assert_eq!(keys(&redis, "m.one a b"), Some(vec![1]));
    assert_eq!(keys(&redis, "m.all x a y b y"), Some(vec![2, 4]));
    assert_eq!(keys(&redis, "m.two a b"), Some(vec![1, 2]));
    assert_eq!(keys(&redis, "m.none"), Some(vec![]));
    assert_eq!(keys(&redis, "m.movable x a b"), None);
    assert_eq!(keys(&redis, "m.wrong x a b"), None);
    let all = command(&redis, "m.all").unwrap();
    assert!(all.categories.names().eq(["write", "fast"]));
    // Where the first key can be told it is: the node says whether it is right.
    assert_eq!(request(&redis, "m.movable x a b").first_key(), Some(&b"a"[..]));
    assert_eq!(step(&redis, "m.movable x a b"), format!("{} Write", slot(b"a")));
    assert_eq!(step(&redis, "m.wrong x a b"), "shared Any");
}

#[test]
fn keys_that_cannot_be_told_take_the_permission_to_use_all() {
    let incomplete = spec(&["RO", "access", "incomplete"], AT_1, ONE);
    let unknown = spec(&["RO", "access"], ("unknown", &[]), ("unknown", &[]));
    let numbered = spec(
        &["RO", "access"],
        ("index", &[("index", "2")]),
        ("keynum", &[("keynumidx", "0"), ("firstkey", "1"), ("keystep", "1")]),
    );
    let word =
        spec(&["OW", "update"], ("keyword", &[("keyword", "STORE"), ("startfrom", "2")]), ONE);
    let new = |name, flags: &[&str], specs| {
        Told::new(name, -2, flags, [0, 0, 0]).since_7(&[], &[], specs)
    };
    let redis = redis(vec![
        new("m.incomplete", &["readonly"], vec![incomplete]),
        new("m.unknown", &["readonly", "movablekeys"], vec![unknown]),
        new(
            "m.numbered",
            &["write", "movablekeys"],
            vec![spec(&["RO"], AT_1, ONE), numbered, word],
        ),
        new("m.api", &["write", "movablekeys"], vec![spec(&["RO", "access"], AT_1, ONE)]),
        new("m.variable", &["write"], vec![spec(&["variable_flags"], AT_1, ONE)]),
    ]);
    assert_eq!(keys(&redis, "m.numbered a 2 b c store d"), Some(vec![1, 3, 4, 6]));
    let all = User::parse("u", "~* +@all").unwrap();
    let most = User::parse("u", "~a* ~b* +@all").unwrap();
    for line in ["m.incomplete a", "m.unknown a", "m.api a"] {
        assert_eq!(keys(&redis, line), None, "{line}");
        let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let command = command(&redis, line).unwrap();
        assert!(all.check_args(command, &args).is_ok(), "{line}");
        assert!(most.check_args(command, &args).is_err(), "{line}");
    }
    let reads = User::parse("u", "%R~a +@all").unwrap();
    for line in ["m.variable a", "m.numbered a 0"] {
        let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        assert!(reads.check_args(command(&redis, line).unwrap(), &args).is_err(), "{line}");
    }
}

#[test]
fn what_is_not_known_of_a_command_counts_against_it() {
    let new = |name, flags: &[&str], categories: &[&str], tips: &[&str]| {
        let keys = vec![spec(
            &["RW", "access", "update"],
            AT_1,
            ("range", &[("lastkey", "-1"), ("keystep", "1"), ("limit", "0")]),
        )];
        Told::new(name, -2, flags, [1, -1, 1]).since_7(categories, tips, keys)
    };
    let redis = redis(vec![
        new("m.wait", &["write", "blocking"], &["@blocking"], &[]),
        new("m.subscribe", &["pubsub", "noscript"], &["@pubsub"], &[]),
        new("m.publish", &["pubsub"], &["@pubsub"], &[]),
        new("m.become", &["noscript"], &["@connection"], &[]),
        new("m.begin", &["noscript"], &["@transaction"], &[]),
        new("m.open", &["readonly", "no_auth"], &["@read"], &[]),
        new("m.split", &["readonly"], &["@read"], &["request_policy:multi_shard"]),
        Told::new("m.everywhere", 1, &["readonly"], [0, 0, 0]).since_7(
            &["@nosuch"],
            &["request_policy:all_shards", "response_policy:agg_sum", "nosuch:tip"],
            vec![],
        ),
    ]);
    let [a, b] = [b"a", b"b"].map(|key| slot(key));
    assert_eq!(step(&redis, "m.wait a"), format!("own {a}"));
    for line in ["m.subscribe a", "m.become a", "m.begin a"] {
        assert_eq!(command(&redis, line).unwrap().class, Class::Unknown);
        assert!(step(&redis, line).starts_with("-ERR wiremesh: what this command does"), "{line}");
    }
    // Not within a transaction either, which must not be executed then.
    let mut client = Client::default();
    let view = View { shards: 0, ..cluster() };
    let mut said = |line: &str| match client.on_request(&redis, &view, request(&redis, line)) {
        Step::Private { request, .. } => String::from_utf8_lossy(request.command_name()).into(),
        Step::Answer(message) => String::from_utf8_lossy(message.bytes()).into_owned(),
        _ => String::new(),
    };
    assert_eq!(said("MULTI"), "MULTI");
    assert!(said("m.become a").starts_with("-ERR wiremesh"));
    assert_eq!(said("EXEC"), "DISCARD");
    assert!(!command(&redis, "m.open a").unwrap().flags.contains(Flags::NO_AUTH));
    assert_eq!(step(&redis, "m.split a"), format!("{a} Read"));
    assert_ne!(a, b);
    assert!(step(&redis, "m.split a b").starts_with("-CROSSSLOT "));
    assert_eq!(step(&redis, "m.everywhere"), "3 parts");
    let publishes = User::parse("u", "~* &c +@all").unwrap();
    let args: [&[u8]; 2] = [b"m.publish", b"c"];
    assert!(publishes.check_args(command(&redis, "m.publish c").unwrap(), &args).is_err());
}

#[test]
fn subcommands_of_new_commands_and_of_old_ones() {
    let sub = |name: &'static str| Told::new(name, -2, &["readonly"], [2, 2, 1]);
    let container = |name: &str, subs: Vec<&'static str>| {
        Told::new(name, -2, &[], [0, 0, 0])
            .since_7(&[], &[], vec![])
            .subcommands(subs.into_iter().map(sub).collect())
    };
    let redis = redis(vec![
        container("M.Box", vec!["M.Box|Open", "m.box|shut", "other|open", "m.box|a|b", "m.box|"]),
        container("config", vec!["config|get", "config|new"]),
        container("m.config|x", vec!["m.config|x|y"]),
    ]);
    let name = |line| command(&redis, line).map(|it| it.name);
    assert_eq!(name("M.BOX OPEN k"), Some("m.box|open"));
    assert_eq!(request(&redis, "M.BOX OPEN k").method().unwrap(), "M.BOX OPEN");
    assert_eq!(name("m.box shut"), Some("m.box|shut"));
    for line in ["m.box", "m.box nosuch", "m.box a|b", "m.box |"] {
        assert_eq!(name(line), Some("m.box"), "{line}");
    }
    assert_eq!(name("m.box|open x"), None);
    assert_eq!(name("CONFIG NEW k"), Some("config|new"));
    assert!(!command(&redis, "config get x").unwrap().is_learnt());
    assert_eq!(name("config nosuch"), Some("config"));
    assert_eq!(name("m.config|x"), None);
    assert_eq!(keys(&redis, "m.box open k"), Some(vec![2]));
    let user = User::parse("u", "~* +m.box -m.box|shut").unwrap();
    let may = |line: &str| {
        let args: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        user.check_args(command(&redis, line).unwrap(), &args).is_ok()
    };
    assert!(may("m.box open k") && !may("m.box shut k"));
}

#[test]
fn clusters_that_differ() {
    let redis = Redis::default();
    let learn = |cluster, all| {
        redis.learnt().learn(cluster, cluster.as_bytes().to_vec(), definitions(&answer(all)));
    };
    let at = |n| Told::new("m.x", -2, &["write"], [n, n, 1]);
    let other = || Told::new("m.y", -2, &["write"], [1, 1, 1]);
    learn("a", vec![at(1)]);
    learn("b", vec![at(1), other()]);
    let before = command(&redis, "m.x").unwrap();
    assert!(redis.learnt().is_known("a", b"a") && !redis.learnt().is_known("a", b"b"));
    learn("b", vec![at(2), other()]);
    assert!(command(&redis, "m.x").is_none(), "they do not agree");
    assert!(command(&redis, "m.y").is_some());
    learn("b", vec![]);
    let after = command(&redis, "m.x").unwrap();
    assert!(std::ptr::eq(before, after), "what is told again costs no memory");
    assert!(command(&redis, "m.y").is_none(), "nobody has it any more");
}

#[test]
fn no_more_is_remembered_than_there_is_room_for() {
    let redis = Redis::default();
    for round in 0..6 {
        let new = |n| Told::new(&format!("m.{round}.{n}"), 1, &[], [0, 0, 0]);
        redis.learnt().learn("c", vec![], definitions(&answer((0..2000).map(new).collect())));
        let known = command(&redis, &format!("m.{round}.1023")).is_some();
        assert_eq!(known, round < 4, "{round}");
        assert!(command(&redis, &format!("m.{round}.1024")).is_none());
    }
    let huge = "x".repeat(65);
    let redis = self::redis(vec![Told::new(&huge, 1, &[], [0, 0, 0])]);
    assert!(command(&redis, &huge).is_none());
}

#[test]
fn a_server_is_asked_for_its_commands_when_something_has_changed() {
    let redis = Redis::default();
    let talk = |answers: &[Message]| {
        let mut inquiry = redis.inquire("c").unwrap();
        let mut asked = Vec::new();
        let mut progress = inquiry.start(&redis);
        let mut answers = answers.iter().cloned();
        loop {
            progress = match progress {
                Talk::Continue(Some(said)) => {
                    let words: Vec<_> = said.args().map(String::from_utf8_lossy).collect();
                    asked.push(words.join(" "));
                    inquiry.on_frame(&redis, answers.next().unwrap())
                }
                Talk::Continue(None) | Talk::StartTls(_) => panic!("nothing is said"),
                Talk::Done(_) => return asked,
                Talk::Refused(_, why) => {
                    asked.push(why.into());
                    return asked;
                }
            };
        }
    };
    let modules =
        |version| Message::array([Message::array([text("ver"), Message::integer(version)])]);
    let all = ["COMMAND COUNT", "MODULE LIST", "COMMAND"];
    let commands = || recorded("resp2");
    assert_eq!(talk(&[Message::integer(267), modules(1), commands()]), all);
    assert!(command(&redis, "ft.sugadd k").is_some());
    assert_eq!(talk(&[Message::integer(267), modules(1)]), all[..2]);
    assert_eq!(talk(&[Message::integer(267), modules(2), commands()]), all);
    let refused = || Message::error("NOPERM no");
    assert_eq!(talk(&[Message::integer(240), refused(), answer(vec![])]), all);
    assert!(command(&redis, "ft.sugadd k").is_none());
    assert_eq!(talk(&[refused()]).len(), 2, "it says why");
    let told = talk(&[Message::integer(1), refused(), refused()]);
    assert!(told.last().unwrap().contains("does not tell"));
}

fn hostile() -> impl Strategy<Value = Message> {
    let name =
        prop_oneof![Just("m.x".to_owned()), Just("get".to_owned()), "[ -~]{0,70}", "\\PC{0,9}"];
    let number = prop_oneof![-3i64..9, any::<i64>()];
    let leaf = prop_oneof![
        name.prop_map(|it| text(&it)),
        number.prop_map(Message::integer),
        Just(Message::null(Version::Resp3)),
        proptest::sample::select(vec![
            "flags",
            "begin_search",
            "find_keys",
            "type",
            "spec",
            "index",
            "range",
            "keynum",
            "keyword",
            "lastkey",
            "keystep",
            "limit",
            "write",
            "movablekeys",
            "@connection",
            "m.x|y",
        ])
        .prop_map(Message::simple),
    ];
    leaf.prop_recursive(5, 120, 10, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..11).prop_map(Message::array),
            proptest::collection::vec((inner.clone(), inner), 0..4)
                .prop_map(|pairs| Message::map(pairs, Version::Resp3)),
        ]
    })
}

/// One that is well-formed but for what its numbers are.
fn odd() -> impl Strategy<Value = Message> {
    let number = || prop_oneof![-4i64..6, any::<i64>()].prop_map(|n| n.to_string());
    let flags = proptest::sample::subsequence(
        vec!["write", "readonly", "movablekeys", "blocking", "pubsub", "noscript"],
        0..6,
    );
    let kinds = (
        proptest::sample::select(vec!["index", "keyword"]),
        proptest::sample::select(vec!["range", "keynum"]),
    );
    (flags, kinds, proptest::collection::vec(number(), 9), proptest::collection::vec(-3i64..6, 3))
        .prop_map(|(flags, (begin, find), n, range)| {
            let begin: (&str, &[(&str, &str)]) =
                (begin, &[("index", &n[0]), ("keyword", "a"), ("startfrom", &n[1])]);
            let find: (&str, &[(&str, &str)]) = (
                find,
                &[
                    ("lastkey", &n[2]),
                    ("keystep", &n[3]),
                    ("limit", &n[4]),
                    ("keynumidx", &n[5]),
                    ("firstkey", &n[6]),
                ],
            );
            let specs = if n[8].len() > 1 { vec![] } else { vec![spec(&[], begin, find)] };
            let told =
                Told::new("m.x", n[7].parse().unwrap_or(1), &flags, [range[0], range[1], range[2]]);
            answer(vec![told.since_7(&["@read"], &[], specs)])
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_server_says_is_survived(
        reply in prop_oneof![hostile(), odd()],
        args in proptest::collection::vec("[a-c0-9]{0,3}", 0..8),
    ) {
        let found: Vec<Definition> = definitions(&reply);
        prop_assert!(found.len() <= 1024);
        let redis = Redis::default();
        redis.learnt().learn("c", vec![], found);
        let line = format!("m.x {}", args.join(" "));
        let message = request(&redis, &line);
        if let Some(command) = message.command() {
            prop_assert!(command.is_learnt());
            let args: Vec<_> = message.args().collect();
            if let Ok(keys) = command.keys(&args) {
                prop_assert!(keys.iter().all(|key| *key < args.len() && *key > 0), "{keys:?}");
                prop_assert_eq!(command.first_key(args.len(), |n| args.get(n).copied()), keys.first().copied());
            }
        }
        let step = Client::default().on_request(&redis, &cluster(), message);
        let odd = matches!(step, Step::Shared(_, Target::Shard(_, Access::Read)));
        prop_assert!(!odd);
    }
}
