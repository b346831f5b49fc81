//! The hash slots of Redis Cluster: CRC16 (XMODEM) of a key, or of its tag, modulo 16384.

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;

/// The slot of a key, or of a sharded channel.
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

/// What of a key is hashed: what is between its first `{` and the next `}`, or all of it if that is nothing.
pub fn tag(key: &[u8]) -> &[u8] {
    let tag = || {
        let open = memchr::memchr(b'{', key)?.checked_add(1)?;
        let rest = key.get(open..)?;
        let tag = rest.get(..memchr::memchr(b'}', rest)?)?;
        (!tag.is_empty()).then_some(tag)
    };
    tag().unwrap_or(key)
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, from zero.
pub fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let crc = chunks.iter().fold(0, |crc: u16, [a, b, c, d]| {
        let [high, low] = crc.to_be_bytes();
        TABLES.of(3, a ^ high) ^ TABLES.of(2, b ^ low) ^ TABLES.of(1, *c) ^ TABLES.of(0, *d)
    });
    rest.iter().fold(crc, |crc, byte| {
        let [high, low] = crc.to_be_bytes();
        u16::from_be_bytes([low, 0]) ^ TABLES.of(0, byte ^ high)
    })
}

/// The CRC of each byte with so many zeros behind it, so that four bytes can be taken at once.
struct Tables([[u16; 256]; 4]);

static TABLES: Tables = Tables::new();

impl Tables {
    #[inline]
    fn of(&self, zeros: usize, byte: u8) -> u16 {
        self.0.get(zeros).map_or(0, |table| table.get(usize::from(byte)).copied().unwrap_or(0))
    }

    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "done by the compiler"
    )]
    const fn new() -> Self {
        let mut tables = [[0; 256]; 4];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = (byte as u16) << 8;
            let mut zeros = 0;
            while zeros < 4 {
                let mut bit = 0;
                while bit < 8 {
                    crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                    bit += 1;
                }
                tables[zeros][byte] = crc;
                zeros += 1;
            }
            byte += 1;
        }
        Self(tables)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn check_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn tags() {
        for (key, expected) in [
            ("user:{42}:name", "42"),
            ("{42}", "42"),
            ("{a}{b}", "a"),
            ("{{a}}", "{a"),
            ("}{a}", "a"),
            ("x{}{a}", "x{}{a}"),
            ("{}", "{}"),
            ("{a", "{a"),
            ("a}", "a}"),
            ("", ""),
        ] {
            assert_eq!(tag(key.as_bytes()), expected.as_bytes(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn is_the_crc_bit_by_bit(bytes: Vec<u8>) {
            let mut crc = 0_u16;
            for byte in &bytes {
                crc ^= u16::from(*byte) << 8;
                for _ in 0..8 {
                    let carry = crc & 0x8000 != 0;
                    crc <<= 1;
                    if carry {
                        crc ^= 0x1021;
                    }
                }
            }
            prop_assert_eq!(crc16(&bytes), crc);
        }

        #[test]
        fn keys_of_one_tag_share_a_slot(before in "[^{]{0,9}", tag in "[^}]{1,9}", after in ".{0,9}") {
            let key = format!("{before}{{{tag}}}{after}");
            prop_assert_eq!(slot(key.as_bytes()), slot(tag_only(&tag).as_bytes()));
            prop_assert_eq!(slot(key.as_bytes()), crc16(tag.as_bytes()) % SLOTS);
        }
    }

    fn tag_only(tag: &str) -> String {
        format!("{{{tag}}}")
    }
}
