//! Clients of the pooled mode, and the servers whose connections they are lent, say anything at any time.

#![allow(dead_code)] // the fuzzer has no use for what is counted

use std::mem;

use bytes::BytesMut;
use wiremesh::{
    Limits, Peer,
    correlation::{Attachment, Cancelled, Hold, Ready, SessionMachine, Sessioned},
};
use wiremesh_mysql::{
    Capabilities, Command, Mode, Mysql, MysqlFrame, What,
    pooled::{Lane, Place},
};

use super::{
    client::{Client, Connection, accounts, command},
    server::{Server, holds},
};

/// What is in all that one of the clients says, and in all that a server says to it: nobody else is to hear it. Settings may
/// have such a value and are made anew elsewhere.
pub const MARKS: [&[u8]; 2] = [b"=wa=", b"=wb="];

/// What is waited for of a command: 1 MiB; and of a server's packet: 64 KiB. And their heads.
const UNTAKEN: [usize; 2] = [(1 << 20) + 16, (64 << 10) + 16];

/// What is said besides what the input holds is not more, in bytes.
const FILLING: usize = 3 << 20;

/// Nothing panics, little is waited for, nothing is taken for a reply that nobody has asked for, no connection is released with
/// a pin, and nobody hears what is another's: of data, of what is prepared, of what is done on a connection.
pub fn survive(data: &[u8]) {
    if let Some(([how, flags], steps)) = data.split_first_chunk() {
        let mut mesh = Mesh::new(*how, *flags);
        mesh.play(steps);
        mesh.end();
    }
}

/// Two clients, and their proxy.
pub struct Mesh {
    mysql: Mysql,
    limits: Limits,
    /// What the clients want of what there is.
    wanted: Capabilities,
    /// What servers have.
    agreed: Capabilities,
    version: &'static [u8],
    /// They tell of what changes.
    tells: bool,
    clients: [Client; 2],
    idle: Vec<Connection>,
    filled: usize,
    /// How often something prepared was executed, how many connections there were, and how many resets.
    pub executed: usize,
    pub connections: usize,
    pub resets: usize,
}

impl Mesh {
    pub fn new(how: u8, flags: u8) -> Self {
        let has = |bit: u8, flag: Capabilities| {
            if flags & 1 << bit != 0 { flag } else { Capabilities(0) }
        };
        let common = Capabilities::PROTOCOL_41
            | Capabilities::SECURE_CONNECTION
            | Capabilities::PLUGIN_AUTH
            | Capabilities::TRANSACTIONS
            | Capabilities::MULTI_RESULTS
            | Capabilities::LOCAL_FILES;
        let wanted = common
            | has(0, Capabilities::DEPRECATE_EOF)
            | has(1, Capabilities::SESSION_TRACK)
            | has(2, Capabilities::MULTI_STATEMENTS)
            | has(3, Capabilities::QUERY_ATTRIBUTES);
        let agreed = common
            | Capabilities::SESSION_TRACK
            | has(2, Capabilities::MULTI_STATEMENTS)
            | has(3, Capabilities::QUERY_ATTRIBUTES)
            | has(4, Capabilities::DEPRECATE_EOF);
        let mysql = Mysql { mode: Mode::Pooled, accounts: accounts(), ..Mysql::default() };
        let clients = [0, 1].map(|_| Client::new(&mysql, wanted));
        Self {
            mysql,
            limits: Limits::default(),
            wanted,
            agreed,
            version: if how & 1 == 0 { b"8.0.33" } else { b"11.4.5-MariaDB" },
            tells: how & 6 != 6,
            clients,
            idle: Vec::new(),
            filled: 0,
            executed: 0,
            connections: 0,
            resets: 0,
        }
    }

    /// Each step is what is done, by whom and in which pieces; and a byte about it.
    pub fn play(&mut self, mut steps: &[u8]) {
        while let [step, about, rest @ ..] = steps {
            let (who, piece) = (usize::from(step >> 3 & 1), usize::from(step >> 4));
            steps = rest;
            let mut raw = |len: u8| {
                let (raw, rest) = steps.split_at(steps.len().min(usize::from(len)));
                steps = rest;
                // No mark comes about by accident.
                raw.iter().map(|byte| if *byte == b'=' { b'-' } else { *byte }).collect::<Vec<_>>()
            };
            match step & 7 {
                0 => self.says(who, &command(*about, MARKS[who], self.wanted), piece),
                1 => {
                    self.says(who, &command(*about, MARKS[who], self.wanted), piece);
                    self.answers(who, 0, 0);
                }
                2 => self.answers(who, *about, piece),
                3 => self.serves(who, |server| server.packet(*about, MARKS[who]), piece),
                4 => self.says(who, &raw(*about), piece),
                5 => {
                    let raw = raw(*about);
                    self.serves(who, |server| server.anything(&raw), piece);
                }
                6 => self.fills(who, *about),
                _ if about & 1 == 0 => self.lets_go(who),
                _ => self.leaves(who),
            }
        }
    }

    /// Both leave, and what they were told is looked at.
    pub fn end(&mut self) {
        (0..2).for_each(|who| self.leaves(who));
    }

    fn says(&mut self, who: usize, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(if piece == 0 { usize::MAX } else { piece }) {
            self.clients[who].input.extend_from_slice(piece);
            self.take(who);
        }
    }

    /// The server whose connection it is says something.
    fn serves(&mut self, who: usize, say: impl FnOnce(&mut Server) -> Vec<u8>, piece: usize) {
        let Some(connection) = &mut self.clients[who].connection else { return };
        let bytes = say(&mut connection.server);
        for piece in bytes.chunks(if piece == 0 { usize::MAX } else { piece }) {
            // It may be closed meanwhile.
            let Some(connection) = &mut self.clients[who].connection else { return };
            connection.server.said.extend_from_slice(piece);
            self.take(who);
        }
    }

    /// It answers as it should, what goes before the request included.
    fn answers(&mut self, who: usize, how: u8, piece: usize) {
        for _ in 0..8 {
            let asked = |it: &Connection| it.server.owes();
            if !self.clients[who].connection.as_ref().is_some_and(asked) {
                return;
            }
            self.serves(who, |server| server.answer(how, MARKS[who]), piece);
        }
    }

    /// Much is said, which means nothing.
    fn fills(&mut self, who: usize, about: u8) {
        let len = usize::from(about >> 1) << 12;
        if self.filled + len > FILLING {
            return;
        }
        self.filled += len;
        let bytes = vec![b'x'; len];
        match about & 1 {
            0 => self.says(who, &bytes, 0),
            _ => self.serves(who, |server| server.anything(&bytes), 0),
        }
    }

    fn take(&mut self, who: usize) {
        loop {
            let before = (self.clients[who].input.len(), self.unread(who));
            self.take_client(who);
            self.take_server(who);
            if before == (self.clients[who].input.len(), self.unread(who)) {
                return;
            }
        }
    }

    fn unread(&self, who: usize) -> usize {
        self.clients[who].connection.as_ref().map_or(0, |connection| connection.server.said.len())
    }

    fn take_client(&mut self, who: usize) {
        loop {
            let client = &mut self.clients[who];
            if client.busy && (client.request.is_some() || !client.machine.is_open()) {
                return;
            }
            let before = client.input.len();
            let (machine, input) = (&mut client.machine, &mut client.input);
            match machine.take(&self.mysql, Peer::Client, &mut (), &self.limits, input) {
                Ok(Some(frame)) => {
                    assert!(!frame.bytes().is_empty());
                    assert_eq!(input.len() + frame.bytes().len(), before);
                    self.on_request(who, frame);
                }
                Ok(None) => {
                    assert!(input.len() == before && before <= UNTAKEN[0], "{before} are kept");
                    return;
                }
                Err(_) => return self.ends(who),
            }
        }
    }

    fn on_request(&mut self, who: usize, frame: MysqlFrame) {
        let client = &mut self.clients[who];
        let attachment = client.machine.on_request(&self.mysql, &frame);
        match attachment {
            Attachment::Upstream | Attachment::UpstreamNoReply if client.busy => self.ends(who),
            Attachment::Upstream | Attachment::UpstreamNoReply => {
                client.busy = true;
                client.refused = false;
                let _ = client.machine.access(&self.mysql, &frame);
                if client.connection.is_none() {
                    self.lend(who);
                }
                self.clients[who].request = Some(frame);
                self.send(who, attachment == Attachment::Upstream);
            }
            Attachment::Continue if client.refused => {}
            Attachment::Continue => match &mut client.connection {
                Some(connection) => connection.server.hears(frame.bytes(), Some(who)),
                None => self.ends(who),
            },
            Attachment::Answered | Attachment::Reset | Attachment::Refused => {
                self.tell(who, None);
                match attachment {
                    Attachment::Reset => self.lets_go(who),
                    Attachment::Refused => return self.ends(who),
                    _ => {}
                }
                let client = &mut self.clients[who];
                client.refused = client.machine.is_open();
            }
            Attachment::Cancel(cancel) => {
                let told = client.machine.cancelled(&cancel, Cancelled::Unknown);
                self.tell(who, told);
            }
            Attachment::StartTls | Attachment::Quit => self.leaves(who),
        }
    }

    /// The client is told this, or what its machine has for it.
    fn tell(&mut self, who: usize, frame: Option<MysqlFrame>) {
        let client = &mut self.clients[who];
        if let Some(frame) = frame.or_else(|| client.machine.answer()) {
            client.told.extend_from_slice(frame.bytes());
        }
    }

    /// A connection for its lane: one that served the other, where there is one.
    fn lend(&mut self, who: usize) {
        let lane = self.clients[who].machine.lane();
        let there = self.idle.iter().position(|connection| connection.lane == lane);
        let mut connection = match there {
            Some(at) => self.idle.swap_remove(at),
            None => {
                self.connections += 1;
                let bare = !Lane(lane).has_schema();
                let place = Place::new(self.agreed, self.version, 7, self.tells, bare);
                let server = Server::new(self.agreed.has(Capabilities::DEPRECATE_EOF));
                Connection { lane, place, server }
            }
        };
        let client = &mut self.clients[who];
        client.machine.attach(mem::take(&mut connection.place));
        client.connection = Some(connection);
    }

    /// Sends the request, or what goes first.
    fn send(&mut self, who: usize, is_answered: bool) {
        let client = &mut self.clients[who];
        let (Some(mut frame), Some(connection)) = (client.request.take(), &mut client.connection)
        else {
            return;
        };
        match client.machine.prepare(&self.mysql, &mut frame) {
            Ready::Send => {
                let executes = frame.what() == What::Command(Some(Command::StmtExecute));
                self.executed += usize::from(executes);
                connection.server.hears(frame.bytes(), Some(who));
                client.busy = is_answered;
                client.held |= !is_answered;
            }
            Ready::First(first) => {
                connection.server.hears(first.bytes(), Some(who));
                client.request = Some(frame);
            }
            Ready::Answer(answer) => {
                client.busy = false;
                client.machine.on_failed(&self.mysql);
                if let Some(answer) = answer {
                    client.told.extend_from_slice(answer.bytes());
                }
                self.lets_go(who);
                let client = &mut self.clients[who];
                client.refused = client.machine.is_open();
            }
            Ready::Elsewhere => self.ends(who),
        }
    }

    fn take_server(&mut self, who: usize) {
        loop {
            let client = &mut self.clients[who];
            let Some(connection) = &mut client.connection else { return };
            let said = &mut connection.server.said;
            if said.is_empty() {
                return;
            }
            let before = said.len();
            let machine = &mut client.machine;
            match machine.take(&self.mysql, Peer::Upstream, &mut (), &self.limits, said) {
                Ok(Some(frame)) => {
                    assert!(client.busy, "nobody has asked for {frame:?}");
                    let prepares = client.request.is_some();
                    let hold = client.machine.on_reply(&self.mysql, &frame);
                    if !prepares && !matches!(hold, Hold::Answer(_)) {
                        client.told.extend_from_slice(frame.bytes());
                    }
                    self.keep(who, hold);
                }
                Ok(None) => {
                    assert!(before <= UNTAKEN[1], "{before} are kept");
                    return;
                }
                Err(_) => return self.loses(who),
            }
        }
    }

    fn keep(&mut self, who: usize, hold: Hold<Mysql>) {
        let client = &mut self.clients[who];
        match hold {
            Hold::Pending => return,
            Hold::Prepared => return self.send(who, true),
            Hold::Answer(answer) => {
                let connection = client.connection.as_mut().expect("it has just said something");
                return connection.server.hears(answer.bytes(), Some(who));
            }
            Hold::Held => client.held = true,
            Hold::Linger => client.held = false,
            Hold::Release { reset } => {
                assert!(reset.is_some() || client.machine.pin().is_none());
                self.release(who, reset);
            }
            Hold::Close => self.close(who),
        }
        let client = &mut self.clients[who];
        client.busy = false;
        // Its answer is there, and it was not sent.
        if client.request.is_some() {
            self.ends(who);
        }
    }

    /// The connection goes on to others, if it can be made as good as new.
    fn release(&mut self, who: usize, reset: Option<MysqlFrame>) {
        let client = &mut self.clients[who];
        client.held = false;
        let Some(mut connection) = client.connection.take() else { return };
        connection.place = client.machine.detach();
        // What nobody has asked for ends a connection.
        if !connection.server.said.is_empty() {
            return;
        }
        let Some(reset) = reset else { return self.idle.push(connection) };
        let mut machine = self.mysql.machine();
        machine.attach(mem::take(&mut connection.place));
        machine.on_request(&self.mysql, &reset);
        connection.server.hears(reset.bytes(), None);
        loop {
            let mut said = BytesMut::from(&connection.server.answer(0, b"")[..]);
            let taken = machine.take(&self.mysql, Peer::Upstream, &mut (), &self.limits, &mut said);
            let Ok(Some(frame)) = taken else { return };
            match machine.on_reply(&self.mysql, &frame) {
                Hold::Pending => {}
                Hold::Answer(next) => connection.server.hears(next.bytes(), None),
                Hold::Release { reset: None } if said.is_empty() => {
                    connection.place = machine.detach();
                    self.resets += 1;
                    return self.idle.push(connection);
                }
                _ => return,
            }
        }
    }

    fn close(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.held = false;
        if client.connection.take().is_some() {
            client.machine.detach();
        }
    }

    /// A connection ends. Who had something on it, or is saying something, ends with it.
    fn loses(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if client.held || client.machine.is_open() {
            return self.ends(who);
        }
        if mem::take(&mut client.busy) {
            client.machine.on_failed(&self.mysql);
        }
        client.request = None;
        self.close(who);
    }

    fn lets_go(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if client.busy || client.connection.is_none() || client.machine.is_open() {
            return;
        }
        match client.machine.let_go(&self.mysql) {
            Hold::Linger => {}
            hold => self.keep(who, hold),
        }
    }

    fn leaves(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if !client.busy
            && client.connection.is_some()
            && !client.machine.is_open()
            && let Hold::Release { reset } = client.machine.leave(&self.mysql)
        {
            self.release(who, reset);
        }
        self.ends(who);
    }

    /// Its session is over, and another of the same client's begins.
    fn ends(&mut self, who: usize) {
        self.close(who);
        let next = Client::new(&self.mysql, self.wanted);
        let client = mem::replace(&mut self.clients[who], next);
        assert!(!holds(&client.told, MARKS[1 - who]), "a client was told what is another's");
    }
}
