//! A server that answers right when it is asked to, and says anything else, too.

use std::collections::HashMap;

use bytes::{Buf, BytesMut};
use wiremesh_mysql::{
    Command,
    wire::{HEAD, Head, put_packet},
};

use super::hostile::MARKS;

/// Whether these bytes hold that mark.
pub fn holds(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

const STATE_CHANGED: u8 = 0x40;

/// One connection's.
pub struct Server {
    short: bool,
    /// What it has said, and was not taken.
    pub said: BytesMut,
    /// What it has heard, up to whole packets.
    heard: BytesMut,
    /// What was asked last and not answered; of what is prepared, its text.
    asked: Option<(u8, Vec<u8>)>,
    seq: u8,
    /// What is prepared, by its id: the text.
    prepared: HashMap<u32, Vec<u8>>,
    last: u32,
    /// All it has said was what it was asked for, so that ids are its own.
    honest: bool,
}

impl Server {
    pub fn new(short: bool) -> Self {
        Self {
            short,
            said: BytesMut::new(),
            heard: BytesMut::new(),
            asked: None,
            seq: 1,
            prepared: HashMap::new(),
            last: 0,
            honest: true,
        }
    }

    pub fn owes(&self) -> bool {
        self.asked.is_some()
    }

    /// Hears this on behalf of a client, or of none.
    pub fn hears(&mut self, bytes: &[u8], of: Option<usize>) {
        self.heard.extend_from_slice(bytes);
        while let Some(head) = Head::read(&self.heard) {
            if self.heard.len() < head.len + HEAD {
                return;
            }
            self.heard.advance(HEAD);
            let body = self.heard.split_to(head.len);
            for (whose, mark) in MARKS.into_iter().enumerate() {
                assert!(
                    of == Some(whose) || !holds(&body, mark),
                    "a server is told what is another's"
                );
            }
            if let ([code, rest @ ..], 0) = (&body[..], head.seq) {
                self.on_command(*code, rest, of);
            }
            self.seq = head.seq.wrapping_add(1);
        }
    }

    fn on_command(&mut self, code: u8, rest: &[u8], of: Option<usize>) {
        use Command as C;
        let id = rest.first_chunk().map_or(0, |id| u32::from_le_bytes(*id));
        let command = C::of(code);
        match command {
            Some(C::StmtClose) => drop(self.prepared.remove(&id)),
            Some(C::ResetConnection) => self.prepared.clear(),
            // The last one is MariaDB's name for what was prepared last.
            Some(
                C::StmtExecute
                | C::StmtSendLongData
                | C::StmtReset
                | C::StmtFetch
                | C::StmtBulkExecute,
            ) if self.honest && id != u32::MAX => {
                let text = self.prepared.get(&id).expect("it is prepared here");
                let of = of.map(|of| MARKS[1 - of]);
                assert!(!of.is_some_and(|other| holds(text, other)), "it is another's statement");
            }
            _ => {}
        }
        // What has no reply is owed none.
        if !matches!(command, Some(C::StmtClose | C::StmtSendLongData | C::Quit)) {
            self.asked = Some((code, rest.to_vec()));
        }
    }

    /// Bytes that are none of its own.
    pub fn anything(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.honest = false;
        bytes.to_vec()
    }

    /// One packet, whatever was asked; the client whose connection it is has this mark.
    pub fn packet(&mut self, about: u8, mark: &[u8]) -> Vec<u8> {
        self.honest = false;
        let end = |status: u8| match self.short {
            true => vec![0xfe, 0, 0, status, 0, 0, 0],
            false => vec![0xfe, 0, 0, status, 0],
        };
        let body = match about & 15 {
            0 => vec![0, 1, 0, 2, 0, 0, 0],
            1 => vec![0, 1, 7, 3, 0, 1, 0],
            2 => changed(&[&[1, 5, 4], mark].concat()),
            3 => changed(&[&[0, 19, 13], &b"lc_time_names"[..], &[4], mark].concat()),
            4 => changed(b"\x02\x011"),
            5 => changed(b"\x05\x09\x08T_______"),
            6 => error(mark),
            7 => vec![1],
            8 => column(mark),
            9 => [&[4], mark].concat(),
            10 => end(2),
            11 => end(2 | 8),
            12 => end(STATE_CHANGED),
            13 => [&[0, 9, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], mark].concat(),
            14 => [&[0xfb], mark].concat(),
            _ => [&[0, 0], mark].concat(),
        };
        let mut packet = BytesMut::new();
        let seq = if about & 0x80 == 0 { self.seq } else { about >> 4 };
        self.seq = put_packet(&mut packet, seq, &body);
        packet.to_vec()
    }

    /// All that answers what was asked.
    pub fn answer(&mut self, how: u8, mark: &[u8]) -> Vec<u8> {
        let Some((code, text)) = self.asked.take() else { return Vec::new() };
        let mut bodies = match Command::of(code) {
            Some(Command::StmtPrepare) if how & 7 != 7 => {
                self.last += 1;
                let parameters = u8::from(text.contains(&b'?'));
                let mut ok =
                    [&[0][..], &self.last.to_le_bytes(), &[1, 0, parameters, 0, 0, 0, 0]].concat();
                ok.truncate(12);
                self.prepared.insert(self.last, text);
                let mut bodies = vec![ok];
                for _ in 0..=parameters {
                    bodies.push(column(mark));
                    bodies.extend((!self.short).then(|| vec![0xfe, 0, 0, 2, 0]));
                }
                bodies
            }
            Some(Command::Query | Command::StmtExecute) if how & 1 == 1 => {
                self.rows(code, how, mark)
            }
            _ if how & 7 == 2 => vec![error(mark)],
            _ if how & 7 == 4 => vec![changed(b"\x02\x011")],
            _ if how & 7 == 6 => vec![vec![0, 1, 7, 3, 0, 1, 0]],
            _ => vec![vec![0, 0, 0, 2, 0, 0, 0]],
        };
        let mut packets = BytesMut::new();
        for body in bodies.drain(..) {
            self.seq = put_packet(&mut packets, self.seq, &body);
        }
        packets.to_vec()
    }

    /// A column, and a row; a cursor, perhaps.
    fn rows(&self, code: u8, how: u8, mark: &[u8]) -> Vec<Vec<u8>> {
        let status = if how & 2 == 0 { 2 } else { 2 | STATE_CHANGED };
        let end = match self.short {
            true => vec![0xfe, 0, 0, status, 0, 0, 0],
            false => vec![0xfe, 0, 0, status, 0],
        };
        let mut bodies = vec![vec![1], column(mark)];
        // That of the columns.
        bodies.extend((!self.short || how & 2 != 0).then(|| end.clone()));
        if how & 2 == 0 {
            let binary = [&[0, 0, 4], mark].concat();
            let text = [&[4], mark].concat();
            bodies.push(if code == Command::StmtExecute as u8 { binary } else { text });
            bodies.push(end);
        }
        bodies
    }
}

fn changed(changes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(changes.len()).expect("they are few");
    [&[0, 0, 0, 2, STATE_CHANGED, 0, 0, 0, len], changes].concat()
}

fn error(mark: &[u8]) -> Vec<u8> {
    [b"\xff\x28\x04#42000", mark].concat()
}

fn column(name: &[u8]) -> Vec<u8> {
    let len = [u8::try_from(name.len()).expect("it is short")];
    let fixed = b"\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0";
    [b"\x03def\0\0\0", &len[..], name, fixed].concat()
}
