//! Global transaction ids: which writes a session has made, and how far a copy has come.

use std::fmt::{self, Display, Write};

/// Of so many servers' (MySQL) or domains' (MariaDB) transactions note is taken.
const SOURCES: usize = 8;

/// The longest name of a source, in bytes: MySQL's UUID, a colon and a tag.
const NAME: usize = 36 + 1 + 32;

/// Transactions, as MySQL or MariaDB numbers them: of each source those from a first one to a last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gtids {
    sources: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    /// MySQL: the server's UUID, with a tag, if any. MariaDB: the number of the domain.
    name: Box<str>,
    /// MariaDB: the number of the server that wrote the last one, and no first one: all before the last are meant.
    server: Option<u32>,
    first: u64,
    last: u64,
}

impl Gtids {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Adds those that a server tells: `UUID:5`, `UUID:5-7:9,...` as MySQL, `0-1-100` as MariaDB writes them. What lies between
    /// those of one source is added, too: a copy that waits for more than it must has the same in the end.
    ///
    /// `false`: that was not all, since it cannot be read, or there are too many sources.
    pub fn add(&mut self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        let mut all = true;
        for one in text.split(',').map(str::trim) {
            let added = if one.contains(':') { self.add_mysql(one) } else { self.add_mariadb(one) };
            all &= added.is_some();
        }
        all
    }

    fn add_mysql(&mut self, text: &str) -> Option<()> {
        let (uuid, rest) = text.split_once(':')?;
        let (mut name, mut some) = (uuid.to_owned(), None);
        for part in rest.split(':').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if !first.starts_with(|first: char| first.is_ascii_digit()) {
                name = format!("{uuid}:{part}");
                continue;
            }
            some = Some(self.put(&name, None, first.parse().ok()?, last.parse().ok()?)?);
        }
        some
    }

    fn add_mariadb(&mut self, text: &str) -> Option<()> {
        let mut numbers = text.splitn(3, '-');
        let (domain, server) = (numbers.next()?, numbers.next()?.parse().ok()?);
        domain.parse::<u32>().ok()?;
        self.put(domain, Some(server), 0, numbers.next()?.parse().ok()?)
    }

    fn put(&mut self, name: &str, server: Option<u32>, first: u64, last: u64) -> Option<()> {
        // They are to stand in a statement.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte);
        if name.len() > NAME || !name.bytes().all(is_plain) {
            return None;
        }
        if let Some(known) = self.sources.iter_mut().find(|source| *source.name == *name) {
            known.first = known.first.min(first);
            if last >= known.last {
                (known.server, known.last) = (server, last);
            }
            return Some(());
        }
        if self.sources.len() >= SOURCES {
            return None;
        }
        self.sources.push(Source { name: name.into(), server, first, last });
        Some(())
    }

    /// Whether all of `others` are among these.
    pub fn cover(&self, others: &Self) -> bool {
        let covers = |other: &Source| {
            let known = self.sources.iter().find(|known| known.name == other.name);
            known.is_some_and(|known| known.first <= other.first && known.last >= other.last)
        };
        others.sources.iter().all(covers)
    }

    /// Takes note that all of `others` were seen together. What was known before may be forgotten.
    pub fn learn(&mut self, others: &Self) {
        for other in &others.sources {
            let room = self.sources.len() < SOURCES;
            match self.sources.iter_mut().find(|known| known.name == other.name) {
                Some(known) if known.first <= other.last && other.first <= known.last => {
                    known.first = known.first.min(other.first);
                    known.last = known.last.max(other.last);
                }
                Some(known) => known.clone_from(other),
                None if room => self.sources.push(other.clone()),
                None => return self.clone_from(others),
            }
        }
    }
}

/// As the servers' functions that wait for them take them.
impl Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Source { name, server, first, last }) in self.sources.iter().enumerate() {
            if n > 0 {
                f.write_char(',')?;
            }
            match server {
                Some(server) => write!(f, "{name}-{server}-{last}")?,
                None => write!(f, "{name}:{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn gtids(text: &str) -> Gtids {
        let mut gtids = Gtids::default();
        assert!(gtids.add(text.as_bytes()), "{text}");
        gtids
    }

    #[test]
    fn they_are_written_as_they_are_waited_for() {
        for (text, written) in [
            (format!("{A}:5"), format!("{A}:5-5")),
            (format!("{A}:5-7:9,\n{B}:1"), format!("{A}:5-9,{B}:1-1")),
            (format!("{A}:5:blue:2-3"), format!("{A}:5-5,{A}:blue:2-3")),
            ("0-1-100".into(), "0-1-100".into()),
            ("0-1-100,7-2-3".into(), "0-1-100,7-2-3".into()),
        ] {
            assert_eq!(gtids(&text).to_string(), written);
        }
        let mut own = gtids("0-1-100");
        assert!(own.add(b"0-2-101"));
        assert_eq!(own.to_string(), "0-2-101");
        for text in ["", "x", "0-1", "0-x-1", "0-1-2-3", &format!("{A}:x-1"), "a'b:1", "a b:1"] {
            let mut gtids = Gtids::default();
            assert!(!gtids.add(text.as_bytes()), "{text}");
            assert!(gtids.is_empty(), "{text}: {gtids}");
        }
    }

    #[test]
    fn what_was_reached_covers_what_lies_within() {
        let mut reached = Gtids::default();
        assert!(reached.cover(&Gtids::default()));
        assert!(!reached.cover(&gtids(&format!("{A}:5"))));
        reached.learn(&gtids(&format!("{A}:5-10")));
        assert!(reached.cover(&gtids(&format!("{A}:7-10"))));
        for beyond in [format!("{A}:4-6"), format!("{A}:10-11"), format!("{A}:6,{B}:1")] {
            assert!(!reached.cover(&gtids(&beyond)), "{beyond}");
        }
        reached.learn(&gtids(&format!("{A}:8-12")));
        assert!(reached.cover(&gtids(&format!("{A}:5-12"))));
        // Between them nothing is known.
        reached.learn(&gtids(&format!("{A}:20")));
        assert!(reached.cover(&gtids(&format!("{A}:20"))));
        assert!(!reached.cover(&gtids(&format!("{A}:12-20"))));
        // MariaDB's come one after the other.
        reached.learn(&gtids("0-1-100"));
        assert!(reached.cover(&gtids("0-2-99")) && !reached.cover(&gtids("0-1-101")));
        reached.learn(&gtids("0-1-103"));
        assert!(reached.cover(&gtids("0-1-102")));
    }

    #[test]
    fn they_are_bounded() {
        let (mut own, mut reached) = (Gtids::default(), gtids("99-1-1"));
        for domain in 0..SOURCES {
            assert!(own.add(format!("{domain}-1-1").as_bytes()));
        }
        assert!(!own.add(b"77-1-1"));
        reached.learn(&own);
        assert!(reached.cover(&own) && reached.sources.len() <= SOURCES);
    }
}
