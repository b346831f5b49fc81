//! Commands that are taken apart: by the slots of their keys, and by the clusters that routes lead these to.

use std::collections::BTreeMap;

use wiremesh::correlation::{Access, Part, Portion, Step, Target, View};

use super::{
    CROSSSLOT, access, fold,
    gather::{Fold, Gathered, InOrder},
    scan, targets,
};
use crate::{
    Message, Redis,
    command::{Command, Find, RequestPolicy, ResponsePolicy},
    resp::Version,
    slot::slot,
};

/// What is said to a command whose keys belong to several clusters, and which cannot be taken apart.
pub(crate) const CROSSCLUSTER: &str =
    "CROSSSLOT wiremesh: routes lead its keys to different clusters";

/// Whether a command with keys of several slots may be taken apart.
pub(super) fn is_divisible(command: &Command) -> bool {
    // The table has MSETNX among them, but that must set all or nothing.
    command.request_policy == Some(RequestPolicy::MultiShard) && command.name != "msetnx"
}

/// Whether a command is about data of several clusters: by its keys, or because it is about all that there is.
pub(crate) fn is_across(view: &View<'_>, command: &Command) -> bool {
    let keyed = view.portions.first().is_some_and(|portion| !portion.subjects.is_empty());
    keyed || (!view.portions.is_empty() && is_of_all(command.name))
}

/// Whether a command without keys is about all keys, or about scripts that any key's cluster may be asked to run.
fn is_of_all(name: &str) -> bool {
    matches!(
        name,
        "flushall"
            | "flushdb"
            | "swapdb"
            | "dbsize"
            | "keys"
            | "scan"
            | "randomkey"
            | "script|load"
            | "script|exists"
            | "script|flush"
            | "function|load"
            | "function|delete"
            | "function|flush"
            | "function|restore"
    )
}

/// A command that [is about data of several clusters](is_across).
pub(crate) fn across(
    view: &View<'_>,
    version: Version,
    command: &'static Command,
    request: &Message,
) -> Step<Redis> {
    let keyed = view.portions.first().is_some_and(|portion| !portion.subjects.is_empty());
    if keyed {
        return if is_divisible(command) {
            by_cluster(view.portions, command, request)
        } else {
            Step::Answer(Message::error(CROSSCLUSTER))
        };
    }
    if command.name == "scan" {
        return scan::scan(view, request);
    }
    let Some(fold) = fold(command) else {
        return Step::Answer(Message::error("ERR wiremesh: routes lead to several clusters"));
    };
    let of_portion = |(n, portion): (usize, &Portion)| {
        let one = (portion.shards == 0).then_some(Target::Shard(0, Access::Write));
        let nodes = if portion.shards == 0 { 0 } else { portion.nodes };
        let targets = one.into_iter().chain(targets(command, portion.shards, nodes));
        targets.map(move |target| Part { request: request.clone(), target, portion: Some(n) })
    };
    let parts = view.portions.iter().enumerate().flat_map(of_portion).collect();
    Step::Parts(parts, Box::new(Gathered::new(fold, version)))
}

/// Takes a command apart by the slots of its keys.
pub(super) fn by_slot(command: &'static Command, request: &Message) -> Step<Redis> {
    let access = access(command);
    divide(command, request, |_, key| {
        let slot = slot(key);
        ((None, Some(slot)), Target::Slot(slot, access))
    })
}

/// Takes a command apart by the clusters of its keys, and by their slots where a cluster is sharded.
fn by_cluster(portions: &[Portion], command: &'static Command, request: &Message) -> Step<Redis> {
    let access = access(command);
    let mut of_key = BTreeMap::new();
    for (n, portion) in portions.iter().enumerate() {
        of_key.extend(portion.subjects.iter().map(|key| (*key, (n, portion.shards > 0))));
    }
    divide(command, request, |n, key| match of_key.get(&n) {
        Some(&(portion, true)) => {
            let slot = slot(key);
            ((Some(portion), Some(slot)), Target::Slot(slot, access))
        }
        known => ((known.map(|(portion, _)| *portion), None), Target::Shard(0, access)),
    })
}

/// The portion and the slot of a key.
type Spot = (Option<usize>, Option<u16>);

/// Takes a command apart: `spot` says of the n-th key where it is. The parts come in the order of their first keys.
fn divide(
    command: &'static Command,
    request: &Message,
    spot: impl Fn(usize, &[u8]) -> (Spot, Target),
) -> Step<Redis> {
    let args: Vec<_> = request.args().collect();
    let step = command.keys.iter().find_map(|spec| match spec.find {
        Find::Range { step, .. } => Some(step.max(1)),
        _ => None,
    });
    let (Ok(keys), Some(step)) = (command.keys(&args), step) else {
        return Step::Answer(Message::error(CROSSSLOT));
    };
    struct Group {
        spot: Spot,
        target: Target,
        args: Vec<usize>,
        places: Vec<usize>,
    }
    let mut numbers = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        if key.saturating_add(step) > args.len() {
            // A key without its value: nothing must be set.
            let name = command.name;
            let error = format!("ERR wrong number of arguments for '{name}' command");
            return Step::Answer(Message::error(&error));
        }
        let (spot, target) = spot(n, args.get(*key).copied().unwrap_or_default());
        let number = *numbers.entry(spot).or_insert(groups.len());
        match groups.get_mut(number) {
            Some(group) => {
                group.args.push(*key);
                group.places.push(n);
            }
            None => groups.push(Group { spot, target, args: vec![*key], places: vec![n] }),
        }
    }
    let mut parts = Vec::with_capacity(groups.len());
    let mut places = Vec::with_capacity(groups.len());
    for group in groups {
        let mut part: Vec<&[u8]> = args.first().copied().into_iter().collect();
        for key in group.args {
            part.extend(args.get(key..key.saturating_add(step)).unwrap_or_default());
        }
        let mut part = Message::request(part);
        part.set_lane(request.lane());
        parts.push(Part { request: part, target: group.target, portion: group.spot.0 });
        places.push(group.places);
    }
    match command.response_policy {
        Some(ResponsePolicy::AggSum) => {
            Step::Parts(parts, Box::new(Gathered::new(Fold::Sum, Version::Resp2)))
        }
        Some(ResponsePolicy::AllSucceeded) => {
            Step::Parts(parts, Box::new(Gathered::new(Fold::AllSucceeded, Version::Resp2)))
        }
        // MGET: each key's value in the key's place.
        _ => Step::Parts(parts, Box::new(InOrder::new(keys.len(), places))),
    }
}
