//! A YAML document as a tree in which every value knows where it stands.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use super::{report::Mistake, source::Source};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The offset of its first byte.
    pub(super) at: usize,
    /// What it is.
    pub(super) value: Value,
    /// Whether it stands in for something that was a mistake, or lost a field that was.
    pub(super) mended: bool,
}

/// What a [`Node`] is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing: `null`, `~`, or no value at all.
    Null,
    /// A number or truth value, with its spelling.
    Plain(String, serde_json::Value),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Fields, in order.
    Map(Vec<Field>),
}

/// A field of a [`Value::Map`].
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// The offset of its name.
    pub(super) at: usize,
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) node: Node,
}

impl Node {
    /// The document's root; an empty document is an empty map.
    pub(super) fn parse(source: &Source<'_>) -> Result<Self, Mistake> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            strict_booleans: true,
            with_snippet: false,
        };
        let parsed: Result<Spanned<Raw>, _> =
            serde_saphyr::from_str_with_options(source.text(), options);
        match parsed {
            Ok(raw) => Ok(Self::from_raw(raw, source.text())),
            Err(error) => {
                let location = error.location();
                let offset = location.map_or(0, |l| source.offset(l.line(), l.column()));
                let message = match error.without_snippet() {
                    serde_saphyr::Error::MultipleDocuments { .. } => {
                        "another document begins; a file is one document".to_owned()
                    }
                    other => other.to_string(),
                };
                // The position is told by the mistake itself.
                let message = message.split(" at line ").next().unwrap_or_default();
                Err(source.mistake(offset, message))
            }
        }
    }

    /// The field `name`, if this is a map that has it.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(fields) => fields.iter().find(|f| f.name == name).map(|f| &f.node),
            _ => None,
        }
    }

    /// The item `index`, if this is a list that has it.
    pub(super) fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    /// Whether it or anything below it was mended.
    pub(super) fn mended_below(&self) -> bool {
        self.mended
            || match &self.value {
                Value::List(items) => items.iter().any(Self::mended_below),
                Value::Map(fields) => fields.iter().any(|field| field.node.mended_below()),
                Value::Null | Value::Plain(..) | Value::Text(_) => false,
            }
    }

    /// The value without positions.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Plain(_, value) => value.clone(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(fields) => {
                fields.iter().map(|f| (f.name.clone(), f.node.to_json())).collect()
            }
        }
    }

    fn from_raw(raw: Spanned<Raw>, text: &str) -> Self {
        let span = raw.referenced.span();
        let at = usize::try_from(span.byte_offset().unwrap_or(0)).unwrap_or(0);
        // The spelling of an aliased value is where it is defined.
        let spelling = || {
            let span = raw.defined.span();
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let len = usize::try_from(span.byte_len()?).ok()?;
            text.get(start..start.checked_add(len)?).map(|t| t.trim_end().to_owned())
        };
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Text(text),
            Raw::Plain(value) => {
                Value::Plain(spelling().unwrap_or_else(|| value.to_string()), value)
            }
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| Self::from_raw(item, text)).collect())
            }
            Raw::Map(fields) => Value::Map(
                fields
                    .into_iter()
                    .map(|(name, node)| Field {
                        at: usize::try_from(name.referenced.span().byte_offset().unwrap_or(0))
                            .unwrap_or(0),
                        name: name.value,
                        node: Self::from_raw(node, text),
                    })
                    .collect(),
            ),
        };
        Self { at, value, mended: false }
    }
}

/// What the parser makes of a value that it has no type for.
enum Raw {
    Null,
    Plain(serde_json::Value),
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(field) = fields.next_entry()? {
            map.push(field);
        }
        Ok(Raw::Map(map))
    }
}
