//! `codecs/redis/src/command/table.rs`, from what the server says of its commands.

use std::fmt::Write;

use anyhow::{Context, bail};

use super::client::{Client, Value};

const HEAD: &str = "\
//! The commands, as `COMMAND` and `COMMAND DOCS` of redis-server VERSION tell them.
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

/// The whole file.
pub(super) fn render(client: &mut Client) -> anyhow::Result<String> {
    let info = client.call(&["INFO", "server"])?;
    let version = info.text()?.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut out = HEAD.replace("VERSION", version.context("no redis_version")?);
    let commands = client.call(&["COMMAND"])?;
    let docs = client.call(&["COMMAND", "DOCS"])?;
    let mut commands: Vec<_> =
        commands.list()?.iter().map(Value::list).collect::<Result<_, _>>()?;
    commands.sort_by_key(|fields| fields[0].text().unwrap_or_default().to_owned());
    for fields in commands {
        command(&mut out, 1, fields, docs.get(fields[0].text()?)?)?;
    }
    out.push_str(TAIL);
    Ok(out)
}

fn command(out: &mut String, depth: usize, fields: &[Value], docs: &Value) -> anyhow::Result<()> {
    let [name, arity, flags, _, _, _, categories, tips, specs, subcommands] = fields else {
        bail!("{} fields", fields.len());
    };
    let name = name.text()?;
    let mut words = flags.texts()?;
    if MAY_REPLICATE.contains(&name) {
        words.push("may_replicate");
    }
    let (mut request, mut response) = ("None".to_owned(), "None".to_owned());
    for tip in tips.texts()? {
        match tip.split_once(':') {
            Some(("request_policy", policy)) => request = policy_of("RequestPolicy", policy),
            Some(("response_policy", policy)) => response = policy_of("ResponsePolicy", policy),
            None => words.push(tip),
            Some(_) => bail!("{name}: what is {tip}?"),
        }
    }
    let specs: Vec<_> = specs.list()?.iter().map(key_spec).collect::<Result<_, _>>()?;
    let mut categories = categories.texts()?;
    categories.iter_mut().for_each(|name| *name = name.trim_start_matches('@'));
    let indent = "    ".repeat(depth);
    write!(
        out,
        "{indent}Command {{ name: \"{name}\", group: \"{}\", since: \"{}\", arity: {}, flags: {}, categories: {}, \
         keys: &[{}], request_policy: {request}, response_policy: {response}, class: class(\"{name}\"), subcommands: &[",
        docs.get("group")?.text()?,
        docs.get("since")?.text()?,
        arity.int()?,
        set("F", &words),
        set("C", &categories),
        specs.join(", "),
    )?;
    let subcommands = subcommands.list()?;
    if !subcommands.is_empty() {
        out.push('\n');
        let mut subcommands: Vec<_> =
            subcommands.iter().map(Value::list).collect::<Result<_, _>>()?;
        subcommands.sort_by_key(|fields| fields[0].text().unwrap_or_default().to_owned());
        for fields in subcommands {
            let docs = docs.get("subcommands")?.get(fields[0].text()?)?;
            command(out, depth + 1, fields, docs)?;
        }
        out.push_str(&indent);
    }
    out.push_str("] },\n");
    Ok(())
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
fn policy_of(kind: &str, policy: &str) -> String {
    let camel: String =
        policy.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    format!("Some({kind}::{camel})")
}
