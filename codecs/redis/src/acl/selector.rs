//! What one set of rules permits.

use std::ops::ControlFlow;

use super::{Denied, glob};
use crate::command::{COMMANDS, Categories, Command, Flags, KeyFlags, SortOption, sort_options};

/// Commands, keys and channels. Nothing is permitted at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    commands: Commands,
    /// Commands that are permitted with this first argument.
    first_args: Vec<(u16, Box<[u8]>)>,
    /// What is permitted of commands that are not in the table.
    learnt: Learnt,
    pub(super) keys: Patterns<KeyPattern>,
    pub(super) channels: Patterns<Box<[u8]>>,
}

/// Which keys or channels are permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patterns<T> {
    All,
    These(Vec<T>),
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// Keys, and what may be done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) pattern: Box<[u8]>,
    pub(super) read: bool,
    pub(super) write: bool,
}

impl KeyPattern {
    fn permits(&self, flags: KeyFlags) -> bool {
        (self.read || !flags.reads()) && (self.write || !flags.writes())
    }
}

impl Selector {
    pub(super) fn set_all_commands(&mut self, permitted: bool) {
        self.commands = if permitted { Commands::ALL } else { Commands::default() };
        self.first_args.clear();
        self.learnt = Learnt { all: permitted, rules: Vec::new() };
    }

    pub(super) fn set_category(&mut self, category: Categories, permitted: bool) {
        self.learnt.rules.push((About::Category(category), permitted));
        for command in COMMANDS {
            if command.categories.contains(category) {
                self.set_command(command, permitted);
                continue;
            }
            for subcommand in command.subcommands {
                if subcommand.categories.contains(category) {
                    self.set_command(subcommand, permitted);
                }
            }
        }
    }

    /// The command with all its subcommands.
    pub(super) fn set_command(&mut self, command: &Command, permitted: bool) {
        self.commands.set(command.id, permitted);
        self.first_args.retain(|(id, _)| *id != command.id);
        for subcommand in command.subcommands {
            self.set_command(subcommand, permitted);
        }
    }

    /// A command of which there is nothing but the name, or a subcommand as `name|sub`. In lower case.
    pub(super) fn set_learnt(&mut self, name: String, permitted: bool) {
        self.learnt.rules.push((About::Command(name), permitted));
    }

    pub(super) fn permit_first_arg(&mut self, command: &Command, arg: &[u8]) {
        self.first_args.push((command.id, arg.into()));
    }

    /// Whether there is nothing that it forbids.
    pub(super) fn is_unrestricted(&self) -> bool {
        self.commands == Commands::ALL
            && self.learnt.permits_all()
            && self.keys == Patterns::All
            && self.channels == Patterns::All
    }

    pub(super) fn check<'a>(
        &self,
        command: &Command,
        argc: usize,
        arg: &impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<(), Denied> {
        if !self.permits_command(command, arg(1)) {
            return Err(match command.name {
                "exec" => Denied::Exec,
                name => Denied::Command(name),
            });
        }
        if let Patterns::These(patterns) = &self.keys {
            check_keys(patterns, command, argc, arg)?;
        }
        if let Patterns::These(patterns) = &self.channels {
            check_channels(patterns, command, arg)?;
        }
        Ok(())
    }

    fn permits_command(&self, command: &Command, first: Option<&[u8]>) -> bool {
        if command.is_learnt() {
            return self.learnt.permits(command, first);
        }
        let by_arg = || {
            let first = first?;
            let same =
                |(id, arg): &(u16, Box<[u8]>)| *id == command.id && arg.eq_ignore_ascii_case(first);
            self.first_args.iter().any(same).then_some(())
        };
        self.commands.contains(command.id)
            || command.flags.contains(Flags::NO_AUTH)
            || by_arg().is_some()
    }

    /// Whether the command may read every key.
    pub(super) fn reads_all_keys(&self, command: &Command, first: Option<&[u8]>) -> bool {
        let keys = match &self.keys {
            Patterns::All => true,
            Patterns::These(keys) => keys.iter().any(|key| key.read && *key.pattern == *b"*"),
        };
        keys && self.permits_command(command, first)
    }
}

fn check_keys<'a>(
    patterns: &[KeyPattern],
    command: &Command,
    argc: usize,
    arg: &impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<(), Denied> {
    let mut denied = None;
    let visited = command.visit_keys(argc, arg, |key| {
        let name = arg(key.index).unwrap_or_default();
        let permits = |pattern: &KeyPattern| {
            pattern.permits(key.flags) && glob::matches(&pattern.pattern, name)
        };
        if patterns.iter().any(permits) {
            return ControlFlow::Continue(());
        }
        denied = Some(key.index);
        ControlFlow::Break(())
    });
    match (visited, denied) {
        (Ok(()), None) => Ok(()),
        (_, Some(index)) => Err(Denied::Key(index)),
        // Nobody knows which keys a server would take it to have.
        (Err(_), None) => Err(Denied::Key(0)),
    }
}

fn check_channels<'a>(
    patterns: &[Box<[u8]>],
    command: &Command,
    arg: &impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<(), Denied> {
    let (how_many, literally) = match command.name {
        "publish" | "spublish" => (1, false),
        "subscribe" | "ssubscribe" => (usize::MAX, false),
        // A pattern is permitted where it is one of those that are.
        "psubscribe" => (usize::MAX, true),
        // Which arguments are channels nobody has told.
        _ if command.is_learnt() && command.flags.contains(Flags::PUBSUB) => {
            return Err(Denied::Channel(0));
        }
        _ => return Ok(()),
    };
    for (index, channel) in (1..).map_while(|at| Some((at, arg(at)?))).take(how_many) {
        let permits = |pattern: &[u8]| match literally {
            true => pattern == channel,
            false => glob::matches(pattern, channel),
        };
        if !patterns.iter().any(|pattern| permits(pattern)) {
            return Err(Denied::Channel(index));
        }
    }
    Ok(())
}

/// The first option of a `SORT` that reads keys which are not among its keys.
pub(super) fn foreign_keys<'a>(
    command: &Command,
    argc: usize,
    arg: &impl Fn(usize) -> Option<&'a [u8]>,
) -> Option<Denied> {
    if !matches!(command.name, "sort" | "sort_ro") {
        return None;
    }
    Some(match sort_options(argc, arg).foreign? {
        SortOption::By => Denied::SortBy,
        SortOption::Get => Denied::SortGet,
    })
}

/// Rules about commands that are not in the table, which a server may tell of later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Learnt {
    /// Whether they are permitted unless a rule says otherwise.
    all: bool,
    /// The last that fits counts.
    rules: Vec<(About, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Category(Categories),
    /// A command with all its subcommands, or one subcommand, or a command with this first argument.
    Command(String),
}

impl Learnt {
    fn permits_all(&self) -> bool {
        self.all && self.rules.iter().all(|(_, permitted)| *permitted)
    }

    fn permits(&self, command: &Command, first: Option<&[u8]>) -> bool {
        let fits = |(about, permitted): &(About, bool)| match about {
            About::Category(category) => command.categories.contains(*category),
            About::Command(name) => match command.name.strip_prefix(name.as_str()) {
                Some(rest) => rest.is_empty() || rest.starts_with('|'),
                // What is permitted with one first argument.
                None => *permitted && is_call(name, command.name, first),
            },
        };
        let last = self.rules.iter().rev().find(|rule| fits(rule));
        last.map_or(self.all, |(_, permitted)| *permitted)
    }
}

/// Whether `name` is `command|first`.
fn is_call(name: &str, command: &str, first: Option<&[u8]>) -> bool {
    let arg = name.strip_prefix(command).and_then(|rest| rest.strip_prefix('|'));
    arg.zip(first).is_some_and(|(arg, first)| arg.as_bytes().eq_ignore_ascii_case(first))
}

/// A set of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Commands([u64; WORDS]);

/// Commands are numbered from 0; there is room for 512.
const WORDS: usize = 8;

impl Commands {
    const ALL: Self = Self([u64::MAX; WORDS]);

    fn contains(&self, id: u16) -> bool {
        self.0.get(usize::from(id / 64)).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    fn set(&mut self, id: u16, present: bool) {
        if let Some(word) = self.0.get_mut(usize::from(id / 64)) {
            let bit = 1 << (id % 64);
            *word = if present { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_number_of_its_own() {
        let mut commands = Commands::default();
        for command in
            COMMANDS.iter().flat_map(|command| [command].into_iter().chain(command.subcommands))
        {
            assert!(!commands.contains(command.id), "{}", command.name);
            commands.set(command.id, true);
            assert!(commands.contains(command.id), "{}", command.name);
        }
        for command in COMMANDS {
            commands.set(command.id, false);
            assert!(!commands.contains(command.id), "{}", command.name);
        }
        assert_ne!(commands, Commands::default());
    }
}
