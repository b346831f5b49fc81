//! What one key can hold, as far as its only writer can know.

use std::collections::BTreeSet;

/// Values are numbered; the next is always higher.
#[derive(Default)]
pub(super) struct Key {
    /// The last that was certainly written; 0: none.
    sure: u64,
    /// Written with an error or nothing for an answer: there or not.
    maybe: BTreeSet<u64>,
    last: u64,
    /// Whether what was written may be gone again.
    lossy: bool,
}

impl Key {
    pub(super) fn new(lossy: bool) -> Self {
        Self { lossy, ..Self::default() }
    }

    /// A number for a value that is about to be written.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// It has been written, or nobody knows.
    pub(super) fn written(&mut self, value: u64, sure: bool) {
        if sure {
            self.sure = value;
            self.maybe.retain(|maybe| *maybe > value);
        } else {
            self.maybe.insert(value);
        }
    }

    /// What must not be about a value that was read, if anything.
    pub(super) fn read(&mut self, value: u64) -> Result<(), String> {
        if value == self.sure {
            return Ok(());
        }
        let lost = self.lossy && value < self.sure;
        if self.maybe.contains(&value) || lost {
            // From now on it is known.
            self.written(value, true);
            return Ok(());
        }
        Err(format!("{value} was read, {} was written, perhaps {:?}", self.sure, self.maybe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_there() {
        let mut key = Key::default();
        assert!(key.read(0).is_ok());
        let one = key.next();
        key.written(one, true);
        assert!(key.read(1).is_ok());
        assert!(key.read(0).is_err());
        let two = key.next();
        key.written(two, false);
        assert!(key.read(1).is_ok());
        assert!(key.read(2).is_ok());
        assert!(key.read(1).is_err(), "it cannot go away again");
        let three = key.next();
        key.written(three, true);
        assert!(key.read(2).is_err());
    }
}
