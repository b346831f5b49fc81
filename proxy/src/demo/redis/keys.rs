//! Keys, whatever their values are.

use std::time::{Duration, Instant};

use wiremesh_redis::acl::matches;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    out::{Fault, SYNTAX, integer, is},
    session::Call,
    store::DATABASES,
};

pub(super) fn run(call: &mut Call<'_>) -> Result<bool, Fault> {
    let (args, db) = (call.args, call.db);
    let mut store = call.server.store.borrow_mut();
    let out = &mut *call.out;
    match call.name {
        "del" | "unlink" => out.count(args[1..].iter().filter(|key| store.remove(db, key)).count()),
        "exists" | "touch" => {
            out.count(args[1..].iter().filter(|key| store.entry(db, key).is_some()).count());
        }
        "type" => {
            out.simple(store.entry(db, args[1]).map_or("none", |entry| entry.value.type_name()));
        }
        "expire" | "pexpire" => {
            let unit = if call.name == "expire" { 1000 } else { 1 };
            let at = expiry(call.name, args[2], unit);
            match (integer(args[2])?, at) {
                (..=0, _) => out.integer(i64::from(store.remove(db, args[1]))),
                (_, at) => {
                    let at = at?;
                    let entry = store.change(db, args[1]);
                    out.integer(i64::from(entry.is_some()));
                    if let Some(entry) = entry {
                        entry.expires = Some(at);
                    }
                }
            }
        }
        "persist" => {
            let entry = store.change(db, args[1]);
            out.integer(i64::from(entry.is_some_and(|entry| entry.expires.take().is_some())));
        }
        "ttl" | "pttl" => {
            let left = match store.entry(db, args[1]) {
                None => -2,
                Some(entry) => entry.expires.map_or(-1, |at| {
                    let millis = at.saturating_duration_since(Instant::now()).as_millis();
                    let unit = if call.name == "ttl" { 1000 } else { 1 };
                    i64::try_from((millis + unit / 2) / unit).unwrap_or(i64::MAX)
                }),
            };
            out.integer(left);
        }
        "keys" => {
            let found = store.keys(db).filter(|(key, _)| matches(args[1], key));
            out.bulks(found.map(|(key, _)| key).collect::<Vec<_>>().iter());
        }
        "scan" => {
            let (next, keys) = scan(args, store.keys(db))?;
            out.array(2);
            out.bulk(next.to_string());
            out.bulks(keys.iter());
        }
        "dbsize" => out.count(store.keys(db).count()),
        "flushdb" => {
            store.clear(db);
            out.ok();
        }
        "flushall" => {
            (0..DATABASES).for_each(|db| store.clear(db));
            out.ok();
        }
        "rename" => {
            let entry = store.entry(db, args[1]).ok_or("ERR no such key")?;
            let (value, expires) = (entry.value.clone(), entry.expires);
            store.remove(db, args[1]);
            store.put(db, args[2], value, expires);
            out.ok();
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// When something expires that is to live so many units of so many milliseconds.
pub(super) fn expiry(command: &str, number: &[u8], unit: u64) -> Result<Instant, Fault> {
    let invalid = || format!("ERR invalid expire time in '{command}' command");
    let number = u64::try_from(integer(number)?).map_err(|_| invalid())?;
    let millis = number.checked_mul(unit).ok_or_else(invalid)?;
    Ok(Instant::now().checked_add(Duration::from_millis(millis)).ok_or_else(invalid)?)
}

/// Keys in the order of their hashes: the cursor is that of the next.
fn scan<'a>(
    args: &[&[u8]],
    keys: impl Iterator<Item = (&'a [u8], &'static str)>,
) -> Result<(u64, Vec<&'a [u8]>), Fault> {
    let cursor = std::str::from_utf8(args[1]).ok().and_then(|text| text.parse::<u64>().ok());
    let cursor = cursor.ok_or("ERR invalid cursor")?;
    let (mut count, mut pattern, mut of_type) = (10, None, None);
    for option in args[2..].chunks(2) {
        match option {
            [word, number] if is(word, "count") => {
                count = usize::try_from(integer(number)?).ok().filter(|n| *n > 0).ok_or(SYNTAX)?;
            }
            [word, text] if is(word, "match") => pattern = Some(*text),
            [word, text] if is(word, "type") => of_type = Some(*text),
            _ => return Err(SYNTAX),
        }
    }
    // 0 is where it begins and ends.
    let hash = |key: &[u8]| (xxh3_64(key) >> 32).max(1);
    let mut left: Vec<_> = keys.map(|(key, of)| (hash(key), key, of)).collect();
    left.retain(|(hash, ..)| *hash >= cursor);
    left.sort_unstable();
    // Those of one hash come together.
    let end = left
        .get(count)
        .map_or(left.len(), |(first, ..)| left.partition_point(|(hash, ..)| hash < first).max(1));
    let end = left.get(end).map_or(end, |(first, ..)| {
        let same = left[end - 1].0 == *first;
        if same { left.partition_point(|(hash, ..)| hash <= first) } else { end }
    });
    let next = left.get(end).map_or(0, |(hash, ..)| *hash);
    let wanted = |(_, key, of): &(u64, &'a [u8], &str)| {
        pattern.is_none_or(|pattern| matches(pattern, key))
            && of_type.is_none_or(|wanted| is(wanted, of))
    };
    let found = left[..end].iter().filter(|entry| wanted(entry)).map(|(_, key, _)| *key);
    Ok((next, found.collect()))
}
