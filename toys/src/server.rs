//! What a server of each toy protocol answers, for tests and examples.

use std::collections::BTreeMap;

use wiremesh::{Frame, Kind, Protocol, Status, correlation::Multiplexed, framing::RawFrame};

use crate::{
    inorder::Line,
    multiplexed::{Message, Mx},
    session::{packet, text},
};

/// An [`Mx`] server: echoes the payload; the method `fail` gets an application error, the service `none` is not found.
pub fn multiplexed(message: &Message) -> Option<Message> {
    let answer = |status, payload: &[u8]| {
        Some(Message::new(Kind::Response, status, Mx.id(message), ["", ""], payload))
    };
    match message.kind() {
        Kind::Request if message.service().as_deref() == Some("none") => {
            answer(Status::NotFound, b"no such service")
        }
        Kind::Request if message.method().as_deref() == Some("fail") => {
            answer(Status::AppError, message.payload())
        }
        Kind::Request => answer(Status::Ok, message.payload()),
        Kind::Heartbeat => Mx.heartbeat_reply(message),
        _ => None,
    }
}

/// A [`Kv`](crate::Kv) server's memory.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Keys and values.
    pub values: BTreeMap<String, String>,
    /// What was logged.
    pub log: Vec<String>,
}

impl Store {
    /// The lines that answer this one.
    pub fn answer(&mut self, line: &Line) -> Vec<Line> {
        let words: Vec<_> = line.words().map(str::to_owned).collect();
        let say = |text: &str| Line::new(Kind::Response, text);
        match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["GET", keys @ ..] => {
                let value = |key: &&str| self.values.get(*key).map_or("-", String::as_str);
                let values = keys.iter().map(value).collect::<Vec<_>>();
                vec![say(&format!("VALUES {}", values.join(" ")))]
            }
            ["SET", key, value] => {
                self.values.insert((*key).to_owned(), (*value).to_owned());
                vec![say("OK")]
            }
            ["SCAN"] => {
                let item = |(key, value): (&String, &String)| say(&format!("ITEM {key} {value}"));
                self.values.iter().map(item).chain([say("END")]).collect()
            }
            ["LOG", text @ ..] => {
                self.log.push(text.join(" "));
                vec![]
            }
            ["PING"] => vec![Line::new(Kind::HeartbeatReply, "PONG")],
            _ => vec![say("ERR bad_request no such command")],
        }
    }
}

/// One connection of a [`Desk`](crate::Desk) server: `BEGIN`, `SET k v`, `GET k`, `ROWS n`, `COMMIT`, `RESET`.
///
/// `SET` outside a transaction is refused. What was set is this connection's own until `RESET`, so a connection that
/// was not reset shows its last client's values to the next one.
#[derive(Clone, Debug)]
pub struct Desk {
    password: String,
    logged_in: bool,
    in_transaction: bool,
    values: BTreeMap<String, String>,
}

impl Desk {
    /// A connection that was just accepted, and the greeting it begins with.
    pub fn accept(password: &str) -> (Self, RawFrame) {
        let desk = Self {
            password: password.to_owned(),
            logged_in: false,
            in_transaction: false,
            values: BTreeMap::new(),
        };
        (desk, packet(b'G', Status::Ok, "desk"))
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// The packets that answer this one; `None` when the connection is to be closed.
    pub fn answer(&mut self, request: &RawFrame) -> Option<Vec<RawFrame>> {
        let text = text(request);
        if request.bytes.first() == Some(&b'X') {
            return None;
        }
        if !self.logged_in {
            self.logged_in = request.bytes.first() == Some(&b'L') && text == self.password;
            let status = if self.logged_in { Status::Ok } else { Status::Unauthenticated };
            return Some(vec![packet(b'I', status, "")]);
        }
        let mut rows = Vec::new();
        let words: Vec<_> = text.split(' ').collect();
        let (status, said) = match words[..] {
            ["BEGIN"] => {
                self.in_transaction = true;
                (Status::Ok, String::new())
            }
            ["COMMIT"] => {
                self.in_transaction = false;
                (Status::Ok, String::new())
            }
            ["RESET"] => {
                self.in_transaction = false;
                self.values.clear();
                (Status::Ok, String::new())
            }
            ["SET", key, value] if self.in_transaction => {
                self.values.insert(key.to_owned(), value.to_owned());
                (Status::Ok, String::new())
            }
            ["GET", key] => (Status::Ok, self.values.get(key).cloned().unwrap_or_default()),
            ["ROWS", count] => {
                let count = count.parse().unwrap_or(0);
                rows.extend((0..count).map(|n: u32| packet(b'R', Status::Ok, &n.to_string())));
                (Status::Ok, String::new())
            }
            _ => (Status::BadRequest, "no such query".to_owned()),
        };
        let code = if self.in_transaction { b'T' } else { b'I' };
        rows.push(packet(code, status, &said));
        Some(rows)
    }
}
