//! Commands that this crate does not know and servers tell of: those of modules, and of newer servers.
//!
//! A server is asked by [`Inquiry`]; what it says is read by [`reply`]. What becomes of such a command follows from what
//! is said of it alone, so that doubt counts against it: see [`definition::Definition`].

mod definition;
mod inquiry;
mod reply;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;

pub(crate) use self::inquiry::Inquiry;
use self::{definition::Definition, reply::NAME_MAX};
use crate::command::Command;

/// So many different definitions are ever remembered: each is kept until the process ends.
const EVER_MAX: usize = 4096;

/// What the servers of all clusters have told of commands that are not in the table.
///
/// A request is read before it is known which cluster it goes to. So there is one set for all, and a command that two
/// clusters define differently is not in it: it remains unknown.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    commands: ArcSwap<HashMap<Box<[u8]>, Entry>>,
    told: Mutex<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    command: &'static Command,
    /// Its first argument may name a subcommand.
    container: bool,
}

#[derive(Debug, Default)]
struct Told {
    /// All definitions that there ever were, by name.
    known: HashMap<String, Vec<(Definition, &'static Command)>>,
    count: usize,
    clusters: BTreeMap<String, Cluster>,
}

#[derive(Debug, Default)]
struct Cluster {
    /// What the server said that was asked last, as long as it says the same, its commands are the same.
    state: Vec<u8>,
    commands: Vec<&'static Command>,
}

impl Learnt {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command of this name, in any case; its subcommand where it has one of the name `sub`. For names that are not in
    /// the table, or subcommands that are not.
    #[cold]
    pub(crate) fn find(&self, name: &[u8], sub: Option<&[u8]>) -> Option<&'static Command> {
        let commands = self.commands.load();
        if commands.is_empty() || name.len() > NAME_MAX || name.contains(&b'|') {
            return None;
        }
        let mut key = [0; 2 * NAME_MAX + 1];
        let lower = |into: &mut [u8], from: &[u8]| {
            into.iter_mut().zip(from).for_each(|(to, byte)| *to = byte.to_ascii_lowercase());
        };
        lower(&mut key, name);
        let entry = commands.get(key.get(..name.len())?);
        if entry.is_some_and(|entry| !entry.container) {
            return entry.map(|entry| entry.command);
        }
        // A container of the table is not among these; its new subcommands are.
        let with_sub = sub.filter(|sub| sub.len() <= NAME_MAX).and_then(|sub| {
            let (_, rest) = key.split_at_mut_checked(name.len())?;
            lower(rest, b"|");
            lower(rest.get_mut(1..)?, sub);
            commands.get(key.get(..name.len().checked_add(sub.len())?.checked_add(1)?)?)
        });
        with_sub.or(entry).map(|entry| entry.command)
    }

    /// Whether nothing has changed since a server of this cluster said this of itself.
    fn is_known(&self, cluster: &str, state: &[u8]) -> bool {
        self.told().clusters.get(cluster).is_some_and(|known| known.state == state)
    }

    /// Takes over what a server of this cluster says.
    fn learn(&self, cluster: &str, state: Vec<u8>, definitions: Vec<Definition>) {
        let told = &mut *self.told();
        let commands = definitions.into_iter().filter_map(|it| told.command(it)).collect();
        told.clusters.insert(cluster.to_owned(), Cluster { state, commands });
        self.commands.store(told.agreed().into());
    }
}

impl Told {
    /// The command of this definition: always the same one.
    fn command(&mut self, definition: Definition) -> Option<&'static Command> {
        let known = self.known.entry(definition.name.clone()).or_default();
        if let Some((_, command)) = known.iter().find(|(known, _)| *known == definition) {
            return Some(command);
        }
        if self.count >= EVER_MAX {
            return None;
        }
        self.count = self.count.saturating_add(1);
        let command = definition.leak();
        known.push((definition, command));
        Some(command)
    }

    /// The commands about which all agree that know them, by name.
    fn agreed(&self) -> HashMap<Box<[u8]>, Entry> {
        let mut agreed: HashMap<Box<[u8]>, Option<&'static Command>> = HashMap::new();
        for command in self.clusters.values().flat_map(|cluster| &cluster.commands) {
            let name = command.name.as_bytes().into();
            let entry = agreed.entry(name).or_insert(Some(command));
            if entry.is_some_and(|known| !std::ptr::eq(known, *command)) {
                *entry = None;
            }
        }
        let containers: Vec<Box<[u8]>> = agreed
            .keys()
            .filter_map(|name| {
                name.iter().position(|byte| *byte == b'|').and_then(|at| name.get(..at))
            })
            .map(Box::from)
            .collect();
        let entry = |(name, command): (_, Option<_>)| {
            Some((name, Entry { command: command?, container: false }))
        };
        let mut entries: HashMap<_, _> = agreed.into_iter().filter_map(entry).collect();
        for name in containers {
            if let Some(entry) = entries.get_mut(&name) {
                entry.container = true;
            }
        }
        entries
    }
}
