//! Are two answers to one command the same, as far as they have to be?

use std::collections::BTreeMap;

use crate::conn::{Answer, Cmd};
use crate::exceptions::{Treatment, may_be_refused, treatment};
use crate::resp::Value;

/// `queue` is what EXEC answers.
pub(crate) fn same(cmd: &Cmd, queue: &[Cmd], a: &Answer, b: &Answer) -> bool {
    if a == b {
        return true;
    }
    if a.end != b.end || a.values.len() != b.values.len() {
        return false;
    }
    if cmd.name().ends_with("UNSUBSCRIBE") && cmd.args().len() == 1 {
        return unsubscribed(&a.values) == unsubscribed(&b.values);
    }
    a.values.iter().zip(&b.values).all(|(a, b)| {
        if cmd.name() != "EXEC" || queue.len() != a.items().len() {
            return equal(cmd, a, b);
        }
        kind(a) == kind(b)
            && a.items().len() == b.items().len()
            && queue.iter().zip(a.items().iter().zip(b.items())).all(|(q, (a, b))| equal(q, a, b))
    })
}

/// Does the proxy say that it does not do this, as it may?
pub(crate) fn is_refusal(cmd: &Cmd, answer: &Answer) -> bool {
    let [value] = answer.values.as_slice() else { return false };
    let text = value.text().unwrap_or_default();
    let refused = text.starts_with(b"ERR wiremesh: ") && may_be_refused(cmd);
    (value.is_error() && refused) || of_many(answer)
}

/// Does the proxy say that a command is about one server, all, or several, of a cluster? It says so of no other.
pub(crate) fn of_many(answer: &Answer) -> bool {
    let [value] = answer.values.as_slice() else { return false };
    let text = value.text().unwrap_or_default();
    let said = |start: &[u8]| value.is_error() && text.starts_with(start);
    said(b"CROSSSLOT ")
        || said(b"ERR wiremesh: this is about one server")
        || said(b"ERR wiremesh: this is about all shards")
}

/// What came unasked for: per channel in order, and the keys of invalidations as a set.
pub(crate) fn pushes(pushed: &[Value]) -> BTreeMap<Vec<u8>, Vec<Value>> {
    let mut by_channel = BTreeMap::<_, Vec<_>>::new();
    for value in pushed {
        let (kind, items) = (value.first(), value.items());
        if kind == b"invalidate" {
            let keys = by_channel.entry(kind.to_vec()).or_default();
            let none = std::slice::from_ref(&items[1]);
            keys.extend_from_slice(if items[1].items().is_empty() {
                none
            } else {
                items[1].items()
            });
            keys.sort();
            keys.dedup();
        } else {
            let channel = items.get(1).and_then(Value::text).unwrap_or_default();
            by_channel.entry([kind, b" ", channel].concat()).or_default().push(value.clone());
        }
    }
    by_channel
}

fn equal(cmd: &Cmd, a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    // An error is said in the same words whatever the command.
    if a.is_error() || b.is_error() {
        return false;
    }
    match treatment(cmd) {
        None => false,
        Some(Treatment::Unordered) => unordered(a) == unordered(b),
        Some(Treatment::Pairs) => pairs(a) == pairs(b),
        Some(Treatment::Within(most)) => within(most, a, b),
        Some(Treatment::Shape) => kind(a) == kind(b) && a.items().len() == b.items().len(),
        Some(Treatment::Success) => true,
        Some(Treatment::Without(names)) => without(names, a) == without(names, b),
        Some(Treatment::Fields(names)) => {
            let of = |v: &Value| {
                let text = String::from_utf8_lossy(v.text().unwrap_or_default()).into_owned();
                let all: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
                let of = |f: &&String| f.split_once('=').is_some_and(|(n, _)| names.contains(&n));
                (kind(v), all.iter().filter(of).cloned().collect::<Vec<_>>())
            };
            of(a) == of(b)
        }
        Some(Treatment::Info) => info(a) == info(b),
    }
}

/// The type byte, and whether it is null.
fn kind(value: &Value) -> (u8, bool) {
    match value {
        Value::Line(kind, _) => (*kind, false),
        Value::Blob(kind, text) => (*kind, text.is_none()),
        Value::Many(kind, items) => (*kind, items.is_none()),
    }
}

fn unordered(value: &Value) -> Value {
    let Value::Many(kind, Some(items)) = value else { return value.clone() };
    let items: Vec<_> = items.iter().map(unordered).collect();
    if matches!(kind, b'%' | b'|') {
        return pairs(&Value::Many(*kind, Some(items)));
    }
    let mut items = items;
    items.sort();
    Value::Many(*kind, Some(items))
}

fn pairs(value: &Value) -> Value {
    let Value::Many(kind, Some(items)) = value else { return value.clone() };
    let mut pairs: Vec<_> = items.chunks(2).map(<[_]>::to_vec).collect();
    pairs.sort();
    Value::Many(*kind, Some(pairs.concat()))
}

fn within(most: i64, a: &Value, b: &Value) -> bool {
    if let (Some(a), Some(b)) = (a.int(), b.int()) {
        return a == b || (a >= 0 && b >= 0 && a.abs_diff(b) <= most.unsigned_abs());
    }
    let (x, y) = (a.items(), b.items());
    if x.is_empty() {
        return a == b;
    }
    kind(a) == kind(b) && x.len() == y.len() && x.iter().zip(y).all(|(a, b)| within(most, a, b))
}

fn without(names: &[&str], value: &Value) -> Value {
    let Value::Many(kind, Some(items)) = value else { return value.clone() };
    let mut items = items.clone();
    for n in 1..items.len() {
        let name = items[n - 1].text().unwrap_or_default();
        if names.iter().any(|hidden| hidden.as_bytes() == name) {
            items[n] = Value::Line(b'+', b"hidden".to_vec());
        }
    }
    Value::Many(*kind, Some(items))
}

/// The names, and of databases how many keys.
fn info(value: &Value) -> Vec<String> {
    let text = String::from_utf8_lossy(value.text().unwrap_or_default()).into_owned();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (name, content) = line.split_once(':').unwrap_or((line, ""));
        // There are as many of these as there have been commands.
        if ["cmdstat_", "errorstat_", "latency_percentiles"].iter().any(|p| name.starts_with(p)) {
            continue;
        }
        let keys = content.split(",avg_ttl").next().unwrap_or_default();
        let is_database = content.starts_with("keys=");
        lines.push(if is_database { format!("{name}:{keys}") } else { name.to_owned() });
    }
    lines
}

/// Which subscriptions were given up, and how many are left in the end.
fn unsubscribed(values: &[Value]) -> (Vec<Option<&[u8]>>, Option<&Value>) {
    let name = |v: &Value| v.items().get(1).cloned();
    let mut names: Vec<_> = values.iter().map(|v| v.items().get(1).and_then(Value::text)).collect();
    names.sort();
    debug_assert!(values.iter().all(|v| name(v).is_some() || v.is_error()));
    (names, values.last().and_then(|v| v.items().get(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &str) -> Answer {
        let (value, _) = Value::parse(bytes.as_bytes()).unwrap().unwrap();
        Answer { values: vec![value], end: None }
    }

    fn check(cmd: &str, a: &str, b: &str) -> bool {
        let cmd = Cmd::new(&cmd.split(' ').collect::<Vec<_>>());
        let queue = [Cmd::new(&["SMEMBERS", "a"]), Cmd::new(&["GET", "a"])];
        same(&cmd, &queue, &answer(a), &answer(b))
    }

    #[test]
    fn only_what_is_written_may_differ() {
        let (ab, ba) = ("*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n");
        assert!(check("SMEMBERS s", ab, ba));
        assert!(!check("SMEMBERS s", ab, "*1\r\n+a\r\n"));
        assert!(!check("LRANGE s 0 -1", ab, ba));
        assert!(check("TTL s", ":100\r\n", ":99\r\n"));
        assert!(!check("TTL s", ":0\r\n", ":-1\r\n"));
        assert!(!check("TTL s", ":100\r\n", "-ERR\r\n"));
        assert!(check("CLIENT ID", ":100\r\n", ":9\r\n"));
        assert!(!check("CLIENT ID", ":100\r\n", "+9\r\n"));
        assert!(check("HELLO", "*2\r\n+id\r\n:1\r\n", "*2\r\n+id\r\n:2\r\n"));
        assert!(!check("HELLO", "*2\r\n+proto\r\n:2\r\n", "*2\r\n+proto\r\n:3\r\n"));
        assert!(check("INFO", "$12\r\ndb0:keys=1,a\r\n", "$12\r\ndb0:keys=1,a\r\n"));
        assert!(!check("INFO", "$10\r\ndb0:keys=1\r\n", "$10\r\ndb0:keys=2\r\n"));
    }

    #[test]
    fn exec_answers_what_was_queued() {
        let set = |set: &str| format!("*2\r\n{set}+x\r\n");
        let (ab, ba) = (set("*2\r\n+a\r\n+b\r\n"), set("*2\r\n+b\r\n+a\r\n"));
        assert!(check("EXEC", &ab, &ba));
        assert!(!check("EXEC", "*2\r\n+x\r\n*2\r\n+a\r\n+b\r\n", "*2\r\n+x\r\n*2\r\n+b\r\n+a\r\n"));
    }
}
