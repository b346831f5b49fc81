//! The command of a name.

use std::sync::LazyLock;

use super::{COMMANDS, Command};

/// The command of this name, in any case; its subcommand where it is a container that has one of the name `sub`.
///
/// An unknown subcommand gives the container itself, an unknown command nothing. `sub` is not looked at where the command
/// is no container, so that the first argument can be passed as it is.
pub fn find(name: &[u8], sub: Option<&[u8]>) -> Option<&'static Command> {
    find_exactly(name, || sub).map_or_else(|container| container, Some)
}

/// As [`find`]; what is found without its subcommand, or not at all, is an error.
#[inline]
pub(crate) fn find_exactly<'a>(
    name: &[u8],
    sub: impl FnOnce() -> Option<&'a [u8]>,
) -> Result<&'static Command, Option<&'static Command>> {
    let index = &*INDEX;
    let (number, command) = Key::of(name, 0).and_then(|key| index.find(key)).ok_or(None)?;
    if command.subcommands.is_empty() {
        return Ok(command);
    }
    let found = Key::of(sub().ok_or(Some(command))?, number).and_then(|key| index.find(key));
    found.map(|(_, subcommand)| subcommand).ok_or(Some(command))
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index { slots: [0; SLOTS], entries: Vec::new() };
    for command in COMMANDS {
        index.insert(command, 0);
        let number = u64::try_from(index.entries.len()).unwrap_or(u64::MAX);
        for subcommand in command.subcommands {
            index.insert(subcommand, number);
        }
    }
    index
});

/// About three times as many as there are commands.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;

/// A hash table with linear probing.
struct Index {
    /// Numbers of entries, from 1; 0: free.
    slots: [u16; SLOTS],
    entries: Vec<(Key, &'static Command)>,
}

/// A name in lower case, filled up with zeros, its length, and the number of the entry whose subcommand it names, or 0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    words: [u64; 3],
    len: usize,
    container: u64,
}

impl Key {
    /// `None`: longer than any command's name.
    fn of(name: &[u8], container: u64) -> Option<Self> {
        let mut words = [0; 3];
        if name.len() > 24 {
            return None;
        }
        // Byte by byte, in registers: most names are short.
        for (word, bytes) in words.iter_mut().zip(name.chunks(8)) {
            *word = bytes
                .iter()
                .fold(0, |word: u64, byte| word << 8 | u64::from(byte.to_ascii_lowercase()));
        }
        Some(Self { words, len: name.len(), container })
    }

    fn slot(&self) -> usize {
        let [a, b, c] = self.words;
        let mixed = a ^ b.rotate_left(23) ^ c.rotate_left(47) ^ self.container.rotate_left(9);
        let hash = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(hash >> (u64::BITS - SLOT_BITS)).unwrap_or(0)
    }
}

impl Index {
    /// The entry and its number.
    fn find(&self, key: Key) -> Option<(u64, &'static Command)> {
        let mut slot = key.slot();
        loop {
            let number = *self.slots.get(slot)?;
            let (found, command) = self.entries.get(usize::from(number).checked_sub(1)?)?;
            if *found == key {
                return Some((u64::from(number), command));
            }
            slot = slot.wrapping_add(1) % SLOTS;
        }
    }

    fn insert(&mut self, command: &'static Command, container: u64) {
        let name = command.name.rsplit('|').next().unwrap_or_default();
        let Some(key) = Key::of(name.as_bytes(), container) else { return };
        self.entries.push((key, command));
        let Ok(number) = u16::try_from(self.entries.len()) else { return };
        let mut slot = key.slot();
        while self.slots.get(slot).is_some_and(|number| *number != 0) {
            slot = slot.wrapping_add(1) % SLOTS;
        }
        if let Some(free) = self.slots.get_mut(slot) {
            *free = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_command_by_its_name() {
        let mut found = 0;
        for command in COMMANDS {
            let upper = command.name.to_uppercase();
            for name in [command.name, &upper] {
                for sub in [None, Some(&b"no such subcommand"[..]), Some(b"nosuch"), Some(b"")] {
                    assert!(std::ptr::eq(find(name.as_bytes(), sub).unwrap(), command), "{name}");
                }
            }
            for subcommand in command.subcommands {
                let (container, sub) = subcommand.name.split_once('|').unwrap();
                assert_eq!(container, command.name);
                for sub in [sub, &sub.to_uppercase()] {
                    let got = find(upper.as_bytes(), Some(sub.as_bytes())).unwrap();
                    assert!(std::ptr::eq(got, subcommand), "{}", subcommand.name);
                }
                found += 1;
            }
            found += 1;
        }
        assert_eq!(found, 370);
        assert_eq!(INDEX.entries.len(), found);
    }

    #[test]
    fn finds_nothing_else() {
        for name in
            [&b""[..], b"ge", b"gett", b"get ", b"config|get", b"\0", b"get\0", &[b'x'; 300]]
        {
            assert!(find(name, None).is_none(), "{name:?}");
        }
        // One container's subcommand is not another's.
        assert_eq!(find(b"config", Some(b"getkeys")).unwrap().name, "config");
        assert_eq!(find(b"get", Some(b"set")).unwrap().name, "get");
    }

    #[test]
    fn few_commands_share_a_slot() {
        let probes = |key: &Key| {
            let number = INDEX.find(*key).unwrap().0;
            let at = INDEX.slots.iter().position(|slot| u64::from(*slot) == number).unwrap();
            (at + SLOTS - key.slot()) % SLOTS + 1
        };
        let all: Vec<_> = INDEX.entries.iter().map(|(key, _)| probes(key)).collect();
        let (most, sum) = (all.iter().max().unwrap(), all.iter().sum::<usize>());
        assert!(*most <= 8 && sum < all.len() * 3 / 2, "{most} at most, {sum} in all");
    }
}
