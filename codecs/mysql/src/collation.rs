//! Collations by their numbers, as a login names them.

use std::sync::LazyLock;

/// A number, a name, and the servers that have it: `m` MySQL 8.0, `a` MariaDB 10.11, `b` MariaDB 11.4.
const TEXT: &str = include_str!("collation.tsv");

/// The collation of servers' sessions for which nothing else was asked, that all of them have.
const GENERAL: Collation = Collation { id: 45, name: "utf8mb4_general_ci" };

/// That of MySQL 8.0.
const MYSQL_DEFAULT: Collation = Collation { id: 255, name: "utf8mb4_0900_ai_ci" };

/// A collation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collation {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
}

impl Collation {
    /// Its character set: all names begin with it.
    pub fn charset(&self) -> &'static str {
        self.name.split('_').next().unwrap_or(self.name)
    }

    /// Whether servers let a client log in with it (else: error 1231).
    pub fn is_for_clients(&self) -> bool {
        !matches!(self.charset(), "ucs2" | "utf16" | "utf16le" | "utf32")
    }
}

/// The collations of a server.
///
/// Source: `information_schema.collations` of MySQL 8.0.33, and `information_schema.collation_character_set_applicability` of
/// MariaDB 10.11.19 and 11.4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collations {
    /// MySQL 8.
    Mysql8,
    /// MariaDB before 11.4, which has none of MySQL 8's.
    Mariadb10,
    /// MariaDB from 11.4 on.
    Mariadb11,
}

impl Collations {
    /// Those of a server of this version, as its greeting tells it.
    pub fn of(version: &[u8]) -> Self {
        if !is_mariadb(version) {
            return Self::Mysql8;
        }
        // Servers of 10 put this before their own version, for old clients.
        let version = version.strip_prefix(b"5.5.5-").unwrap_or(version);
        let mut numbers = version.split(|byte| !byte.is_ascii_digit());
        let mut number = || numbers.next().and_then(|n| str::from_utf8(n).ok()?.parse().ok());
        let version: (u32, u32) = (number().unwrap_or(0), number().unwrap_or(0));
        if version < (11, 4) { Self::Mariadb10 } else { Self::Mariadb11 }
    }

    /// The one of this number.
    pub fn get(self, id: u16) -> Option<Collation> {
        static TABLE: LazyLock<Vec<(Collation, &str)>> = LazyLock::new(|| parse(TEXT));
        let from = TABLE.partition_point(|(collation, _)| collation.id < id);
        // Two may share a number, on different servers.
        let same = TABLE.iter().skip(from).take_while(|(collation, _)| collation.id == id);
        let mut ours = same.filter(|(_, servers)| servers.contains(self.letter()));
        ours.next().map(|(collation, _)| *collation)
    }

    /// The one that a session begins with when a login asks for this number. Of one that they do not know, servers
    /// take their own default.
    pub fn at_login(self, id: u16) -> Collation {
        self.get(id).unwrap_or(match self {
            Self::Mysql8 => MYSQL_DEFAULT,
            Self::Mariadb10 | Self::Mariadb11 => GENERAL,
        })
    }

    fn letter(self) -> char {
        match self {
            Self::Mysql8 => 'm',
            Self::Mariadb10 => 'a',
            Self::Mariadb11 => 'b',
        }
    }
}

/// Whether the server that greets with this version is MariaDB.
pub fn is_mariadb(version: &[u8]) -> bool {
    version.windows(7).any(|name| name.eq_ignore_ascii_case(b"MariaDB"))
}

/// Whether a statement in this character set may be read byte by byte: no byte that looks like ASCII means anything else.
pub fn is_bytewise(charset: &[u8]) -> bool {
    const NOT: [&[u8]; 10] = [
        b"gbk", b"gb18030", b"big5", b"sjis", b"cp932", b"ucs2", b"utf16", b"utf16le", b"utf32",
        b"swe7",
    ];
    !NOT.iter().any(|not| charset.eq_ignore_ascii_case(not))
}

fn parse(text: &'static str) -> Vec<(Collation, &'static str)> {
    let line = |line: &'static str| {
        let mut fields = line.split('\t');
        let id = fields.next()?.parse().ok()?;
        Some((Collation { id, name: fields.next()? }, fields.next()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let table = parse(TEXT);
        assert_eq!(table.len(), TEXT.lines().count());
        assert!(table.is_sorted_by_key(|(collation, _)| collation.id), "in order");
        for (collation, servers) in table {
            assert!(["mab", "mb", "ab", "m"].contains(&servers), "{collation:?} {servers}");
            assert!(collation.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        }
    }

    #[test]
    fn by_server() {
        let name = |of: Collations, id| of.get(id).map(|collation| collation.name);
        let all = [Collations::Mysql8, Collations::Mariadb10, Collations::Mariadb11];
        assert_eq!(all.map(|of| name(of, 45)), [Some("utf8mb4_general_ci"); 3]);
        let ours = Some("utf8mb4_0900_ai_ci");
        assert_eq!(all.map(|of| name(of, 255)), [ours, None, ours]);
        let theirs = Some("utf8mb4_uca1400_ai_ci");
        assert_eq!(all.map(|of| name(of, 2304)), [None, theirs, theirs]);
        assert_eq!(all.map(|of| name(of, 0)), [None; 3]);
        for of in all {
            let (table, letter) = (parse(TEXT), of.letter());
            let ours: Vec<_> =
                table.iter().filter(|(_, servers)| servers.contains(letter)).collect();
            assert!(ours.iter().all(|(collation, _)| of.get(collation.id) == Some(*collation)));
        }
    }

    #[test]
    fn a_login_with_an_unknown_one() {
        let name = |of: Collations, id| of.at_login(id).name;
        assert_eq!(name(Collations::Mysql8, 2304), "utf8mb4_0900_ai_ci");
        assert_eq!(name(Collations::Mariadb10, 255), "utf8mb4_general_ci");
        assert_eq!(name(Collations::Mariadb11, 9999), "utf8mb4_general_ci");
        assert_eq!(name(Collations::Mariadb11, 8), "latin1_swedish_ci");
    }

    #[test]
    fn by_version() {
        for (version, collations) in [
            ("8.0.33", Collations::Mysql8),
            ("9.1.0-commercial", Collations::Mysql8),
            ("5.5.5-10.11.19-MariaDB-0+deb12u1-log", Collations::Mariadb10),
            ("11.3.2-MariaDB", Collations::Mariadb10),
            ("11.4.5-MariaDB-log", Collations::Mariadb11),
            ("12.0.1-mariadb", Collations::Mariadb11),
        ] {
            assert_eq!(Collations::of(version.as_bytes()), collations, "{version}");
        }
    }

    #[test]
    fn character_sets() {
        let collation = |id| Collations::Mysql8.get(id).expect("it is there");
        assert_eq!(collation(63).charset(), "binary");
        assert_eq!(collation(28).charset(), "gbk");
        assert!(!is_bytewise(b"gbk") && !is_bytewise(b"SJIS"));
        assert!(is_bytewise(b"utf8mb4") && is_bytewise(b"latin1") && is_bytewise(b"ujis"));
        assert!(!collation(35).is_for_clients() && collation(28).is_for_clients());
    }
}
