//! A client that knows what it means, and connections that it is lent.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;
use wiremesh_mysql::{
    Capabilities, StatusFlags,
    pooled::statements::{
        Need, Plan, PrepareReply, Prepared, PreparedLimits, Setting, StatementLimits, Statements,
    },
    wire::put_packet,
};

use super::server::{Answer, Fails, Server, Value, put_value};

pub const ATTRIBUTES: Capabilities = Capabilities::QUERY_ATTRIBUTES;

/// An upstream connection.
pub struct Place {
    pub server: Server,
    pub prepared: Prepared,
}

impl Place {
    pub fn new(capabilities: Capabilities, first: u32, limit: usize) -> Self {
        let limits = PreparedLimits { statements: limit, bytes: 10_000 };
        let prepared = Prepared::new(capabilities, limits);
        Self { server: Server::new(capabilities, first), prepared }
    }
}

/// What the client knows of a statement.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub text: Vec<u8>,
    pub schema: Vec<u8>,
    pub types: Option<Vec<[u8; 2]>>,
    pub long: HashMap<u16, Vec<u8>>,
    /// Long data went with a connection.
    pub lost: bool,
    pub cursor: u32,
}

pub struct Client {
    pub number: usize,
    pub named: bool,
    pub schema: Vec<u8>,
    pub statements: Statements,
    pub known: HashMap<u32, Known>,
    pub held: Option<usize>,
}

pub fn packet(body: &[u8]) -> BytesMut {
    let mut packet = BytesMut::new();
    put_packet(&mut packet, 0, body);
    packet
}

/// A command about a statement.
pub fn command(code: u8, id: u32, rest: &[u8]) -> BytesMut {
    packet(&[&[code][..], &id.to_le_bytes(), rest].concat())
}

/// What stands behind an execution's id. Values of `None` are NULL; those in `long` are not there.
pub fn execution(
    named: bool,
    cursor: bool,
    values: &[Value],
    long: &HashMap<u16, Vec<u8>>,
    attributes: &[(Vec<u8>, Value)],
    says: bool,
) -> Vec<u8> {
    let all: Vec<_> = values.iter().chain(attributes.iter().map(|(_, value)| value)).collect();
    let mut out = vec![u8::from(cursor) | if named { 8 } else { 0 }, 1, 0, 0, 0];
    if named {
        out.push(all.len() as u8);
    }
    if all.is_empty() {
        return out;
    }
    let mut nulls = vec![0; all.len().div_ceil(8)];
    for (n, (_, value)) in all.iter().enumerate() {
        nulls[n / 8] |= u8::from(value.is_none()) << (n % 8);
    }
    out.extend(nulls);
    out.push(says.into());
    if says {
        for (n, (kind, _)) in all.iter().enumerate() {
            out.extend(kind);
            if named {
                let name = n.checked_sub(values.len()).map_or(&b""[..], |n| &attributes[n].0);
                put_value(&mut out, super::server::STRING, name);
            }
        }
    }
    for (n, (kind, value)) in all.iter().enumerate() {
        if let Some(value) = value
            && !long.contains_key(&(n as u16))
        {
            put_value(&mut out, *kind, value);
        }
    }
    out
}

impl Client {
    pub fn new(number: usize, named: bool, limits: StatementLimits) -> Self {
        let capabilities = if named { ATTRIBUTES } else { Capabilities(0) };
        Self {
            number,
            named,
            schema: b"shop".to_vec(),
            statements: Statements::new(capabilities, limits),
            known: HashMap::new(),
            held: None,
        }
    }

    /// Has a command done on the connection that is held, or on the one of this number. It is cut at `first` bytes.
    pub fn ask(&mut self, places: &mut [Place], lent: usize, all: &[u8], first: usize) -> Answer {
        let schema = self.schema.clone();
        let setting = Setting { schema: &schema, fingerprint: 7 };
        let mut len = first.min(all.len());
        while len < self.statements.wanted(&all[..len]).min(all.len()) {
            len = self.statements.wanted(&all[..len]).min(all.len());
        }
        let (mut frame, rest) = (BytesMut::from(&all[..len]), &all[len..]);
        let held = self.held.map(|at| &places[at].prepared);
        match self.statements.on_request(&frame, &setting, || Arc::from(&b"digest"[..]), held) {
            Need::Upstream => {}
            Need::Refuse(problem) => return Answer::Error(problem.number),
            Need::Done => return Answer::Ok,
            Need::Drop => return Answer::Nothing,
        }
        let at = self.held.unwrap_or(lent);
        let place = &mut places[at];
        let before = frame.clone();
        loop {
            match self.statements.plan(&mut frame, &setting, &mut place.prepared) {
                Plan::Send => break,
                Plan::Refuse(problem) => {
                    assert_eq!(frame, before);
                    return Answer::Error(problem.number);
                }
                Plan::Drop => return Answer::Nothing,
                Plan::First(packets) => {
                    let mut answers = place.server.serve(self.number, &packets);
                    let Some(Answer::Prepared(mut body)) = answers.pop() else {
                        panic!("no reply");
                    };
                    assert!(answers.iter().all(|answer| *answer == Answer::Nothing));
                    match self.statements.on_prepare_reply(&mut body, &mut place.prepared) {
                        PrepareReply::Again => {}
                        PrepareReply::Refuse(problem) => return Answer::Error(problem.number),
                        PrepareReply::Drop => return Answer::Nothing,
                        PrepareReply::Pass => panic!("it is not the client's"),
                    }
                }
            }
        }
        for piece in rest.chunks(first.max(1)) {
            let mut piece = BytesMut::from(piece);
            self.statements.on_rest(&mut piece);
            frame.unsplit(piece);
        }
        let mut answers = place.server.serve(self.number, &frame);
        let mut answer = answers.pop().expect("an answer");
        assert!(answers.iter().all(|answer| *answer == Answer::Nothing));
        let status = |flag: StatusFlags, set: bool| if set { flag } else { StatusFlags(2) };
        let reply = match &mut answer {
            Answer::Prepared(body) => {
                let reply = self.statements.on_prepare_reply(body, &mut place.prepared);
                assert_eq!(reply, PrepareReply::Pass);
                None
            }
            Answer::Nothing => None,
            Answer::Executed { cursor, .. } => {
                Some((false, status(StatusFlags::CURSOR_EXISTS, *cursor)))
            }
            Answer::Rows { last, .. } => Some((false, status(StatusFlags::LAST_ROW_SENT, *last))),
            Answer::Ok => Some((false, StatusFlags(2))),
            Answer::Error(_) => Some((true, StatusFlags(0))),
        };
        if let Some((error, status)) = reply {
            self.statements.on_reply(error, status, &mut place.prepared);
        }
        self.held = place.prepared.holds().then_some(at);
        answer
    }

    /// Prepares a text. Answers the client's id.
    pub fn prepare(&mut self, places: &mut [Place], lent: usize, text: &[u8]) -> Result<u32, u16> {
        let all = packet(&[b"\x16", text].concat());
        match self.ask(places, lent, &all, 5) {
            Answer::Prepared(body) if body[0] == 0 => {
                let id = u32::from_le_bytes(body[1..5].try_into().expect("four bytes"));
                let (text, schema) = (text.to_vec(), self.schema.clone());
                let known = Known { text, schema, ..Known::default() };
                assert!(self.known.insert(id, known).is_none(), "{id} is given out twice");
                Ok(id)
            }
            Answer::Prepared(body) => Err(u16::from_le_bytes([body[1], body[2]])),
            Answer::Error(number) => Err(number),
            other => panic!("{other:?}"),
        }
    }

    /// Executes one, and sees to it that the server reads what is meant. Answers an error's number.
    #[allow(clippy::too_many_arguments)]
    pub fn execute(
        &mut self,
        places: &mut [Place],
        lent: usize,
        id: u32,
        mut values: Vec<Value>,
        attributes: &[(Vec<u8>, Value)],
        (cursor, says, fails): (bool, bool, Fails),
        first: usize,
    ) -> Option<u16> {
        let mut known = self.known.get(&id).cloned().unwrap_or_default();
        if let Some(types) = &known.types
            && !says
        {
            for (value, kind) in values.iter_mut().zip(types) {
                let len = super::server::width(*kind);
                *value = match value.1.take() {
                    Some(mut bytes) if *kind != super::server::NULL => {
                        if *kind != super::server::STRING {
                            bytes.resize(len, 1);
                        }
                        (*kind, Some(bytes))
                    }
                    _ => (*kind, None),
                };
            }
        }
        for n in known.long.keys() {
            values[usize::from(*n)].1 = Some(Vec::new());
        }
        let rest = execution(self.named, cursor, &values, &known.long, attributes, says);
        let at = self.held.unwrap_or(lent);
        places[at].server.fails = fails;
        let answer = self.ask(places, lent, &command(0x17, id, &rest), first);
        places[at].server.fails = Fails::No;
        for (n, data) in &known.long {
            values[usize::from(*n)].1 = Some(data.clone());
        }
        let refused = match &answer {
            Answer::Executed { text, values: read, attributes: named, cursor: opened } => {
                assert_eq!((text, read), (&known.text, &values));
                let takes = places[at].server.capabilities.has(ATTRIBUTES);
                assert_eq!(&named[..], if takes { attributes } else { &[] });
                assert!(!known.lost);
                known.cursor = if *opened { 3 } else { 0 };
                None
            }
            Answer::Error(number) => {
                if matches!(number, 1205 | 1062 | 1105) {
                    (known.cursor, known.lost) = (0, false);
                }
                Some(*number)
            }
            other => panic!("{other:?}"),
        };
        if says && !values.is_empty() && self.known.contains_key(&id) {
            known.types = Some(values.iter().map(|(kind, _)| *kind).collect());
        }
        if matches!(refused, None | Some(1205 | 1062 | 1105)) {
            known.long.clear();
        }
        if self.known.contains_key(&id) {
            self.known.insert(id, known);
        }
        refused
    }
}
