//! Query attributes: what a client says with a request beside the statement, each by name. MySQL has them since 8.0.23
//! (`mysql_bind_param()`, the capability `QUERY_ATTRIBUTES`), MariaDB has none.

use std::borrow::Cow;

use crate::wire::{Reader, Short};

/// The attributes of a request, in the order in which the client has given them: name and value.
#[derive(Clone, Copy, Debug)]
pub struct QueryAttributes<'a> {
    /// A bit for each: it is NULL.
    nulls: &'a [u8],
    /// Type and name of each.
    types: Reader<'a>,
    values: Reader<'a>,
    at: usize,
    count: usize,
}

/// The value of an attribute, or of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// A string, in the client's character set, or what servers read from one.
    Text(&'a [u8]),
    /// An integer.
    Integer(i128),
    /// A floating-point number.
    Double(f64),
    /// A date or a time, as it is on the wire.
    Time(&'a [u8]),
}

impl<'a> Value<'a> {
    /// It as a text; `None` for NULL, dates and times.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(bytes) => Some(String::from_utf8_lossy(bytes)),
            Self::Integer(number) => Some(number.to_string().into()),
            Self::Double(number) => Some(number.to_string().into()),
            Self::Null | Self::Time(_) => None,
        }
    }
}

impl<'a> QueryAttributes<'a> {
    /// None.
    pub(crate) fn none() -> Self {
        Self::of(&[], &[], &[], 0)
    }

    /// Those of these bytes, as executions of prepared statements have them: a bit for each that is NULL, types with names,
    /// and values.
    pub(crate) fn of(nulls: &'a [u8], types: &'a [u8], values: &'a [u8], count: usize) -> Self {
        Self { nulls, types: Reader::new(types), values: Reader::new(values), at: 0, count }
    }

    /// Takes those of a `COM_QUERY` off what follows its code. What is left is the statement.
    ///
    /// # Errors
    /// They are not all there, or not laid out as they must be.
    pub fn take(rest: &mut Reader<'a>) -> Result<Self, Short> {
        let count = rest.lenenc_int()?;
        // How many sets of values follow: always one.
        rest.lenenc_int()?;
        if count == 0 {
            return Ok(Self::none());
        }
        let count = usize::try_from(count).map_err(|_| Short)?;
        let nulls = rest.take(count.div_ceil(8))?;
        if rest.u8()? != 1 {
            return Err(Short);
        }
        let types = *rest;
        for _ in 0..count {
            rest.take(2)?;
            rest.lenenc_bytes()?;
        }
        let all = Self { nulls, types, values: *rest, at: 0, count };
        let mut passed = all;
        for _ in 0..count {
            passed.one()?;
        }
        *rest = passed.values;
        Ok(all)
    }

    /// What follows the values of all that were taken so far.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.values.rest()
    }

    /// The value of this name, the first of several.
    pub fn get(mut self, name: &str) -> Option<Value<'a>> {
        self.find_map(|(key, value)| (key == name.as_bytes()).then_some(value))
    }

    fn one(&mut self) -> Result<(&'a [u8], Value<'a>), Short> {
        let [kind, sign] = self.types.u16()?.to_le_bytes();
        let name = self.types.lenenc_bytes()?;
        let null = self.nulls.get(self.at / 8).is_some_and(|byte| byte >> (self.at % 8) & 1 == 1);
        self.at = self.at.saturating_add(1);
        let value = if null { Value::Null } else { value(&mut self.values, kind, sign)? };
        Ok((name, value))
    }
}

impl<'a> Iterator for QueryAttributes<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.count).then(|| self.one().ok()).flatten()
    }
}

/// A value, as executions of prepared statements have it.
pub(crate) fn value<'a>(rest: &mut Reader<'a>, kind: u8, sign: u8) -> Result<Value<'a>, Short> {
    let signed = sign & 0x80 == 0;
    Ok(match kind {
        // NULL.
        0x06 => Value::Null,
        // TINY; SHORT and YEAR; LONG and INT24; LONGLONG.
        0x01 if signed => Value::Integer(rest.u8()?.cast_signed().into()),
        0x01 => Value::Integer(rest.u8()?.into()),
        0x02 | 0x0d if signed => Value::Integer(rest.u16()?.cast_signed().into()),
        0x02 | 0x0d => Value::Integer(rest.u16()?.into()),
        0x03 | 0x09 if signed => Value::Integer(rest.u32()?.cast_signed().into()),
        0x03 | 0x09 => Value::Integer(rest.u32()?.into()),
        0x08 if signed => Value::Integer(rest.u64()?.cast_signed().into()),
        0x08 => Value::Integer(rest.u64()?.into()),
        0x04 => Value::Double(f32::from_bits(rest.u32()?).into()),
        0x05 => Value::Double(f64::from_bits(rest.u64()?)),
        // TIMESTAMP, DATE, TIME and DATETIME tell their length.
        0x07 | 0x0a..=0x0c => {
            let len = rest.u8()?;
            Value::Time(rest.take(len.into())?)
        }
        // All others are strings.
        _ => Value::Text(rest.lenenc_bytes()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{put_lenenc_bytes, put_lenenc_int};
    use bytes::{BufMut, BytesMut};

    /// A string, a NULL, an eight-byte number, and a date.
    const FOUR: &[u8] = b"\x04\x01\x02\x01\xfe\0\x01a\x03\0\x01b\x08\x80\x01c\x0a\0\0\x02hi\
        \x01\0\0\0\0\0\0\x80\x04\xea\x07\x0b\x15";

    #[test]
    fn names_and_values() {
        let body = [FOUR, b"select 1"].concat();
        let mut rest = Reader::new(&body);
        let attributes = QueryAttributes::take(&mut rest).unwrap();
        assert_eq!(rest.rest(), b"select 1");
        let expected = [
            (&b"a"[..], Value::Text(b"hi")),
            (b"b", Value::Null),
            (b"c", Value::Integer((1 << 63) + 1)),
            (b"", Value::Time(b"\xea\x07\x0b\x15")),
        ];
        assert!(attributes.eq(expected));
        assert_eq!(attributes.get("a").and_then(Value::text).as_deref(), Some("hi"));
        let number = attributes.get("c").and_then(Value::text);
        assert_eq!(number.as_deref(), Some("9223372036854775809"));
        assert_eq!(attributes.get("b").and_then(Value::text), None);
        assert_eq!(attributes.get("").and_then(Value::text), None);
        assert_eq!(attributes.get("d"), None);
        for len in 0..FOUR.len() {
            let cut = QueryAttributes::take(&mut Reader::new(&FOUR[..len]));
            assert_eq!(cut.err(), Some(Short), "{len} bytes");
        }
    }

    #[test]
    fn there_may_be_none() {
        for none in [&b"\0\x01"[..], b"\xfc\0\0\x01"] {
            let body = [none, b"select 1"].concat();
            let mut rest = Reader::new(&body);
            assert_eq!(QueryAttributes::take(&mut rest).unwrap().count(), 0);
            assert_eq!(rest.rest(), b"select 1");
        }
    }

    #[test]
    fn what_is_not_laid_out_so_is_refused() {
        for wrong in [
            // Types are always said.
            &b"\x01\x01\0\0\x01\x02hi"[..],
            // More than there can be.
            b"\xfd\xff\xff\xff\x01",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\x01",
            // A string that is longer than all.
            b"\x01\x01\0\x01\xfe\0\x01a\xfe\xff\xff\xff\xff\xff\xff\xff\xff",
            b"select 1",
            b"        select 1",
        ] {
            assert_eq!(QueryAttributes::take(&mut Reader::new(wrong)).err(), Some(Short));
        }
    }

    fn given() -> impl Strategy<Value = Vec<(Vec<u8>, u8, Option<Vec<u8>>)>> {
        let bytes = |len| prop::collection::vec(any::<u8>(), len);
        let value = prop_oneof![
            (Just(0xfe_u8), bytes(0..300)),
            (Just(0x08_u8), bytes(8..9)),
            (Just(0x01_u8), bytes(1..2)),
            (Just(0x04_u8), bytes(4..5)),
        ];
        let one = (bytes(0..20), value, prop::bool::weighted(0.8));
        let given =
            one.prop_map(|(name, (kind, value), there)| (name, kind, there.then_some(value)));
        prop::collection::vec(given, 0..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_given_is_found(given in given(), text in "[a-z ]{0,20}") {
            let mut body = BytesMut::new();
            put_lenenc_int(&mut body, given.len() as u64);
            body.put_u8(1);
            if !given.is_empty() {
                let mut nulls = vec![0_u8; given.len().div_ceil(8)];
                for (at, (_, _, value)) in given.iter().enumerate() {
                    nulls[at / 8] |= u8::from(value.is_none()) << (at % 8);
                }
                body.put_slice(&nulls);
                body.put_u8(1);
                for (name, kind, _) in &given {
                    body.put_slice(&[*kind, 0]);
                    put_lenenc_bytes(&mut body, name);
                }
                for (_, kind, value) in &given {
                    match value {
                        Some(value) if *kind == 0xfe => put_lenenc_bytes(&mut body, value),
                        Some(value) => body.put_slice(value),
                        None => {}
                    }
                }
            }
            body.put_slice(text.as_bytes());
            let mut rest = Reader::new(&body);
            let found = QueryAttributes::take(&mut rest).unwrap();
            prop_assert_eq!(rest.rest(), text.as_bytes());
            prop_assert_eq!(found.count(), given.len());
            for ((name, kind, value), (found, read)) in given.iter().zip(found) {
                prop_assert_eq!(&name[..], found);
                match (kind, value) {
                    (_, None) => prop_assert_eq!(read, Value::Null),
                    (0xfe, Some(value)) => prop_assert_eq!(read, Value::Text(value)),
                    (0x08, Some(value)) => {
                        let number = i64::from_le_bytes(value[..].try_into().unwrap());
                        prop_assert_eq!(read, Value::Integer(number.into()));
                    }
                    (0x01, Some(value)) => {
                        prop_assert_eq!(read, Value::Integer((value[0] as i8).into()));
                    }
                    _ => prop_assert!(matches!(read, Value::Double(_))),
                }
            }
        }

        #[test]
        fn anything_is_survived(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut rest = Reader::new(&body);
            if let Ok(found) = QueryAttributes::take(&mut rest) {
                prop_assert!(found.count() * 3 <= body.len());
            }
        }
    }
}
