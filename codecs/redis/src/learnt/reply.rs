//! The answer to `COMMAND`.

use super::definition::{Definition, Keys, Start};
use crate::{
    Message,
    command::{
        Categories, Find, Flags, KeyFlags, RequestPolicy, ResponsePolicy, find, find_exactly,
    },
    resp::Value,
};

/// No longer are names, of commands and subcommands, and words among the arguments.
pub(super) const NAME_MAX: usize = 64;

/// No longer is what is said of one command, its subcommands included.
const ENTRY_MAX: usize = 256 << 10;

/// Of so many commands at most it is taken over what they are.
const COMMANDS_MAX: usize = 1024;

/// At so many places at most a command has keys.
const PLACES_MAX: usize = 16;

/// The commands and subcommands that a server tells of and the table does not have. What is not understood is left out.
///
/// `[name, arity, flags, first key, last key, step]`, since Redis 6 `categories`, since 7 `tips, key specifications,
/// subcommands`.
pub(super) fn definitions(reply: &Message) -> Vec<Definition> {
    let mut found = Vec::new();
    for entry in reply.items().filter(|entry| entry.len() <= ENTRY_MAX) {
        if let Some(entry) = Value::parse(entry) {
            read(&entry, None, &mut found);
        }
        if found.len() >= COMMANDS_MAX {
            break;
        }
    }
    found.truncate(COMMANDS_MAX);
    found
}

/// One command and its subcommands.
fn read(entry: &Value<'_>, container: Option<&str>, found: &mut Vec<Definition>) -> Option<()> {
    let fields = entry.as_array()?;
    let name = fields.first()?.as_str().filter(|name| is_name(name))?.to_ascii_lowercase();
    let known = match container {
        None if name.contains('|') => return None,
        None => find(name.as_bytes(), None).is_some(),
        Some(container) => {
            let sub = name.strip_prefix(container)?.strip_prefix('|')?;
            if sub.is_empty() || sub.contains('|') {
                return None;
            }
            find_exactly(container.as_bytes(), || Some(sub.as_bytes())).is_ok()
        }
    };
    if !known {
        found.push(definition(name.clone(), fields)?.doubted());
    }
    if container.is_none()
        && let Some(subcommands) = fields.get(9).and_then(Value::as_array)
    {
        for subcommand in subcommands {
            read(subcommand, Some(&name), found);
        }
    }
    Some(())
}

fn definition(name: String, fields: &[Value<'_>]) -> Option<Definition> {
    let list = |n: usize| fields.get(n).and_then(Value::as_array).unwrap_or_default();
    let words = |n: usize| list(n).iter().filter_map(Value::as_bytes);
    let mut flags = words(2).filter_map(Flags::from_name).fold(Flags::NONE, Flags::or);
    let category = |word: &[u8]| Categories::from_name(word.strip_prefix(b"@")?);
    let categories = words(6).filter_map(category).fold(Categories::NONE, Categories::or);
    let (mut request_policy, mut response_policy) = (None, None);
    for tip in words(7) {
        if let Some(policy) = tip.strip_prefix(b"request_policy:") {
            request_policy = request(policy);
        } else if let Some(policy) = tip.strip_prefix(b"response_policy:") {
            response_policy = response(policy);
        } else if let Some(tip) = Flags::from_name(tip) {
            flags = flags.or(tip);
        }
    }
    let mut keys: Vec<_> =
        list(8).iter().take(PLACES_MAX).map(|spec| place(spec).unwrap_or(Keys::UNKNOWN)).collect();
    if list(8).len() > PLACES_MAX {
        keys.push(Keys::UNKNOWN);
    }
    if keys.is_empty() {
        keys.extend(range(fields));
    }
    Some(Definition {
        name,
        arity: i32::try_from(fields.get(1)?.as_integer()?).ok()?,
        flags,
        categories,
        keys,
        request_policy,
        response_policy,
    })
}

/// Where the keys are, as servers before version 7 tell it: from the first to the last, in steps.
fn range(fields: &[Value<'_>]) -> Option<Keys> {
    let number = |n: usize| fields.get(n)?.as_integer();
    let first = usize::try_from(number(3)?).ok().filter(|first| *first > 0)?;
    let place = || {
        let last = i32::try_from(number(4)?).ok()?;
        let last =
            if last < 0 { last } else { last.checked_sub_unsigned(u32::try_from(first).ok()?)? };
        let step = usize::try_from(number(5)?).ok().filter(|step| *step > 0)?;
        let find = (last >= 0 || number(4)? < 0).then_some(Find::Range { last, step, limit: 0 })?;
        Some(Keys { flags: KeyFlags::NONE, begin: Start::Index(first), find })
    };
    Some(place().unwrap_or(Keys::UNKNOWN))
}

/// A key specification: `{flags, begin_search: {type, spec}, find_keys: {type, spec}}`.
fn place(spec: &Value<'_>) -> Option<Keys> {
    let flags = spec.get("flags").and_then(Value::as_array).unwrap_or_default();
    let flags = flags.iter().filter_map(Value::as_bytes).filter_map(KeyFlags::from_name);
    let flags = flags.fold(KeyFlags::NONE, KeyFlags::or);
    let (begin, begins) = kind(spec.get("begin_search")?)?;
    let begin = match begin {
        "index" => Start::Index(unsigned(begins, "index").filter(|index| *index > 0)?),
        "keyword" => {
            let word = begins.get("keyword")?.as_str().filter(|word| is_name(word))?;
            Start::Keyword(word.to_ascii_lowercase(), signed(begins, "startfrom")?)
        }
        _ => return None,
    };
    let (find, finds) = kind(spec.get("find_keys")?)?;
    let find = match find {
        "range" => Find::Range {
            last: signed(finds, "lastkey")?,
            step: unsigned(finds, "keystep").filter(|step| *step > 0)?,
            limit: unsigned(finds, "limit")?,
        },
        "keynum" => Find::Count {
            at: unsigned(finds, "keynumidx")?,
            first: unsigned(finds, "firstkey")?,
            step: unsigned(finds, "keystep").filter(|step| *step > 0)?,
        },
        _ => return None,
    };
    Some(Keys { flags, begin, find })
}

/// Type and parameters of a part of a key specification.
fn kind<'v, 'a>(part: &'v Value<'a>) -> Option<(&'a str, &'v Value<'a>)> {
    Some((part.get("type")?.as_str()?, part.get("spec")?))
}

fn signed(parameters: &Value<'_>, name: &str) -> Option<i32> {
    i32::try_from(parameters.get(name)?.as_integer()?).ok()
}

/// No request has more arguments than that.
fn unsigned(parameters: &Value<'_>, name: &str) -> Option<usize> {
    usize::try_from(signed(parameters, name)?).ok()
}

fn request(policy: &[u8]) -> Option<RequestPolicy> {
    Some(match policy {
        b"all_nodes" => RequestPolicy::AllNodes,
        b"all_shards" => RequestPolicy::AllShards,
        b"multi_shard" => RequestPolicy::MultiShard,
        b"special" => RequestPolicy::Special,
        _ => return None,
    })
}

fn response(policy: &[u8]) -> Option<ResponsePolicy> {
    Some(match policy {
        b"one_succeeded" => ResponsePolicy::OneSucceeded,
        b"all_succeeded" => ResponsePolicy::AllSucceeded,
        b"agg_logical_and" => ResponsePolicy::AggLogicalAnd,
        b"agg_logical_or" => ResponsePolicy::AggLogicalOr,
        b"agg_min" => ResponsePolicy::AggMin,
        b"agg_max" => ResponsePolicy::AggMax,
        b"agg_sum" => ResponsePolicy::AggSum,
        _ => ResponsePolicy::Special,
    })
}

/// As names of commands are: short, and without blanks.
fn is_name(name: &str) -> bool {
    let max = NAME_MAX.saturating_mul(2);
    !name.is_empty() && name.len() <= max && name.bytes().all(|byte| byte.is_ascii_graphic())
}
