//! Answers, in the version of RESP that the client speaks.

use bytes::BytesMut;
use wiremesh_redis::resp::{Version, write};

/// An error, its code first.
pub(super) type Fault = std::borrow::Cow<'static, str>;

pub(super) const SYNTAX: Fault = Fault::Borrowed("ERR syntax error");
pub(super) const NOT_INTEGER: Fault =
    Fault::Borrowed("ERR value is not an integer or out of range");
pub(super) const WRONG_TYPE: Fault =
    Fault::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value");

/// Where answers are appended.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) bytes: BytesMut,
    pub(super) version: Version,
}

impl Out {
    pub(super) fn ok(&mut self) {
        self.simple("OK");
    }

    pub(super) fn simple(&mut self, text: &str) {
        write::simple(&mut self.bytes, text.as_bytes());
    }

    pub(super) fn error(&mut self, text: &str) {
        write::error(&mut self.bytes, text.as_bytes());
    }

    pub(super) fn integer(&mut self, value: i64) {
        write::integer(&mut self.bytes, value);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        write::bulk(&mut self.bytes, bytes.as_ref());
    }

    pub(super) fn maybe(&mut self, bytes: Option<impl AsRef<[u8]>>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    pub(super) fn null(&mut self) {
        write::null(&mut self.bytes, self.version);
    }

    pub(super) fn null_array(&mut self) {
        write::null_array(&mut self.bytes, self.version);
    }

    pub(super) fn array(&mut self, count: usize) {
        write::array(&mut self.bytes, count);
    }

    pub(super) fn bulks(&mut self, all: impl ExactSizeIterator<Item: AsRef<[u8]>>) {
        self.array(all.len());
        all.for_each(|bytes| self.bulk(bytes));
    }

    pub(super) fn map(&mut self, pairs: usize) {
        write::map(&mut self.bytes, pairs, self.version);
    }

    pub(super) fn set(&mut self, count: usize) {
        write::set(&mut self.bytes, count, self.version);
    }

    pub(super) fn push(&mut self, count: usize) {
        write::push(&mut self.bytes, count, self.version);
    }
}

/// An integer as the server reads it: no sign but `-`, no zeros before it, no blanks.
pub(super) fn integer(text: &[u8]) -> Result<i64, Fault> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    number.filter(|number| number.to_string().as_bytes() == text).ok_or(NOT_INTEGER)
}

/// Whether an argument is this word, in any case.
pub(super) fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}
