use bytes::BytesMut;
use wiremesh::{
    Failure, Limits, Peer, Reason,
    correlation::{Attachment, Hold, Ready, SessionMachine},
};

use super::*;
use crate::{identity::Identity, reply::ErrPacket, wire::put_packet};

mod answers;
mod attributes;
mod holds;
mod hostile;
mod numbers;
mod past;
mod reads;
mod replays;
mod statements;
mod tracking;
mod untold;

const AGREED: Capabilities = Capabilities(
    Capabilities::PROTOCOL_41.0 | Capabilities::SESSION_TRACK.0 | Capabilities::DEPRECATE_EOF.0,
);

const CHANGED: &[u8] = b"\x02\x011";
const IN_SHOP: &[u8] = b"\x01\x05\x04shop\x02\x011";

/// A client in a schema, with a machine that follows it.
pub(super) struct Talk {
    pub mysql: Mysql,
    pub machine: Pooled,
}

impl Talk {
    pub fn new(schema: &[u8]) -> Self {
        let mut state = State::set_up(b"");
        state.set_schema(schema);
        Self::with(AGREED, state)
    }

    /// With a client that knows this, in this state.
    pub fn with(agreed: Capabilities, state: State) -> Self {
        let session = Session::new(Arc::default(), agreed, state, Collations::Mysql8);
        let machine = Pooled::begin(Follows::Client, Lane::new(0, agreed), session);
        Self { mysql: Mysql::default(), machine }
    }

    /// The client sends this command.
    pub fn says(&mut self, command: Command, body: &[u8]) -> (Attachment, MysqlFrame) {
        let mut input = command_of(command, body);
        let (limits, mysql) = (Limits::default(), &self.mysql);
        let taken = self.machine.take(mysql, Peer::Client, &mut (), &limits, &mut input);
        let frame = taken.expect("it is right").expect("it is whole");
        assert!(input.is_empty());
        (self.machine.on_request(mysql, &frame), frame)
    }

    /// The client's session is to be reset, which is answered; by the server first, where it has to be.
    fn resets(&mut self) -> Attachment {
        let (attachment, mut frame) = self.says(Command::ResetConnection, b"");
        let answer = if attachment == Attachment::Upstream {
            let (command, _) = self.first(&mut frame).expect("the server is asked");
            assert_eq!(command, Command::ResetConnection);
            let Hold::Answer(setup) = self.hears(&ok(0, 0, b"")) else { panic!("no setup") };
            assert_eq!(command_in(&setup).0, Command::Query);
            assert!(matches!(self.hears(&ok(0, 0, b"")), Hold::Prepared));
            match self.machine.prepare(&self.mysql, &mut frame) {
                Ready::Answer(answer) => answer,
                _ => panic!("it goes on"),
            }
        } else {
            self.machine.answer()
        };
        assert_eq!(answer.expect("an OK").bytes()[4], 0);
        self.machine.on_failed(&self.mysql);
        attachment
    }

    /// The client is lent a connection that is as new.
    pub fn lend(&mut self, bare: bool) {
        self.machine.attach(Place::new(AGREED, b"8.0.33", 7, true, bare));
    }

    /// What goes first: command and text.
    pub fn first(&mut self, request: &mut MysqlFrame) -> Option<(Command, String)> {
        match self.machine.prepare(&self.mysql, request) {
            Ready::Send => None,
            Ready::First(frame) => Some(command_in(&frame)),
            Ready::Answer(_) | Ready::Elsewhere => panic!("an answer"),
        }
    }

    /// The server answers by this packet.
    pub fn hears(&mut self, body: &[u8]) -> Hold<Mysql> {
        let mut input = BytesMut::new();
        put_packet(&mut input, 1, body);
        let (limits, mysql) = (Limits::default(), &self.mysql);
        let taken = self.machine.take(mysql, Peer::Upstream, &mut (), &limits, &mut input);
        let frame = taken.expect("it is right").expect("it is whole");
        assert!(input.is_empty());
        self.machine.on_reply(mysql, &frame)
    }

    /// A query on the connection that it has or, as new, is lent; answered so.
    pub fn asks(&mut self, text: &str, answer: &[u8]) -> Hold<Mysql> {
        let (attachment, mut frame) = self.says(Command::Query, text.as_bytes());
        assert_eq!(attachment, Attachment::Upstream, "{text}");
        if self.machine.lent.place.is_none() {
            self.lend(self.machine.session.state().schema().is_empty());
        }
        while let Some((command, text)) = self.first(&mut frame) {
            assert!(matches!(self.hears(&ok(0, 0, b"")), Hold::Prepared), "{command:?} {text}");
        }
        self.hears(answer)
    }

    /// The number of the error that the proxy itself answers by.
    fn told(&mut self) -> u16 {
        let answer = self.machine.answer().expect("there is an answer");
        ErrPacket::parse(&answer.bytes()[4..]).expect("it is an error").number
    }
}

/// A client that was let in, shown this version, with this collation.
pub(super) fn let_in(version: &str, collation: u16) -> Talk {
    let server = Collations::of(version.as_bytes());
    let user = Identity { collation, ..Identity::default() };
    let state = State::begun(b"", &server.at_login(collation));
    let session = Session::new(Arc::new(user), AGREED, state, server);
    let machine = Pooled::begin(Follows::Client, Lane::default(), session);
    Talk { mysql: Mysql::default(), machine }
}

fn command_of(command: Command, body: &[u8]) -> BytesMut {
    let mut packet = BytesMut::new();
    put_packet(&mut packet, 0, &[&[command as u8], body].concat());
    packet
}

fn command_in(frame: &MysqlFrame) -> (Command, String) {
    let command = Command::of(frame.bytes()[4]).expect("it is known");
    (command, String::from_utf8_lossy(&frame.bytes()[5..]).into_owned())
}

/// An OK with this id, these warnings, and these changes.
pub(super) fn ok(id: u8, warnings: u8, changes: &[u8]) -> Vec<u8> {
    let status = if changes.is_empty() { 2 } else { 2 | StatusFlags::STATE_CHANGED.0 };
    let [low, high] = status.to_le_bytes();
    let mut body = vec![0, 0, id, low, high, warnings, 0];
    if !changes.is_empty() {
        body.extend([0, u8::try_from(changes.len()).expect("they are few")]);
        body.extend(changes);
    }
    body
}

fn error(number: u16) -> Vec<u8> {
    [&[0xff][..], &number.to_le_bytes(), b"#42000no"].concat()
}

fn reset_in(hold: Hold<Mysql>) -> Option<Command> {
    match hold {
        Hold::Release { reset } => reset.map(|frame| command_in(&frame).0),
        _ => panic!("it is not released"),
    }
}
