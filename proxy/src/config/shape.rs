//! Compares a document with the configuration's JSON Schema: names of fields, types, ranges, formats.
//!
//! Every mistake is told, and mended in the tree: a field that nobody knows is dropped, a value that is wrong or missing
//! is replaced by one of the right shape. So what comes after can read the whole document as a configuration, whatever
//! is wrong with it. Schemas are read as far as this configuration's own types make use of them.

use serde_json::Value as Json;

use super::{
    report::{Mistake, hint, nearest},
    source::{MISSING, Source},
    tree::{Field, Node, Value},
    value::check_format,
};

/// Compares and mends.
pub(super) struct Shape<'a> {
    root: &'a Json,
    source: &'a Source<'a>,
    /// What was found.
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Shape<'a> {
    /// For documents of this schema.
    pub(super) fn new(root: &'a Json, source: &'a Source<'a>) -> Self {
        Self { root, source, mistakes: Vec::new() }
    }

    /// Brings the document's root into shape.
    pub(super) fn mend_root(&mut self, node: &mut Node) {
        let root = self.root;
        if matches!(node.value, Value::Null) {
            node.value = Value::Map(Vec::new());
        }
        self.mend(node, root);
    }

    fn mend(&mut self, node: &mut Node, schema: &'a Json) {
        if matches!(&node.value, Value::Text(text) if text.contains(MISSING)) {
            *node = self.stand_in(node.at, schema);
            return;
        }
        let kind = Kind::of(self.root, schema);
        let fits = match (&mut node.value, &kind) {
            (Value::Map(_), Kind { object: Some(object), .. }) => {
                self.mend_fields(node, object);
                true
            }
            (Value::Map(_), Kind { map_of: Some(values), .. }) => {
                self.drop_duplicates(node);
                let Value::Map(fields) = &mut node.value else { return };
                for field in fields {
                    self.mend_field(field, values);
                }
                true
            }
            (Value::List(items), Kind { list_of: Some(item_schema), schema, .. }) => {
                for item in &mut *items {
                    self.mend(item, item_schema);
                }
                if items.is_empty() && schema["minItems"].as_u64().unwrap_or(0) > 0 {
                    self.tell(node.at, "the list is empty; it needs at least one item");
                }
                true
            }
            (Value::Plain(_, value), Kind { number: Some(number), .. }) if value.is_number() => {
                match number_problem(value, number) {
                    Some(problem) => {
                        self.tell(node.at, problem);
                        false
                    }
                    None => true,
                }
            }
            (Value::Plain(_, Json::Bool(_)), Kind { boolean: true, .. }) => true,
            (Value::Text(_) | Value::Plain(..), Kind { text: Some(text), object, .. }) => {
                match self.text_problem(node, text) {
                    None => true,
                    Some(_) if object.is_some() && !text.choices.is_empty() => {
                        self.tell(node.at, kind.expected(&node.value));
                        false
                    }
                    Some(problem) => {
                        self.tell(node.at, problem);
                        false
                    }
                }
            }
            _ => {
                self.tell(node.at, kind.expected(&node.value));
                false
            }
        };
        if !fits {
            *node = self.stand_in(node.at, schema);
        }
    }

    /// What is wrong with a string, or anything that can be read as one and so becomes one.
    fn text_problem(&mut self, node: &mut Node, text: &Text<'a>) -> Option<String> {
        let spelling = match &node.value {
            Value::Text(spelling) | Value::Plain(spelling, _) => spelling.clone(),
            Value::Null | Value::List(_) | Value::Map(_) => String::new(),
        };
        let problem = if !text.choices.is_empty() {
            let known = text.choices.contains(&spelling.as_str());
            (!known).then(|| {
                let hint = hint(&spelling, "values", text.choices.iter().copied());
                format!("unknown value {spelling:?}{hint}")
            })
        } else if spelling.is_empty() && text.schema["minLength"].as_u64().unwrap_or(0) > 0 {
            Some("must not be empty".into())
        } else {
            text.schema["format"].as_str().and_then(|format| check_format(format, &spelling).err())
        };
        node.value = Value::Text(spelling);
        problem
    }

    fn mend_fields(&mut self, node: &mut Node, object: &Object<'a>) {
        self.drop_duplicates(node);
        let at = node.at;
        let Value::Map(fields) = &mut node.value else { return };
        let mut mended = node.mended;
        let mut misspelt = Vec::new();
        fields.retain_mut(|field| {
            let Some((_, schema)) = object.fields.iter().find(|(name, _)| *name == field.name)
            else {
                let hint = hint(&field.name, "fields", object.fields.iter().map(|(name, _)| *name));
                self.tell(field.at, format!("unknown field {:?}{hint}", field.name));
                misspelt.extend(nearest(&field.name, object.fields.iter().map(|(name, _)| *name)));
                mended = true;
                return false;
            };
            self.mend_field(field, schema);
            true
        });
        let exclusive = |name: &str| object.exclusive.contains(&name);
        let written = fields.iter().filter(|field| exclusive(&field.name)).count();
        if written != 1 && !object.exclusive.is_empty() {
            // What was dropped above has been told already, and may have been the one.
            if written > 1 || !mended {
                self.tell(at, format!("write exactly one of {}", object.exclusive.join(", ")));
            }
            mended = true;
            let mut kept = false;
            fields.retain(|field| !exclusive(&field.name) || !std::mem::replace(&mut kept, true));
            let first = object.fields.iter().find(|(name, _)| !kept && exclusive(name));
            fields.extend(first.map(|field| self.stand_in_field(at, field)));
        }
        for field in object.fields.iter().filter(|(name, _)| object.required.contains(name)) {
            let (name, _) = field;
            if fields.iter().any(|field| field.name == *name) {
                continue;
            }
            // A misspelt name is told once, as what was written.
            if !misspelt.contains(name) {
                self.tell(at, format!("missing field {name:?}"));
            }
            mended = true;
            fields.push(self.stand_in_field(at, field));
        }
        node.mended = mended;
    }

    fn mend_field(&mut self, field: &mut Field, schema: &'a Json) {
        if matches!(field.node.value, Value::Null) {
            let name = &field.name;
            self.tell(field.at, format!("{name:?} has no value; give it one or remove it"));
            field.node = self.stand_in(field.node.at, schema);
        } else {
            self.mend(&mut field.node, schema);
        }
    }

    /// Keeps the first of fields with the same name.
    fn drop_duplicates(&mut self, node: &mut Node) {
        let Value::Map(fields) = &mut node.value else { return };
        let mut seen: Vec<String> = Vec::new();
        fields.retain(|field| {
            let again = seen.contains(&field.name);
            if again {
                let message = format!("{:?} is here twice; remove one of them", field.name);
                self.mistakes.push(self.source.mistake(field.at, message));
                node.mended = true;
            } else {
                seen.push(field.name.clone());
            }
            !again
        });
    }

    /// A value that the schema allows and that later checks find nothing to say about.
    fn stand_in(&self, at: usize, schema: &'a Json) -> Node {
        let kind = Kind::of(self.root, schema);
        let value = if let Some(text) = kind.text {
            let format = text.schema["format"].as_str().unwrap_or_default();
            Value::Text(match (text.choices.first(), format) {
                (Some(choice), _) => (*choice).to_owned(),
                (None, "wiremesh-duration") => "1s".into(),
                (None, "wiremesh-size") => "1MiB".into(),
                (None, "wiremesh-address") => "unix:?".into(),
                (None, "wiremesh-socket") => "127.0.0.1:0".into(),
                (None, "wiremesh-cidr") => "::/128".into(),
                (None, "wiremesh-log-path") => "stdout".into(),
                _ => String::new(),
            })
        } else if let Some(number) = kind.number {
            let least = number["minimum"].as_f64().unwrap_or(0.0).max(1.0);
            let value =
                if number["type"] == "integer" { (least as u64).into() } else { least.into() };
            Value::Plain(String::new(), value)
        } else if kind.boolean {
            Value::Plain(String::new(), false.into())
        } else if kind.list_of.is_some() {
            Value::List(Vec::new())
        } else if let Some(object) = kind.object {
            let wanted = |name: &str| {
                object.required.contains(&name) || object.exclusive.first() == Some(&name)
            };
            let fields = object.fields.iter().filter(|(name, _)| wanted(name));
            Value::Map(fields.map(|field| self.stand_in_field(at, field)).collect())
        } else {
            Value::Map(Vec::new())
        };
        Node { at, value, mended: true }
    }

    fn stand_in_field(&self, at: usize, (name, schema): &(&str, &'a Json)) -> Field {
        Field { at, name: (*name).to_owned(), node: self.stand_in(at, schema) }
    }

    fn tell(&mut self, at: usize, message: impl Into<String>) {
        self.mistakes.push(self.source.mistake(at, message));
    }
}

/// What a schema allows, with references and alternatives resolved.
struct Kind<'a> {
    schema: &'a Json,
    object: Option<Object<'a>>,
    map_of: Option<&'a Json>,
    list_of: Option<&'a Json>,
    text: Option<Text<'a>>,
    number: Option<&'a Json>,
    boolean: bool,
}

#[derive(Default)]
struct Object<'a> {
    fields: Vec<(&'a str, &'a Json)>,
    required: Vec<&'a str>,
    /// Fields of which there must be exactly one.
    exclusive: Vec<&'a str>,
}

struct Text<'a> {
    schema: &'a Json,
    /// The only values allowed; empty if any is.
    choices: Vec<&'a str>,
}

impl<'a> Kind<'a> {
    fn of(root: &'a Json, schema: &'a Json) -> Self {
        let mut kind = Self {
            schema,
            object: None,
            map_of: None,
            list_of: None,
            text: None,
            number: None,
            boolean: false,
        };
        kind.add(root, schema);
        kind
    }

    fn add(&mut self, root: &'a Json, schema: &'a Json) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = root.pointer(reference.trim_start_matches('#'));
            return self.add(root, target.unwrap_or(&Json::Null));
        }
        for alternatives in ["oneOf", "anyOf"] {
            for alternative in schema[alternatives].as_array().into_iter().flatten() {
                self.add(root, alternative);
            }
        }
        match schema["type"].as_str().unwrap_or_default() {
            "object" => self.add_object(schema),
            "array" => self.list_of = Some(&schema["items"]),
            "integer" | "number" => self.number = Some(schema),
            "boolean" => self.boolean = true,
            "string" => {
                let choices = schema["enum"].as_array().into_iter().flatten();
                let choices = choices.chain(schema.get("const")).filter_map(Json::as_str);
                let text = self.text.get_or_insert_with(|| Text { schema, choices: Vec::new() });
                text.choices.extend(choices);
            }
            _ => {}
        }
    }

    fn add_object(&mut self, schema: &'a Json) {
        let Some(fields) = schema["properties"].as_object() else {
            self.map_of = Some(&schema["additionalProperties"]);
            return;
        };
        let required = |schema: &'a Json| {
            let names = schema["required"].as_array().into_iter().flatten();
            names.filter_map(Json::as_str).collect::<Vec<_>>()
        };
        let fields = fields.iter().map(|(name, schema)| (name.as_str(), schema));
        let Some(object) = &mut self.object else {
            let alternatives = schema["oneOf"].as_array().into_iter().flatten();
            self.object = Some(Object {
                fields: fields.collect(),
                required: required(schema),
                exclusive: alternatives.flat_map(required).collect(),
            });
            return;
        };
        // A second object is another variant of an enum: each of them has one field of its own.
        object.fields.extend(fields);
        object.exclusive = object.fields.iter().map(|(name, _)| *name).collect();
        object.required.clear();
    }

    /// That something else was expected.
    fn expected(&self, seen: &Value) -> String {
        let mut wanted = Vec::new();
        if let Some(text) = &self.text {
            wanted.push(match text.schema["format"].as_str() {
                _ if !text.choices.is_empty() => text.choices.join(", "),
                Some("wiremesh-duration") => "a duration such as 3s".into(),
                Some("wiremesh-size") => "a size such as 64KiB".into(),
                Some("wiremesh-address" | "wiremesh-socket") => {
                    "an address such as 127.0.0.1:12200".into()
                }
                _ => "a text".into(),
            });
        }
        if let Some(number) = self.number {
            wanted.push(
                if number["type"] == "integer" { "a whole number" } else { "a number" }.into(),
            );
        }
        if self.boolean {
            wanted.push("true or false".into());
        }
        if self.list_of.is_some() {
            wanted.push("a list".into());
        }
        if let Some(object) = &self.object {
            let names: Vec<&str> = object.fields.iter().map(|(name, _)| *name).collect();
            wanted.push(format!("fields ({})", names.join(", ")));
        }
        if self.map_of.is_some() {
            wanted.push("names with values".into());
        }
        let quoted_number = self.number.is_some() || self.boolean;
        let seen = match seen {
            Value::Null => "nothing".into(),
            Value::Text(text) if quoted_number && looks_plain(text) => {
                format!("the text {text:?}; remove the quotes")
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Plain(spelling, _) => format!("{spelling:?}"),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "fields".into(),
        };
        format!("expected {}, found {seen}", wanted.join(" or "))
    }
}

fn looks_plain(text: &str) -> bool {
    text.parse::<f64>().is_ok() || text == "true" || text == "false"
}

fn number_problem(value: &Json, schema: &Json) -> Option<String> {
    let number = value.as_f64()?;
    let integer = schema["type"] == "integer";
    if integer && !(value.is_u64() || value.is_i64()) {
        return Some(format!("expected a whole number, found {value}"));
    }
    let limit = |name: &str| schema[name].as_f64();
    let widest = (schema["format"] == "uint32").then_some(f64::from(u32::MAX));
    if let Some(least) = limit("minimum").filter(|least| number < *least) {
        return Some(format!("{value} is too small; the least is {least}"));
    }
    let most = limit("maximum").or(widest).filter(|most| number > *most)?;
    Some(format!("{value} is too large; the most is {most}"))
}
