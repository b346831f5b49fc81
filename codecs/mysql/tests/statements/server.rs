//! A server as far as prepared statements go: what it keeps of them, and how it reads an execution.

use std::collections::HashMap;

use wiremesh_mysql::{
    Capabilities,
    wire::{HEAD, Head, Reader},
};

/// A parameter's value as the server reads it: its type, and `None` for NULL.
pub type Value = ([u8; 2], Option<Vec<u8>>);

pub const LONGLONG: [u8; 2] = [8, 0];
pub const UNSIGNED: [u8; 2] = [8, 0x80];
pub const TINY: [u8; 2] = [1, 0];
pub const DOUBLE: [u8; 2] = [5, 0];
pub const STRING: [u8; 2] = [0xfd, 0];
pub const NULL: [u8; 2] = [6, 0];

/// How the server fails an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    No,
    /// Before it has looked at it: all is as it was.
    Early,
    /// When all was read.
    Late,
}

#[derive(Debug, PartialEq)]
pub enum Answer {
    Prepared(Vec<u8>),
    Executed { text: Vec<u8>, values: Vec<Value>, attributes: Vec<(Vec<u8>, Value)>, cursor: bool },
    Rows { text: Vec<u8>, last: bool },
    Ok,
    Error(u16),
    Nothing,
}

#[derive(Debug, Default)]
struct Prepared {
    text: Vec<u8>,
    parameters: usize,
    types: Option<Vec<[u8; 2]>>,
    /// The client and kind of what was ever bound.
    history: Vec<(usize, usize, u8)>,
    long: HashMap<u16, (usize, Vec<u8>)>,
    /// Whose it is, and how often it can be fetched from.
    cursor: Option<(usize, u32)>,
    /// It was asked for one.
    opened: bool,
}

#[derive(Debug)]
pub struct Server {
    pub capabilities: Capabilities,
    pub fails: Fails,
    last: u32,
    prepared: HashMap<u32, Prepared>,
}

/// How many parameters the model's texts have.
pub fn parameters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'?').count()
}

fn kind([kind, sign]: [u8; 2]) -> u8 {
    match kind {
        1 | 8 => 8 | sign,
        kind => kind,
    }
}

/// A value of this type, as it stands in a packet.
pub fn put_value(out: &mut Vec<u8>, kind: [u8; 2], value: &[u8]) {
    if kind == STRING {
        assert!(value.len() < 251);
        out.push(value.len() as u8);
    }
    out.extend_from_slice(value);
}

pub fn width(kind: [u8; 2]) -> usize {
    match kind[0] {
        1 => 1,
        6 => 0,
        _ => 8,
    }
}

fn take_value(body: &mut Reader<'_>, kind: [u8; 2]) -> Vec<u8> {
    match kind {
        STRING => body.lenenc_bytes().expect("a string").to_vec(),
        kind => body.take(width(kind)).expect("a number").to_vec(),
    }
}

impl Server {
    /// `first`: ids of different servers differ.
    pub fn new(capabilities: Capabilities, first: u32) -> Self {
        Self { capabilities, fails: Fails::No, last: first, prepared: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.prepared.len()
    }

    pub fn reset(&mut self) {
        self.prepared.clear();
    }

    /// Whether a client's part of a parameter is here.
    pub fn has_long(&self, client: usize, text: &[u8], parameter: u16, data: &[u8]) -> bool {
        self.prepared.values().any(|prepared| {
            let part = prepared.long.get(&parameter);
            prepared.text == text
                && part.is_some_and(|(owner, all)| *owner == client && all.ends_with(data))
        })
    }

    /// Answers all of these commands; what comes is from this client.
    pub fn serve(&mut self, client: usize, mut bytes: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let (mut body, mut seq) = (Vec::new(), 0);
            loop {
                let head = Head::read(bytes).expect("a head");
                assert_eq!(head.seq, seq);
                seq = seq.wrapping_add(1);
                let (part, rest) = bytes[HEAD..].split_at(head.len);
                body.extend_from_slice(part);
                bytes = rest;
                if !head.is_continued() {
                    break;
                }
            }
            answers.push(self.command(client, &body));
        }
        answers
    }

    fn command(&mut self, client: usize, body: &[u8]) -> Answer {
        let (code, body) = body.split_first().expect("a command");
        if *code == 0x16 {
            return self.prepare(body);
        }
        let mut body = Reader::new(body);
        let id = body.u32().expect("an id");
        let Some(prepared) = self.prepared.get_mut(&id) else {
            panic!("{code:#x} of {id}, which there is not");
        };
        match code {
            0x17 => self.execute(client, id, body),
            0x18 => {
                let parameter = body.u16().expect("a parameter");
                let (owner, data) = prepared.long.entry(parameter).or_insert((client, Vec::new()));
                assert_eq!(*owner, client, "data of strangers");
                data.extend_from_slice(body.rest());
                Answer::Nothing
            }
            0x19 => {
                self.prepared.remove(&id);
                Answer::Nothing
            }
            0x1a => {
                (prepared.cursor, prepared.long) = (None, HashMap::new());
                Answer::Ok
            }
            0x1c => {
                let Some((owner, left)) = &mut prepared.cursor else { return Answer::Error(1421) };
                assert_eq!(*owner, client, "a stranger's cursor");
                *left -= 1;
                let last = *left == 0;
                if last {
                    prepared.cursor = None;
                }
                Answer::Rows { text: prepared.text.clone(), last }
            }
            other => panic!("{other:#x}"),
        }
    }

    fn prepare(&mut self, text: &[u8]) -> Answer {
        if text.starts_with(b"bad") {
            return Answer::Prepared(b"\xff\x28\x04#42000You have an error".to_vec());
        }
        self.last += 1;
        let parameters = parameters(text);
        let new = Prepared { text: text.to_vec(), parameters, ..Prepared::default() };
        self.prepared.insert(self.last, new);
        let mut body = vec![0];
        body.extend(self.last.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend((parameters as u16).to_le_bytes());
        body.extend([0, 0, 0]);
        Answer::Prepared(body)
    }

    fn execute(&mut self, client: usize, id: u32, mut body: Reader<'_>) -> Answer {
        if self.fails == Fails::Early {
            return Answer::Error(1205);
        }
        let named = self.capabilities.has(Capabilities::QUERY_ATTRIBUTES);
        let prepared = self.prepared.get_mut(&id).expect("it is there");
        if let Some((owner, _)) = prepared.cursor.take() {
            assert_eq!(owner, client, "a stranger's cursor");
        }
        let flags = body.u8().expect("flags");
        assert_eq!(body.u32(), Ok(1));
        let mut count = prepared.parameters;
        if named && (count > 0 || flags & 8 != 0) {
            count = body.lenenc_int().expect("a count") as usize;
        }
        let (mut values, mut attributes) = (Vec::new(), Vec::new());
        let had_long = !prepared.long.is_empty();
        if count > 0 {
            let nulls = body.take(count.div_ceil(8)).expect("nulls");
            let mut types = prepared.types.clone().unwrap_or_default();
            let mut names = vec![Vec::new(); count];
            if body.u8().expect("a flag") == 1 {
                types.clear();
                for name in &mut names {
                    types.push(body.u16().expect("a type").to_le_bytes());
                    if named {
                        *name = body.lenenc_bytes().expect("a name").to_vec();
                    }
                }
                prepared.types = Some(types[..prepared.parameters].to_vec());
            }
            assert_eq!(types.len(), count, "types of other parameters");
            let long = std::mem::take(&mut prepared.long);
            for (n, (kind, name)) in types.into_iter().zip(names).enumerate() {
                let null = nulls[n / 8] >> (n % 8) & 1 == 1;
                let value = match long.get(&(n as u16)) {
                    Some((owner, data)) => {
                        assert_eq!(*owner, client, "a stranger's data");
                        Some(data.clone())
                    }
                    None => (!null).then(|| take_value(&mut body, kind)),
                };
                match n < prepared.parameters {
                    true => values.push((kind, value)),
                    false => attributes.push((name, (kind, value))),
                }
            }
        }
        // Those that know no attributes read no further than the last parameter's value.
        assert!(body.is_empty() || !named, "more values than parameters");
        if !had_long {
            self.remember(client, id, &values);
        }
        let prepared = self.prepared.get_mut(&id).expect("it is there");
        if self.fails == Fails::Late {
            return Answer::Error(1062);
        }
        // MySQL 8.0.33 has no rows then.
        assert!(flags & 1 != 0 || !prepared.opened || had_long, "it was executed with a cursor");
        prepared.opened |= flags & 1 != 0;
        let cursor = flags & 1 != 0 && prepared.text.starts_with(b"select");
        prepared.cursor = cursor.then_some((client, 3));
        Answer::Executed { text: prepared.text.clone(), values, attributes, cursor }
    }

    /// Servers make of a statement what types were once bound: those of strangers must be the same, unless parts of
    /// parameters were sent before the types.
    fn remember(&mut self, client: usize, id: u32, values: &[Value]) {
        let prepared = self.prepared.get_mut(&id).expect("it is there");
        for (n, (bound, _)) in values.iter().enumerate() {
            if *bound == NULL {
                continue;
            }
            for (owner, at, earlier) in &prepared.history {
                let own = *owner == client;
                assert!(*at != n || own || *earlier == kind(*bound), "types of strangers");
            }
            prepared.history.push((client, n, kind(*bound)));
        }
    }
}
