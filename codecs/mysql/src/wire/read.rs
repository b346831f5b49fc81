use thiserror::Error;

/// There are fewer bytes than the layout wants, or a number is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the packet ends too early")]
pub struct Short;

/// Takes numbers and strings off the front of a packet's body.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been taken.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether all has been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes.
    pub fn u24(&mut self) -> Result<u32, Short> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length-encoded integer: up to 250 by itself; 0xfc, 0xfd and 0xfe announce two, three and eight bytes. 0xfb, which
    /// is NULL in a row, and 0xff are none.
    pub fn lenenc_int(&mut self) -> Result<u64, Short> {
        match self.u8()? {
            0xfc => self.u16().map(u64::from),
            0xfd => self.u24().map(u64::from),
            0xfe => self.u64(),
            0xfb | 0xff => Err(Short),
            small => Ok(small.into()),
        }
    }

    /// A string behind its length-encoded length.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Short> {
        let len = self.lenenc_int()?;
        self.take(usize::try_from(len).map_err(|_| Short)?)
    }

    /// A string up to the next NUL, which is taken too.
    pub fn nul_bytes(&mut self) -> Result<&'a [u8], Short> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Short)?;
        let bytes = self.take(end)?;
        self.u8()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let mut bytes = Reader::new(&[1, 2, 0, 3, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(bytes.u8(), Ok(1));
        assert_eq!(bytes.u16(), Ok(2));
        assert_eq!(bytes.u24(), Ok(3));
        assert_eq!(bytes.u32(), Ok(4));
        assert_eq!(bytes.u64(), Ok(5));
        assert_eq!(bytes.u16(), Err(Short));
        assert_eq!(bytes.rest(), [9]);
    }

    #[test]
    fn length_encoded_integers() {
        let read = |bytes: &[u8]| Reader::new(bytes).lenenc_int();
        assert_eq!(read(&[250]), Ok(250));
        assert_eq!(read(&[0xfc, 251, 0]), Ok(251));
        assert_eq!(read(&[0xfd, 0, 0, 1]), Ok(65536));
        assert_eq!(read(&[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]), Ok(1 << 24));
        for none in [&[][..], &[0xfb], &[0xff], &[0xfc, 1], &[0xfd, 1, 2], &[0xfe, 1]] {
            assert_eq!(read(none), Err(Short));
        }
    }

    #[test]
    fn strings() {
        let mut bytes = Reader::new(b"\x02hiyou\0z");
        assert_eq!(bytes.lenenc_bytes(), Ok(&b"hi"[..]));
        assert_eq!(bytes.nul_bytes(), Ok(&b"you"[..]));
        assert_eq!(bytes.nul_bytes(), Err(Short));
        assert_eq!(bytes.take(2), Err(Short));
        assert_eq!(bytes.take(1), Ok(&b"z"[..]));
        assert!(bytes.is_empty());
        assert_eq!(
            Reader::new(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255]).lenenc_bytes(),
            Err(Short)
        );
    }
}
