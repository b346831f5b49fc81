//! Both grammars are read: the draft that sofa-hessian 3.x writes (a class definition begins with `O`, its name is bare
//! text) and the final one of 4.x (`C`, its name is a string).

use std::borrow::Cow;

use crate::wire::SOFA_REQUEST;

/// How far into a body a field is looked for. Class definition and names together take a few hundred bytes.
const PEEK: usize = 8 * 1024;
/// The most fields that a class definition may have for us to look at it. SofaRequest has five.
const MAX_FIELDS: usize = 32;

/// The string field `name` of the SofaRequest that `body` begins with, if it comes before any field that is not a plain
/// value. Java and Node write the strings first.
pub(crate) fn string_field<'a>(body: &'a [u8], name: &[u8]) -> Option<Cow<'a, str>> {
    let mut reader = Reader::new(body.get(..PEEK).unwrap_or(body))?;
    if reader.class_name()? != SOFA_REQUEST {
        return None;
    }
    let fields = reader.int().filter(|&count| count <= MAX_FIELDS)?;
    let mut wanted = None;
    for index in 0..fields {
        if reader.string()? == name {
            wanted = Some(index);
        }
    }
    reader.object()?;
    for _ in 0..wanted? {
        reader.skip()?;
    }
    reader.string().map(String::from_utf8_lossy)
}

struct Reader<'a> {
    rest: &'a [u8],
    draft: bool,
}

impl<'a> Reader<'a> {
    /// For a body that begins with a class definition.
    fn new(body: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = body.split_first()?;
        matches!(tag, b'O' | b'C').then_some(Self { rest, draft: tag == b'O' })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// An integer that is not negative and that a count may have.
    fn int(&mut self) -> Option<usize> {
        let tag = self.byte()?;
        match tag {
            0x90..=0xbf => Some(usize::from(tag.wrapping_sub(0x90))),
            0xc8..=0xcf => Some(usize::from(u16::from_be_bytes([tag & 0x07, self.byte()?]))),
            b'I' => {
                let raw = self.take(4)?.first_chunk()?;
                usize::try_from(i32::from_be_bytes(*raw)).ok()
            }
            _ => None,
        }
    }

    /// The name in the class definition.
    fn class_name(&mut self) -> Option<&'a [u8]> {
        if !self.draft {
            return self.string();
        }
        let units = self.int()?;
        self.text(units)
    }

    /// What precedes the fields of an object of the first class.
    fn object(&mut self) -> Option<()> {
        match (self.byte()?, self.draft) {
            (0x60, false) => Some(()),
            (b'o', true) | (b'O', false) => (self.int()? == 0).then_some(()),
            _ => None,
        }
    }

    /// A string in one chunk.
    fn string(&mut self) -> Option<&'a [u8]> {
        let tag = self.byte()?;
        self.string_of(tag)
    }

    fn string_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        let units = match tag {
            0x00..=0x1f => usize::from(tag),
            0x30..=0x33 if !self.draft => {
                usize::from(u16::from_be_bytes([tag & 0x03, self.byte()?]))
            }
            b'S' => usize::from(u16::from_be_bytes(*self.take(2)?.first_chunk()?)),
            _ => return None,
        };
        self.text(units)
    }

    /// Text of so many UTF-16 units, each of which takes one to three bytes.
    fn text(&mut self, units: usize) -> Option<&'a [u8]> {
        if let Some(text) = self.rest.get(..units)
            && text.is_ascii()
        {
            return self.take(units);
        }
        let (mut seen, mut len) = (0usize, 0usize);
        while seen < units {
            let (unit, bytes) = match *self.rest.get(len)? {
                0x00..=0x7f => (1, 1),
                0xc0..=0xdf => (1, 2),
                0xe0..=0xef => (1, 3),
                // Not what Java writes, but others do.
                0xf0..=0xf7 => (2, 4),
                _ => return None,
            };
            seen = seen.saturating_add(unit);
            len = len.saturating_add(bytes);
        }
        self.take(len)
    }

    /// Passes over a null, a boolean, a number or a string.
    fn skip(&mut self) -> Option<()> {
        let tag = self.byte()?;
        let len = match tag {
            b'N' | b'T' | b'F' | 0x80..=0xbf | 0xd8..=0xef => 0,
            0xc0..=0xcf | 0xf0..=0xff => 1,
            0xd0..=0xd7 | 0x38..=0x3f => 2,
            b'I' => 4,
            b'L' | b'D' => 8,
            _ => return self.string_of(tag).map(|_| ()),
        };
        self.take(len).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASS: &str = "com.alipay.sofa.rpc.core.request.SofaRequest";

    fn short(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

    /// A request as sofa-hessian 3.x writes it, up to the properties.
    fn draft(fields: &[&str], values: &[u8]) -> Vec<u8> {
        let count = 0x90 + fields.len() as u8;
        let names: Vec<u8> = fields.iter().flat_map(|name| short(name)).collect();
        [b"O\xbc", CLASS.as_bytes(), &[count], &names, b"o\x90", values].concat()
    }

    /// The same in the final grammar.
    fn ultimate(fields: &[&str], object: &[u8], values: &[u8]) -> Vec<u8> {
        let count = 0x90 + fields.len() as u8;
        let names: Vec<u8> = fields.iter().flat_map(|name| short(name)).collect();
        [b"C\x30\x2c", CLASS.as_bytes(), &[count], &names, object, values].concat()
    }

    const JAVA: [&str; 5] =
        ["targetAppName", "methodName", "targetServiceUniqueName", "requestProps", "methodArgSigs"];

    fn values() -> Vec<u8> {
        [b"N", &short("sayHello")[..], &short("com.x.HelloService:1.0"), b"M"].concat()
    }

    #[test]
    fn the_draft_grammar() {
        let body = draft(&JAVA, &values());
        assert_eq!(string_field(&body, b"methodName").as_deref(), Some("sayHello"));
        let service = string_field(&body, b"targetServiceUniqueName");
        assert_eq!(service.as_deref(), Some("com.x.HelloService:1.0"));
        assert_eq!(string_field(&body, b"targetAppName"), None, "null");
        assert_eq!(string_field(&body, b"requestProps"), None, "a map");
        assert_eq!(string_field(&body, b"methodArgSigs"), None, "behind a map");
        assert_eq!(string_field(&body, b"nosuch"), None);
    }

    #[test]
    fn the_final_grammar() {
        for object in [&[0x60][..], b"O\x90", b"OI\0\0\0\0"] {
            let body = ultimate(&JAVA, object, &values());
            assert_eq!(string_field(&body, b"methodName").as_deref(), Some("sayHello"));
        }
        assert_eq!(string_field(&ultimate(&JAVA, &[0x61], &values()), b"methodName"), None);
        assert_eq!(string_field(&ultimate(&JAVA, b"O\x91", &values()), b"methodName"), None);
        let long = [b"\x30\x28", &[b'm'; 40][..]].concat();
        let body = ultimate(&["methodName"], &[0x60], &long);
        assert_eq!(string_field(&body, b"methodName").as_deref(), Some(&*"m".repeat(40)));
        // In the draft grammar 0x30 is no string.
        assert_eq!(string_field(&draft(&["methodName"], &long), b"methodName"), None);
    }

    #[test]
    fn names_of_other_letters() {
        for (raw, text) in [
            (&b"S\0\x03sum"[..], "sum"),
            (b"\x03a\xe4\xb8\xad\xc3\xa9", "a\u{4e2d}\u{e9}"),
            (b"\x02\xf0\x9f\x98\x80", "\u{1f600}"),
            // A surrogate pair in Java's way has no Rust string.
            (b"\x03\xed\xa0\xbd\xed\xb8\x80m", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}m"),
        ] {
            let body = draft(&["methodName"], raw);
            assert_eq!(string_field(&body, b"methodName").as_deref(), Some(text));
        }
    }

    #[test]
    fn plain_values_are_passed_over() {
        for value in [
            &b"N"[..],
            b"T",
            b"F",
            b"\x90",
            b"\xc8\x30",
            b"\xd4\x08\x00",
            b"I\0\0\0\x01",
            b"\xe0",
            b"\xf8\x10",
            b"\x3c\x08\0",
            b"L\0\0\0\0\0\0\0\x01",
            b"D\0\0\0\0\0\0\0\0",
            b"\x02hi",
            b"S\0\x02hi",
        ] {
            let body = draft(&["x", "methodName"], &[value, b"\x01m"].concat());
            assert_eq!(string_field(&body, b"methodName").as_deref(), Some("m"), "{value:x?}");
        }
        for value in [&b"M"[..], b"Vz", b"J\0", b"O\x90", b"s\0\x01a\x01b", b"\x40", b"z"] {
            let body = draft(&["x", "methodName"], &[value, b"\x01m"].concat());
            assert_eq!(string_field(&body, b"methodName"), None, "{value:x?}");
        }
    }

    #[test]
    fn lengths_are_not_trusted() {
        for body in [
            &b""[..],
            b"O",
            b"OI\x7f\xff\xff\xff",
            b"OI\xff\xff\xff\xff",
            b"C\x33\xff",
            b"CS\xff\xff",
            b"Z\x90",
            b"o\x90",
        ] {
            assert_eq!(string_field(body, b"methodName"), None, "{body:x?}");
        }
        let counted = |count: &[u8]| {
            let name = short("methodName");
            [b"O\xbc", CLASS.as_bytes(), count, &name, b"o\x90\x01m"].concat()
        };
        assert!(string_field(&counted(b"\x91"), b"methodName").is_some());
        for count in [&b"\xb1"[..], b"I\x7f\xff\xff\xff", b"\x8f", b"\x92", b"N"] {
            assert_eq!(string_field(&counted(count), b"methodName"), None, "{count:x?}");
        }
        let other = [b"O\xbc", &[b'x'; 44][..], b"\x91\x0amethodNameo\x90\x01m"].concat();
        assert_eq!(string_field(&other, b"methodName"), None, "another class");
        let far =
            draft(&["x", "methodName"], &[b"S\x20\0", &[b'a'; 0x2000][..], b"\x01m"].concat());
        assert_eq!(string_field(&far, b"methodName"), None, "too far away");
    }

    #[test]
    fn a_body_cut_off_anywhere_gives_the_name_or_nothing() {
        let body = draft(&JAVA, &values());
        let end = body.len() - short("com.x.HelloService:1.0").len() - 1;
        for len in 0..body.len() {
            let found = string_field(&body[..len], b"methodName");
            assert_eq!(found.as_deref(), (len >= end).then_some("sayHello"), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(at in 0usize..200, with: [u8; 3], newer: bool) {
            let mut body = if newer { ultimate(&JAVA, &[0x60], &values()) } else { draft(&JAVA, &values()) };
            let at = at % (body.len() - 3);
            body[at..at + 3].copy_from_slice(&with);
            if let Some(Cow::Borrowed(found)) = string_field(&body, b"methodName") {
                prop_assert!(body.as_ptr_range().contains(&found.as_ptr()) || found.is_empty());
            }
        }
    }
}
