//! `docs/protocols/redis-commands.md` says of every command what becomes of it. The client machine itself is asked.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use wiremesh::correlation::{Access, ClientMachine, Part, Step, Target, View};
use wiremesh_redis::command::{
    Begin, COMMANDS, Command, Find, Flags, KeyFlags, KeySpec, ResponsePolicy,
};
use wiremesh_redis::{Client, Message, Redis};

#[test]
fn the_page_is_up_to_date() {
    let file = folder("docs/protocols").join("redis-commands.md");
    let page = page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == page,
        "docs/protocols/redis-commands.md is stale; run `UPDATE_DOCS=1 cargo test -p wiremesh-redis --test commands_page`"
    );
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

const INTRO: &str = "\
# Redis, command by command

What becomes of each command of Redis 7.0 (and of those that 7.2 added) at the proxy. This page is generated: every command
was put to the code that decides. Where a command is not known, it is passed on as it is.

| column | says |
|---|---|
| keys | which arguments are keys, the first behind the command's name being 1; `..` all that follow; *n*`..` *by m*: as many as argument *m* says; `STORE`: what follows that word |
| reads | a replica may answer it, if the cluster's read policy says so |
| connection | **shared**: it goes between the commands of other clients. **alone**: so too, but the client's next command waits for its answer. **own**: the client gets an upstream connection for itself, as long as state of its is on it. **here**: the proxy answers |
| in a cluster | **by slot**: it goes to the shard of its keys, and keys of several slots are refused with `CROSSSLOT`. **split**: it goes in parts to the shards of its keys. **all shards**, **all nodes**: it goes to every primary, every node; then how the answers become one, an error of one being the answer of all. **any shard**: to any |

";

fn page() -> String {
    let samples = samples();
    let mut groups: BTreeMap<&str, String> = BTreeMap::new();
    let mut refused = BTreeMap::new();
    let commands = COMMANDS.iter().flat_map(|command| match command.subcommands {
        [] => std::slice::from_ref(command),
        subcommands => subcommands,
    });
    for command in commands {
        let title = command.name.replace('|', " ").to_uppercase();
        let sample = samples.of(command);
        let (alone, reads) = alone(command, &sample);
        let sharded = sharded(command, &sample);
        match (&alone, &sharded) {
            (Fate::Refused(text), _) => refuse(&mut refused, format!("`{text}`"), command),
            (_, Fate::Refused(text)) => {
                refuse(&mut refused, format!("in a cluster: `{text}`"), command);
            }
            _ => {}
        }
        let since = if command.since.starts_with("7.2") { " (7.2)" } else { "" };
        let rows = groups.entry(command.group).or_default();
        let (keys, reads) = (keys(command), if reads { "yes" } else { "" });
        writeln!(rows, "| {title}{since} | {keys} | {reads} | {alone} | {sharded} |").unwrap();
    }
    let mut page = INTRO.to_owned();
    for (group, rows) in groups {
        let title = group[..1].to_uppercase() + &group[1..].replace('-', " ");
        write!(page, "## {title}\n\n| command | keys | reads | connection | in a cluster |\n")
            .unwrap();
        write!(page, "|---|---|---|---|---|\n{rows}\n").unwrap();
    }
    page.push_str("## Refused\n\n| answer | commands |\n|---|---|\n");
    for (text, commands) in refused {
        writeln!(page, "| {text} | {} |", listed(&commands).join(", ")).unwrap();
    }
    page
}

fn refuse(
    refused: &mut BTreeMap<String, Vec<&'static str>>,
    text: String,
    command: &'static Command,
) {
    refused.entry(text).or_default().push(command.name);
}

/// Their names; that of a container in the place of all of its subcommands.
fn listed(names: &[&'static str]) -> Vec<String> {
    let mut listed = Vec::new();
    for name in names {
        let container = COMMANDS.iter().find(|command| {
            let subcommands = command.subcommands;
            subcommands.iter().any(|sub| sub.name == *name)
                && subcommands.iter().all(|sub| names.contains(&sub.name))
        });
        let name = container.map_or(*name, |container| container.name).replace('|', " ");
        listed.push(format!("`{}`", name.to_uppercase()));
    }
    listed.dedup();
    listed
}

/// What becomes of a command.
enum Fate {
    Way(String),
    Here,
    Refused(String),
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Way(text) => f.write_str(text),
            Self::Here => f.write_str("here"),
            Self::Refused(_) => f.write_str("refused"),
        }
    }
}

/// What a client machine does with this as a client's first command.
fn step(args: &[String], shards: usize, nodes: usize) -> Step<Redis> {
    let view = View {
        client: 1,
        peer: "127.0.0.1:1",
        local: "127.0.0.1:2",
        shards,
        nodes,
        ..View::default()
    };
    Client::default().on_request(&Redis::default(), &view, Message::request(args))
}

/// In front of one server; and whether a replica may answer.
fn alone(command: &Command, sample: &Sample) -> (Fate, bool) {
    let step = step(&sample.line, 0, 1);
    let target = match &step {
        Step::Shared(_, target) | Step::Alone(_, target) => Some(*target),
        _ => None,
    };
    let reads = matches!(target, Some(Target::Shard(_, Access::Read)));
    let own = if command.flags.contains(Flags::BLOCKING) && command.name.starts_with("xread") {
        "shared; own with BLOCK"
    } else {
        "own"
    };
    let fate = match step {
        Step::Shared(..) => Fate::Way("shared".to_owned()),
        Step::Alone(..) => Fate::Way("alone".to_owned()),
        Step::Private { .. } => Fate::Way(own.to_owned()),
        Step::Parts(..) => panic!("{}: split in front of one server", command.name),
        other => answered(other),
    };
    (fate, reads)
}

/// In a cluster of three shards.
fn sharded(command: &Command, sample: &Sample) -> Fate {
    let together = step(&sample.same_slot, 3, 6);
    let apart = (sample.keys > 1).then(|| step(&sample.line, 3, 6));
    let way = match together {
        Step::Shared(_, target) | Step::Alone(_, target) | Step::Private { target, .. } => target,
        Step::Parts(parts, _) => return Fate::Way(parts_of(command, &parts)),
        other => return answered(other),
    };
    Fate::Way(match (way, apart) {
        (Target::Slot(..), Some(Step::Parts(..))) => format!("split{}", folded(command)),
        (Target::Slot(..), Some(Step::Answer(error))) => {
            let text = String::from_utf8_lossy(error.error_text().unwrap()).into_owned();
            assert!(text.starts_with("CROSSSLOT"), "{}: {text}", command.name);
            "by slot".to_owned()
        }
        (Target::Slot(..), None) => "by slot".to_owned(),
        (_, None) => {
            assert_eq!(sample.keys + sample.channels, 0, "{} has keys", command.name);
            "any shard".to_owned()
        }
        (target, Some(_)) => panic!("{}: {target:?}", command.name),
    })
}

fn answered(step: Step<Redis>) -> Fate {
    match step {
        Step::Answer(answer) | Step::Bye(Some(answer)) => match answer.error_text() {
            Some(text) => Fate::Refused(String::from_utf8_lossy(text).into_owned()),
            None => Fate::Here,
        },
        _ => Fate::Here,
    }
}

fn parts_of(command: &Command, parts: &[Part<Redis>]) -> String {
    if command.name == "scan" {
        return "all shards, one after the other".to_owned();
    }
    let all = match parts.first().unwrap().target {
        Target::Index(_) => "all nodes",
        _ => "all shards",
    };
    format!("{all}{}", folded(command))
}

/// How the answers become one.
fn folded(command: &Command) -> &'static str {
    match (command.response_policy, command.name) {
        (Some(ResponsePolicy::OneSucceeded), _) => ", one has to succeed",
        (Some(ResponsePolicy::AllSucceeded), _) => ", all have to succeed",
        (Some(ResponsePolicy::AggLogicalAnd), _) => ", true if all are",
        (Some(ResponsePolicy::AggLogicalOr), _) => ", true if one is",
        (Some(ResponsePolicy::AggMin), _) => ", the least",
        (Some(ResponsePolicy::AggMax), _) => ", the greatest",
        (Some(ResponsePolicy::AggSum), _) => ", their sum",
        (_, "mget") => ", in the order of the keys",
        (_, "randomkey") => ", the first key",
        _ => ", joined",
    }
}

/// A command line, and the same with keys of one slot.
struct Sample {
    line: Vec<String>,
    same_slot: Vec<String>,
    keys: usize,
    channels: usize,
}

/// Command lines that were put to a server, by the name of their command; the one with the most keys.
struct Samples(BTreeMap<String, String>);

/// Where it matters what the arguments are.
const LINES: [&str; 12] = [
    "client reply off",
    "client tracking on",
    "client caching yes",
    "client no-evict on",
    "client no-touch on",
    "hello 3",
    "select 1",
    "scan 0",
    "script debug yes",
    "xread block 0 streams a b 0 0",
    "xreadgroup group g c block 0 streams a b 0 0",
    "migrate h 1 \"\" 0 10 keys a b",
];

fn samples() -> Samples {
    let mut samples: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let text = fs::read_to_string(folder("testdata/redis").join("getkeys.txt")).unwrap();
    let judged = text.lines().map(|line| line.split_once('\t').unwrap());
    let judged = judged.filter(|(_, answer)| !answer.is_empty() && !answer.starts_with('!'));
    let judged = judged.map(|(line, answer)| (line, answer.split(' ').count()));
    for (line, keys) in judged.chain(LINES.map(|line| (line, usize::MAX))) {
        let args = args(line);
        let message = Message::request(&args);
        let Some(command) = message.command() else { panic!("{line}") };
        let best = samples.entry(command.name.to_owned()).or_default();
        if keys > best.0 {
            *best = (keys, line.to_owned());
        }
    }
    Samples(samples.into_iter().map(|(name, (_, line))| (name, line)).collect())
}

fn args(line: &str) -> Vec<String> {
    line.split(' ').map(|arg| if arg == "\"\"" { String::new() } else { arg.to_owned() }).collect()
}

impl Samples {
    fn of(&self, command: &Command) -> Sample {
        let mut line = match self.0.get(command.name) {
            Some(line) => args(line),
            None => command.name.split('|').map(str::to_owned).collect(),
        };
        let least = usize::try_from(command.arity.unsigned_abs()).unwrap();
        line.extend((line.len()..least).map(|n| format!("x{n}")));
        assert!(command.takes(line.len()), "{line:?}");
        let bytes: Vec<_> = line.iter().map(String::as_bytes).collect();
        let keys = command.keys(&bytes).unwrap();
        let channels: Vec<_> = command.shard_channels(bytes.len()).collect();
        let mut same_slot = line.clone();
        for key in keys.iter().chain(&channels) {
            same_slot[*key] = format!("{{tag}}{}", line[*key]);
        }
        Sample { keys: keys.len(), channels: channels.len(), line, same_slot }
    }
}

/// Where its keys are.
fn keys(command: &Command) -> String {
    let specs = command.keys.iter().map(|spec| key_spec(command, spec));
    let mut specs: Vec<_> = specs.collect();
    specs.dedup();
    specs.join(", ")
}

fn key_spec(command: &Command, KeySpec { flags, begin, find }: &KeySpec) -> String {
    // Arguments are counted from the first that is no part of the name.
    let names = command.name.split('|').count();
    let nth = |index: usize| index + 1 - names;
    let text = match (begin, find) {
        (Begin::Keyword { word, .. }, _) => format!("`{}`", word.to_uppercase()),
        (Begin::Index(at), Find::Range { last: 0, .. }) => nth(*at).to_string(),
        (Begin::Index(at), Find::Range { last, step: 1, .. }) if *last > 0 => {
            let last = usize::try_from(*last).unwrap();
            format!("{}, {}", nth(*at), nth(at + last))
        }
        (Begin::Index(at), Find::Range { last: -1, step: 1, .. }) => format!("{}..", nth(*at)),
        (Begin::Index(at), Find::Range { last: -1, step, .. }) => {
            format!("{}, {}..", nth(*at), nth(at + step))
        }
        (Begin::Index(at), Find::Range { .. }) => format!("{}.. but the last", nth(*at)),
        (Begin::Index(at), Find::Count { at: count, first, .. }) => {
            format!("{}.. by {}", nth(at + first), nth(at + count))
        }
        // Of SORT's patterns and its STORE.
        (Begin::Unknown, _) | (_, Find::Unknown) if command.name == "sort" => "`STORE`".to_owned(),
        (Begin::Unknown, _) | (_, Find::Unknown) => String::new(),
    };
    let text = if text.is_empty() { "1".to_owned() } else { text };
    if flags.contains(KeyFlags::NOT_KEY) { format!("channels {text}") } else { text }
}
