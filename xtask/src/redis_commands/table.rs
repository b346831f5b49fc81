//! `codecs/redis/src/command/table.rs`, from what the server says of its commands.

use std::fmt::Write;

use anyhow::{Context, bail};

use super::client::{Client, Value};

const HEAD: &str = "\
//! The commands, as `COMMAND` and `COMMAND DOCS` of redis-server VERSION tell them, with what 7.2 added to them.
//!
//! Written by `cargo xtask redis-commands`; do not edit.

use super::class::class;
use super::{
    Begin, Categories as C, Command, Find, Flags as F, KeyFlags as K, KeySpec, RequestPolicy,
    ResponsePolicy,
};

/// All of them but the subcommands, in the order of their names.
#[rustfmt::skip]
pub static COMMANDS: &[Command] = &[
";

const TAIL: &str = "\
];

const fn range(flags: K, begin: Begin, last: i32, step: usize, limit: usize) -> KeySpec {
    KeySpec { flags, begin, find: Find::Range { last, step, limit } }
}

const fn count(flags: K, begin: Begin, at: usize, first: usize, step: usize) -> KeySpec {
    KeySpec { flags, begin, find: Find::Count { at, first, step } }
}

const fn unknown(flags: K) -> KeySpec {
    KeySpec { flags, begin: Begin::Unknown, find: Find::Unknown }
}

const fn keyword(word: &'static str, from: i32) -> Begin {
    Begin::Keyword { word, from }
}
";

/// Flags that the server has and does not tell, by its documentation.
const MAY_REPLICATE: [&str; 6] = ["eval", "evalsha", "fcall", "pfcount", "publish", "spublish"];

/// What version 7.2 has besides, by its documentation: name, group, arity, flags, categories, policies.
const OF_7_2: [Newer; 4] = [
    ("client|no-touch", "connection", 3, CONNECTION, &["slow", "connection"], ("None", "None")),
    (
        "client|setinfo",
        "connection",
        4,
        CONNECTION,
        &["slow", "connection"],
        ("AllNodes", "AllSucceeded"),
    ),
    (
        "cluster|myshardid",
        "cluster",
        2,
        &["stale", "nondeterministic_output"],
        &["slow"],
        ("None", "None"),
    ),
    (
        "waitaof",
        "generic",
        4,
        &["noscript", "blocking"],
        &["slow", "blocking", "connection"],
        ("AllShards", "AggMin"),
    ),
];

type Newer = (
    &'static str,
    &'static str,
    i64,
    &'static [&'static str],
    &'static [&'static str],
    (&'static str, &'static str),
);

const CONNECTION: &[&str] = &["noscript", "loading", "stale"];

/// A command as it is written into the table.
struct Row {
    name: String,
    group: String,
    since: String,
    arity: i64,
    flags: String,
    categories: String,
    keys: String,
    request: String,
    response: String,
    subcommands: Vec<Self>,
}

/// The whole file.
pub(super) fn render(client: &mut Client) -> anyhow::Result<String> {
    let info = client.call(&["INFO", "server"])?;
    let version = info.text()?.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut out = HEAD.replace("VERSION", version.context("no redis_version")?);
    let docs = client.call(&["COMMAND", "DOCS"])?;
    let mut rows = rows(client.call(&["COMMAND"])?.list()?, &docs)?;
    for newer in OF_7_2 {
        let row = newer_row(newer);
        let siblings = match row.name.split_once('|') {
            None => &mut rows,
            Some((container, _)) => {
                let container = rows.iter_mut().find(|row| row.name == container);
                &mut container.context("no such container")?.subcommands
            }
        };
        siblings.push(row);
        siblings.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let mut id = 0;
    for row in &rows {
        row.write(&mut out, "    ", &mut id)?;
    }
    out.push_str(TAIL);
    Ok(out)
}

impl Row {
    fn write(&self, out: &mut String, indent: &str, id: &mut usize) -> anyhow::Result<()> {
        let Self { name, group, since, arity, flags, categories, keys, request, response, .. } =
            self;
        let title = name.replace('|', " ").to_uppercase();
        write!(
            out,
            "{indent}Command {{ id: {id}, name: \"{name}\", title: \"{title}\", group: \"{group}\", since: \"{since}\", arity: {arity}, \
             flags: {flags}, categories: {categories}, keys: &[{keys}], request_policy: {request}, \
             response_policy: {response}, class: class(\"{name}\"), subcommands: &["
        )?;
        *id += 1;
        for (number, row) in self.subcommands.iter().enumerate() {
            out.push_str(if number == 0 { "\n" } else { "" });
            row.write(out, &format!("    {indent}"), id)?;
        }
        out.push_str(if self.subcommands.is_empty() { "" } else { indent });
        out.push_str("] },\n");
        Ok(())
    }
}

fn newer_row((name, group, arity, flags, categories, policies): Newer) -> Row {
    Row {
        name: name.to_owned(),
        group: group.to_owned(),
        since: "7.2.0".to_owned(),
        arity,
        flags: set("F", flags),
        categories: set("C", categories),
        keys: String::new(),
        request: some("RequestPolicy", policies.0),
        response: some("ResponsePolicy", policies.1),
        subcommands: Vec::new(),
    }
}

/// Sorted by name.
fn rows(commands: &[Value], docs: &Value) -> anyhow::Result<Vec<Row>> {
    let row = |fields: &Value| row(fields.list()?, docs);
    let mut rows: Vec<_> = commands.iter().map(row).collect::<anyhow::Result<_>>()?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn row(fields: &[Value], docs: &Value) -> anyhow::Result<Row> {
    let [name, arity, flags, _, _, _, categories, tips, specs, subcommands] = fields else {
        bail!("{} fields", fields.len());
    };
    let name = name.text()?;
    let docs = docs.get(name)?;
    let mut words = flags.texts()?;
    if MAY_REPLICATE.contains(&name) {
        words.push("may_replicate");
    }
    let (mut request, mut response) = ("None".to_owned(), "None".to_owned());
    for tip in tips.texts()? {
        match tip.split_once(':') {
            Some(("request_policy", policy)) => request = some("RequestPolicy", &camel(policy)),
            Some(("response_policy", policy)) => response = some("ResponsePolicy", &camel(policy)),
            None => words.push(tip),
            Some(_) => bail!("{name}: what is {tip}?"),
        }
    }
    let keys: Vec<_> = specs.list()?.iter().map(key_spec).collect::<Result<_, _>>()?;
    let mut categories = categories.texts()?;
    categories.iter_mut().for_each(|name| *name = name.trim_start_matches('@'));
    Ok(Row {
        name: name.to_owned(),
        group: docs.get("group")?.text()?.to_owned(),
        since: docs.get("since")?.text()?.to_owned(),
        arity: arity.int()?,
        flags: set("F", &words),
        categories: set("C", &categories),
        keys: keys.join(", "),
        request,
        response,
        subcommands: match subcommands.list()? {
            [] => Vec::new(),
            subcommands => rows(subcommands, docs.get("subcommands")?)?,
        },
    })
}

fn key_spec(spec: &Value) -> anyhow::Result<String> {
    let flags = set("K", &spec.get("flags")?.texts()?);
    let number = |part: &Value, name: &str| part.get("spec")?.get(name)?.int();
    let begin = spec.get("begin_search")?;
    let begin = match begin.get("type")?.text()? {
        "index" => format!("Begin::Index({})", number(begin, "index")?),
        "keyword" => {
            let word = begin.get("spec")?.get("keyword")?.text()?.to_lowercase();
            format!("keyword(\"{word}\", {})", number(begin, "startfrom")?)
        }
        "unknown" => return Ok(format!("unknown({flags})")),
        other => bail!("begin_search {other}?"),
    };
    let find = spec.get("find_keys")?;
    let (function, parameters) = match find.get("type")?.text()? {
        "range" => ("range", ["lastkey", "keystep", "limit"]),
        "keynum" => ("count", ["keynumidx", "firstkey", "keystep"]),
        other => bail!("find_keys {other}?"),
    };
    let numbers: Vec<_> = parameters
        .iter()
        .map(|name| Ok(number(find, name)?.to_string()))
        .collect::<anyhow::Result<_>>()?;
    Ok(format!("{function}({flags}, {begin}, {})", numbers.join(", ")))
}

/// `F::WRITE.or(F::FAST)`
fn set(kind: &str, words: &[&str]) -> String {
    let mut words = words.iter().map(|word| format!("{kind}::{}", word.to_uppercase()));
    let first = words.next().unwrap_or_else(|| format!("{kind}::NONE"));
    words.fold(first, |all, word| format!("{all}.or({word})"))
}

/// `Some(RequestPolicy::AllShards)`
fn some(kind: &str, policy: &str) -> String {
    if policy == "None" { policy.to_owned() } else { format!("Some({kind}::{policy})") }
}

/// `all_shards` is `AllShards`.
fn camel(policy: &str) -> String {
    policy.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}
