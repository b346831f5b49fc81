//! Strings.

use std::time::Instant;

use super::{
    keys::expiry,
    out::{Fault, NOT_INTEGER, SYNTAX, integer, is},
    session::Call,
    store::{Store, Value},
};

pub(super) fn run(call: &mut Call<'_>) -> Result<bool, Fault> {
    let (args, db) = (call.args, call.db);
    let mut store = call.server.store.borrow_mut();
    let out = &mut *call.out;
    match call.name {
        "get" => out.maybe(store.read::<Vec<u8>>(db, args[1])?),
        "set" => set(&mut store, call)?,
        "setnx" => {
            let fresh = store.entry(db, args[1]).is_none();
            if fresh {
                store.put(db, args[1], Value::String(args[2].into()), None);
            }
            out.integer(i64::from(fresh));
        }
        "setex" | "psetex" => {
            let unit = if call.name == "setex" { 1000 } else { 1 };
            let expires = expiry(call.name, args[2], unit)?;
            store.put(db, args[1], Value::String(args[3].into()), Some(expires));
            out.ok();
        }
        "getset" => {
            out.maybe(store.read::<Vec<u8>>(db, args[1])?);
            store.put(db, args[1], Value::String(args[2].into()), None);
        }
        "getdel" => {
            out.maybe(store.read::<Vec<u8>>(db, args[1])?);
            store.remove(db, args[1]);
        }
        "incr" => out.integer(add(&mut store, db, args[1], 1)?),
        "decr" => out.integer(add(&mut store, db, args[1], -1)?),
        "incrby" => out.integer(add(&mut store, db, args[1], integer(args[2])?)?),
        "decrby" => {
            let less = integer(args[2])?.checked_neg().ok_or("ERR decrement would overflow")?;
            out.integer(add(&mut store, db, args[1], less)?);
        }
        "append" => {
            let value: &mut Vec<u8> = store.made(db, args[1])?;
            value.extend_from_slice(args[2]);
            out.count(value.len());
        }
        "strlen" => out.count(store.read::<Vec<u8>>(db, args[1])?.map_or(0, Vec::len)),
        "mget" => {
            out.array(args.len() - 1);
            for key in &args[1..] {
                out.maybe(store.read::<Vec<u8>>(db, key).ok().flatten());
            }
        }
        "mset" | "msetnx" => {
            if args.len().is_multiple_of(2) {
                let name = call.name;
                return Err(format!("ERR wrong number of arguments for '{name}' command").into());
            }
            let pairs = args[1..].as_chunks::<2>().0;
            let none = pairs.iter().all(|[key, _]| store.entry(db, key).is_none());
            let sets = none || call.name == "mset";
            for [key, value] in pairs.iter().filter(|_| sets) {
                store.put(db, key, Value::String((*value).into()), None);
            }
            if call.name == "mset" { out.ok() } else { out.integer(i64::from(sets)) }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn set(store: &mut Store, call: &mut Call<'_>) -> Result<(), Fault> {
    let (args, db, out) = (call.args, call.db, &mut *call.out);
    let (key, value) = (args[1], args[2]);
    let (mut only_new, mut only_old, mut get, mut keep) = (false, false, false, false);
    let mut expires: Option<Instant> = None;
    let mut rest = &args[3..];
    while let [option, more @ ..] = rest {
        rest = more;
        match option {
            option if is(option, "nx") => only_new = true,
            option if is(option, "xx") => only_old = true,
            option if is(option, "get") => get = true,
            option if is(option, "keepttl") => keep = true,
            option if is(option, "ex") || is(option, "px") => {
                let [number, more @ ..] = rest else { return Err(SYNTAX) };
                if integer(number)? <= 0 {
                    return Err("ERR invalid expire time in 'set' command".into());
                }
                let unit = if is(option, "ex") { 1000 } else { 1 };
                expires = Some(expiry("set", number, unit)?);
                rest = more;
            }
            _ => return Err(SYNTAX),
        }
    }
    if (only_new && only_old) || (keep && expires.is_some()) {
        return Err(SYNTAX);
    }
    let there = store.entry(db, key).is_some();
    if get {
        out.maybe(store.read::<Vec<u8>>(db, key)?);
    }
    let sets = if there { !only_new } else { !only_old };
    if sets {
        if keep {
            expires = store.entry(db, key).and_then(|entry| entry.expires);
        }
        store.put(db, key, Value::String(value.into()), expires);
    }
    match (get, sets) {
        (true, _) => {}
        (false, true) => out.ok(),
        (false, false) => out.null(),
    }
    Ok(())
}

fn add(store: &mut Store, db: usize, key: &[u8], more: i64) -> Result<i64, Fault> {
    let before = match store.read::<Vec<u8>>(db, key)? {
        Some(text) => integer(text).map_err(|_| NOT_INTEGER)?,
        None => 0,
    };
    let sum = before.checked_add(more).ok_or("ERR increment or decrement would overflow")?;
    let value: &mut Vec<u8> = store.made(db, key)?;
    *value = sum.to_string().into_bytes();
    Ok(sum)
}
