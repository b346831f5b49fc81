//! Hashes and sets.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    out::{Fault, NOT_INTEGER, integer},
    session::Call,
};

type Hash = BTreeMap<Vec<u8>, Vec<u8>>;
type Set = BTreeSet<Vec<u8>>;

pub(super) fn run(call: &mut Call<'_>) -> Result<bool, Fault> {
    let (args, db) = (call.args, call.db);
    let mut store = call.server.store.borrow_mut();
    let out = &mut *call.out;
    match call.name {
        "hset" => {
            if !args.len().is_multiple_of(2) {
                return Err("ERR wrong number of arguments for 'hset' command".into());
            }
            let hash: &mut Hash = store.made(db, args[1])?;
            let pairs = args[2..].as_chunks::<2>().0;
            let fresh = |[field, value]: &&[&[u8]; 2]| {
                hash.insert(field.to_vec(), value.to_vec()).is_none()
            };
            out.count(pairs.iter().filter(fresh).count());
        }
        "hget" => {
            out.maybe(store.read::<Hash>(db, args[1])?.and_then(|hash| hash.get(args[2])));
        }
        "hgetall" => {
            let empty = Hash::new();
            let hash = store.read::<Hash>(db, args[1])?.unwrap_or(&empty);
            out.map(hash.len());
            for (field, value) in hash {
                out.bulk(field);
                out.bulk(value);
            }
        }
        "hdel" => {
            let hash = store.existing::<Hash>(db, args[1])?;
            let gone = hash.map_or(0, |hash| {
                args[2..].iter().filter(|field| hash.remove(**field).is_some()).count()
            });
            out.count(gone);
            store.tidy(db, args[1]);
        }
        "hlen" => out.count(store.read::<Hash>(db, args[1])?.map_or(0, BTreeMap::len)),
        "hincrby" => {
            let more = integer(args[3])?;
            let hash: &mut Hash = store.made(db, args[1])?;
            let before = hash.get(args[2]).map_or(Ok(0), |text| integer(text));
            let before = before.map_err(|_| "ERR hash value is not an integer")?;
            let sum = before.checked_add(more).ok_or(NOT_INTEGER)?;
            hash.insert(args[2].to_vec(), sum.to_string().into_bytes());
            out.integer(sum);
        }
        "sadd" => {
            let set: &mut Set = store.made(db, args[1])?;
            out.count(args[2..].iter().filter(|member| set.insert(member.to_vec())).count());
        }
        "srem" => {
            let set = store.existing::<Set>(db, args[1])?;
            let gone =
                set.map_or(0, |set| args[2..].iter().filter(|member| set.remove(**member)).count());
            out.count(gone);
            store.tidy(db, args[1]);
        }
        "smembers" => {
            let empty = Set::new();
            let set = store.read::<Set>(db, args[1])?.unwrap_or(&empty);
            out.set(set.len());
            set.iter().for_each(|member| out.bulk(member));
        }
        "scard" => out.count(store.read::<Set>(db, args[1])?.map_or(0, BTreeSet::len)),
        "sismember" => {
            let set = store.read::<Set>(db, args[1])?;
            out.integer(i64::from(set.is_some_and(|set| set.contains(args[2]))));
        }
        "sunion" => {
            let mut all = Set::new();
            for key in &args[1..] {
                all.extend(store.read::<Set>(db, key)?.into_iter().flatten().cloned());
            }
            out.set(all.len());
            all.iter().for_each(|member| out.bulk(member));
        }
        _ => return Ok(false),
    }
    Ok(true)
}
