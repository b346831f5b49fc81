use crate::wire::{Reader, Short};
use crate::{Capabilities, StatusFlags};

/// One change of a session's state.
///
/// Source: "Session State Information" in MySQL's source documentation, and the OK packet in MariaDB's knowledge base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A system variable has a value, as text. MySQL tells those of `session_track_system_variables`.
    Variable {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Another schema is the current one; none, where empty.
    Schema(&'a [u8]),
    /// Something of the session's has changed, of whatever kind; or tracking that was switched.
    State(bool),
    /// MySQL: the transactions that this statement wrote.
    Gtid(&'a [u8]),
    /// The statements that begin a transaction like the one that is open, or like the next one.
    Characteristics(&'a [u8]),
    /// The transaction's state.
    Transaction(Transaction),
    /// Another kind, of which nothing is known.
    Unknown(u8),
}

/// The state of a transaction, as eight letters tell it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transaction([u8; 8]);

impl Transaction {
    /// No transaction, and no tables that are locked.
    pub const NONE: Self = Self(*b"________");

    /// Whether one is open, said so (`T`) or by `autocommit=0` (`I`).
    pub fn is_open(self) -> bool {
        let [open, ..] = self.0;
        open != b'_'
    }

    /// Whether `LOCK TABLES` is in force.
    pub fn has_locked_tables(self) -> bool {
        self.0.ends_with(b"L")
    }

    /// Whether the open transaction has read or written nothing yet, sent no result and locked nothing, so that it could as
    /// well begin anew elsewhere.
    pub fn is_untouched(self) -> bool {
        let [_, did @ ..] = self.0;
        did == *b"_______"
    }

    /// The letters.
    pub fn letters(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transaction({})", self.0.escape_ascii())
    }
}

/// The changes that one OK packet tells.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    block: Reader<'a>,
    /// Further variables of the entry that was begun.
    variables: Reader<'a>,
}

impl<'a> Changes<'a> {
    /// Those of a block of session state, which is what stands behind its length.
    pub fn new(block: &'a [u8]) -> Self {
        Self { block: Reader::new(block), variables: Reader::new(&[]) }
    }

    /// Those of an OK packet's body, which begins with 0x00 or 0xfe; none where it tells none, or where it was not agreed
    /// that it would.
    ///
    /// # Errors
    /// Where it ends before the place of its changes.
    pub fn of_ok(body: &'a [u8], agreed: Capabilities) -> Result<Self, Short> {
        let mut ok = Reader::new(body);
        ok.u8()?;
        ok.lenenc_int()?;
        ok.lenenc_int()?;
        let status = StatusFlags(ok.u16()?);
        ok.u16()?;
        let tells =
            agreed.has(Capabilities::SESSION_TRACK) && status.has(StatusFlags::STATE_CHANGED);
        if !tells {
            return Ok(Self::new(&[]));
        }
        ok.lenenc_bytes()?;
        ok.lenenc_bytes().map(Self::new)
    }

    fn change(&mut self) -> Result<Change<'a>, Short> {
        if !self.variables.is_empty() {
            return self.variable();
        }
        let kind = self.block.u8()?;
        let mut data = Reader::new(self.block.lenenc_bytes()?);
        Ok(match kind {
            0 => {
                self.variables = data;
                self.variable()?
            }
            1 => Change::Schema(data.lenenc_bytes()?),
            2 => Change::State(data.rest() == b"1"),
            3 => {
                // How it is encoded; there is one way, as text.
                data.u8()?;
                Change::Gtid(data.lenenc_bytes()?)
            }
            4 => Change::Characteristics(data.lenenc_bytes()?),
            5 => {
                let letters = data.lenenc_bytes()?.try_into().map_err(|_| Short)?;
                Change::Transaction(Transaction(letters))
            }
            kind => Change::Unknown(kind),
        })
    }

    /// MariaDB may tell several in one entry.
    fn variable(&mut self) -> Result<Change<'a>, Short> {
        let name = self.variables.lenenc_bytes()?;
        let value = self.variables.lenenc_bytes()?;
        Ok(Change::Variable { name, value })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, Short>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.variables.is_empty() && self.block.is_empty() {
            return None;
        }
        let change = self.change();
        if change.is_err() {
            *self = Self::new(&[]);
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(block: &[u8]) -> Vec<Result<Change<'_>, Short>> {
        Changes::new(block).collect()
    }

    fn of_ok(body: &[u8]) -> Vec<Change<'_>> {
        let agreed = Capabilities::SESSION_TRACK | Capabilities::PROTOCOL_41;
        let changes: Result<_, _> = Changes::of_ok(body, agreed).expect("it is whole").collect();
        changes.expect("they are whole")
    }

    #[test]
    fn what_mysql_tells() {
        // MySQL 8.0.33, everything tracked.
        assert_eq!(
            of_ok(
                b"\0\0\0\x02\x40\0\0\08\0\x0e\x0aautocommit\x02ON\0\x10\x0cstatement_id\x0231\
                  \0\x11\x09time_zone\x06+05:00\x02\x011"
            ),
            [
                Change::Variable { name: b"autocommit", value: b"ON" },
                Change::Variable { name: b"statement_id", value: b"31" },
                Change::Variable { name: b"time_zone", value: b"+05:00" },
                Change::State(true),
            ]
        );
        let id = |value| Change::Variable { name: b"statement_id", value };
        let begun = Transaction(*b"T_______");
        assert_eq!(
            of_ok(
                b"\0\0\0\x03\x60\0\0\0<\0\x10\x0cstatement_id\x0233\x05\x09\x08T_______\
                  \x04\x1d\x1cSTART TRANSACTION READ ONLY;"
            ),
            [
                id(b"33"),
                Change::Transaction(begun),
                Change::Characteristics(b"START TRANSACTION READ ONLY;"),
            ]
        );
        assert!(begun.is_open() && begun.is_untouched());
        assert_eq!(
            of_ok(
                b"\0\0\0\x02\x40\0\0\0=\0\x10\x0cstatement_id\x0236\x03)\0\x27\
                  d9661681-e5ee-11f1-b01a-02fc00000001:14"
            ),
            [id(b"36"), Change::Gtid(b"d9661681-e5ee-11f1-b01a-02fc00000001:14")]
        );
        assert_eq!(
            of_ok(b"\0\0\0\x02\x40\0\0\0\x0b\x05\x09\x08_______L"),
            [Change::Transaction(Transaction(*b"_______L"))]
        );
    }

    #[test]
    fn what_mariadb_tells() {
        // MariaDB 10.11.19: `use mysql`, `commit`.
        assert_eq!(
            of_ok(b"\0\0\0\x02\x40\0\0\0\x0b\x01\x06\x05mysql\x02\x011"),
            [Change::Schema(b"mysql"), Change::State(true)]
        );
        assert_eq!(
            of_ok(b"\0\0\0\x02\x40\0\0\0\x0e\x05\x09\x08________\x04\x01\0"),
            [Change::Transaction(Transaction::NONE), Change::Characteristics(b"")]
        );
    }

    #[test]
    fn other_kinds_are_passed_over() {
        assert_eq!(
            all(b"\x63\x02zz\x02\x010"),
            [Ok(Change::Unknown(0x63)), Ok(Change::State(false))]
        );
    }

    #[test]
    fn several_variables_in_one_entry() {
        let block = b"\x00\x08\x01a\x01b\x01c\x01d\x01\x01\x00";
        assert_eq!(
            all(block),
            [
                Ok(Change::Variable { name: b"a", value: b"b" }),
                Ok(Change::Variable { name: b"c", value: b"d" }),
                Ok(Change::Schema(b"")),
            ]
        );
    }

    #[test]
    fn what_is_cut_short_ends_it() {
        for block in [
            &b"\x00\x09\x01a"[..],
            b"\x01\x00",
            b"\x00\x02\x05a",
            b"\x05\x02\x01T",
            b"\x03\x00",
            b"\x01",
        ] {
            assert_eq!(all(block), [Err(Short)], "{block:?}");
        }
    }

    #[test]
    fn the_place_within_an_ok() {
        let agreed = Capabilities::SESSION_TRACK | Capabilities::PROTOCOL_41;
        let told = b"\x00\x00\x00\x02\x40\x00\x00\x02hi\x07\x01\x05\x04test";
        let changes = |body, agreed| Changes::of_ok(body, agreed).map(Iterator::collect::<Vec<_>>);
        assert_eq!(changes(told, agreed), Ok(vec![Ok(Change::Schema(b"test"))]));
        assert_eq!(changes(told, Capabilities::PROTOCOL_41), Ok(vec![]));
        // Without the flag nothing stands behind the text.
        assert_eq!(changes(b"\x00\x00\x00\x02\x00\x00\x00\x02hi", agreed), Ok(vec![]));
        assert_eq!(changes(&told[..12], agreed), Err(Short));
        assert_eq!(changes(&told[..4], agreed), Err(Short));
    }

    #[test]
    fn letters_of_a_transaction() {
        assert!(!Transaction::NONE.is_open() && Transaction::NONE.is_untouched());
        assert!(Transaction(*b"T_______").is_untouched());
        assert!(Transaction(*b"I___W___").is_open());
        assert!(Transaction(*b"_______L").has_locked_tables());
        assert_eq!(format!("{:?}", Transaction::NONE), "Transaction(________)");
    }
}
