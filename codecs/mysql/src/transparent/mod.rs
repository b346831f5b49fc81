//! A client that has an upstream connection for itself: the two speak with each other, and this follows what they say.
//!
//! Every byte passes as it came. Packets' heads are looked at, the handshake's packets, the beginnings of commands, and of
//! replies what tells where they end.

mod client;
mod packed;
mod tls;
mod upstream;

use std::sync::Arc;

use bytes::BytesMut;
use wiremesh::{
    DecodeError, Failure, Limits, Peer, Reason, Wanted,
    correlation::{Attachment, Hold, Legs, SessionMachine},
};

use self::{packed::Layer, tls::Tls};
use crate::{
    Capabilities, Command, Mysql, MysqlFrame, StatusFlags,
    error::Refusal,
    frame::{Known, What},
    identity::Identity,
    protocol::refused,
    reply::{Shape, Tracker},
    statement::Prepared,
    wire::Scanner,
};

/// Follows one client and its upstream.
#[derive(Debug, Default)]
pub struct Transparent {
    stage: Stage,
    /// What the server offered in its greeting.
    offered: Capabilities,
    /// What holds since the login.
    capabilities: Capabilities,
    /// The session's status, as the server said last.
    status: StatusFlags,
    identity: Arc<Identity>,
    tracker: Tracker,
    /// What the client has begun to send and not ended.
    sending: Sending,
    /// The client's packets, while it is sending something.
    client: Scanner,
    /// How many files the reply in progress has asked for.
    files: u32,
    /// The client has spoken since the upstream last did, in an exchange.
    client_spoke: bool,
    change: Change,
    tls: Tls,
    prepared: Prepared,
    /// Where packets are within compressed frames.
    layer: Option<Box<Layer>>,
    /// A reply is due or has not been passed on to its end.
    asks: bool,
    /// A compressed session cannot be followed any more.
    lost: bool,
    wanted: Wanted,
}

/// How far the session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The server is to greet.
    #[default]
    Greeting,
    /// The client is to log in.
    Login,
    /// It has.
    Commands,
    /// What they say is none of ours any more.
    Relay,
    /// There is nothing more to say.
    Over,
}

/// What the client has begun to send and not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sending {
    #[default]
    Nothing,
    /// A command.
    Command,
    /// A file.
    File,
}

/// What is different once the request in progress was done.
#[derive(Clone, Debug, Default)]
enum Change {
    #[default]
    Nothing,
    /// Its schema.
    Schema(Arc<Identity>),
    /// Who the client is; statements that were prepared are not any more.
    Identity(Arc<Identity>),
    /// There is another statement, with this digest, if it has one.
    Prepared(Option<Known>),
    /// The session is as after the login.
    Reset,
}

impl SessionMachine<Mysql> for Transparent {
    fn on_request(&mut self, _: &Mysql, request: &MysqlFrame) -> Attachment {
        match request.what {
            What::SslRequest if self.tls.begin() => Attachment::StartTls,
            What::SslRequest => {
                self.stage = Stage::Relay;
                Attachment::UpstreamNoReply
            }
            What::Login => {
                let seq = request.reply_seq.map(|seq| self.tls.to_upstream(seq));
                self.begin(Shape::Login, seq);
                Attachment::Upstream
            }
            What::Command(Some(Command::Quit)) => Attachment::Quit,
            What::Command(command) => match Shape::of(command) {
                Shape::None => {
                    if self.lost {
                        self.stage = Stage::Relay;
                    }
                    Attachment::UpstreamNoReply
                }
                Shape::Relay => {
                    self.stage = Stage::Relay;
                    Attachment::UpstreamNoReply
                }
                shape => {
                    self.begin(shape, request.reply_seq);
                    Attachment::Upstream
                }
            },
            What::Rest | What::Greeting | What::Reply { .. } | What::Key | What::Notice => {
                Attachment::Continue
            }
        }
    }

    fn on_reply(&mut self, _: &Mysql, reply: &MysqlFrame) -> Hold<Mysql> {
        match reply.what {
            What::Key => self.tls.answer().map_or(Hold::Close, Hold::Answer),
            What::Reply { last: true } if self.stage == Stage::Over => Hold::Close,
            What::Reply { last: true } if self.status.has(StatusFlags::IN_TRANS) => Hold::Held,
            What::Reply { last: true } => Hold::Release { reset: None },
            What::Notice => Hold::Close,
            _ => Hold::Pending,
        }
    }

    fn take(
        &mut self,
        _: &Mysql,
        from: Peer,
        (): &mut (),
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<MysqlFrame>, DecodeError> {
        if input.is_empty() {
            return Ok(None);
        }
        match from {
            Peer::Client => self.take_client(limits, input),
            Peer::Upstream => self.take_upstream(limits, input),
        }
    }

    fn secure(&mut self, legs: Legs) {
        self.tls = Tls::new(legs);
    }

    fn watch(&mut self, wanted: Wanted) -> bool {
        let blind = self.stage == Stage::Relay || self.lost;
        let can = !blind || !wanted.all || self.wanted.all;
        if !wanted.digests {
            self.prepared.clear();
        }
        self.wanted = wanted;
        self.tls.forbid_end_to_end(wanted.all);
        can
    }

    fn start_tls(&mut self, _: &Mysql, request: &MysqlFrame) -> Option<MysqlFrame> {
        let login = Some(request).filter(|request| request.what == What::Login)?;
        Some(MysqlFrame::new(What::SslRequest, self.tls.request(&login.bytes)?))
    }

    fn is_open(&self) -> bool {
        self.stage == Stage::Relay || self.sending != Sending::Nothing || self.tracker.is_login()
    }

    fn on_failed(&mut self, _: &Mysql) {
        self.tracker.abandon();
        self.asks = false;
        self.change = Change::Nothing;
        if self.stage == Stage::Login {
            // As where a server refuses it, there is no second try.
            self.stage = Stage::Over;
        }
    }

    fn farewell(&mut self, _: &Mysql, failure: &Failure) -> Option<MysqlFrame> {
        // A server that leaves an idle client has told it why, or closes without a word: libraries take the end of a
        // connection for what it is, and an error for an answer on one that goes on.
        let idle = self.stage == Stage::Commands && self.tracker.is_done();
        if idle && failure.reason == Reason::UpstreamReset {
            return None;
        }
        let (to, seq) = self.may_say()?;
        let layer_seq = match &self.layer {
            Some(_) if self.lost => return None,
            Some(layer) if self.asks => Some(layer.next_seq(self.tracker.has_begun())?),
            Some(_) => Some(1),
            None => None,
        };
        self.stage = Stage::Over;
        self.tracker.abandon();
        Some(refused(to, seq, layer_seq, failure))
    }
}

impl Transparent {
    /// Whether what they say is not looked into any more: by TLS, compressed, or of another protocol.
    pub fn is_relaying(&self) -> bool {
        self.stage == Stage::Relay
    }

    fn begin(&mut self, shape: Shape, seq: Option<u8>) {
        self.tracker.begin(shape, seq);
        self.files = 0;
        self.client_spoke = true;
        self.asks = true;
    }

    /// In which form the client can be told an error now, and by which sequence number; `None`: not at all.
    fn may_say(&self) -> Option<(Refusal, u8)> {
        if self.sending != Sending::Nothing || !self.tracker.is_between_packets() {
            return None;
        }
        match self.stage {
            Stage::Greeting => Some((Refusal::Greeting, 0)),
            Stage::Login | Stage::Commands if !self.tracker.is_done() => {
                let seq = self.tracker.next_seq()?;
                // It takes an error only in answer to what it says itself.
                let turns = u8::from(self.tracker.is_login() && !self.client_spoke);
                Some((self.form(), self.tls.to_client(seq).wrapping_add(turns)))
            }
            // It is about to log in, and takes this for the answer.
            Stage::Login => {
                let clear = self.tls.has_refused();
                let to = if clear { Refusal::Clear } else { Refusal::Login };
                Some((to, self.tls.login_seq()))
            }
            // It takes this for the answer to its next command.
            Stage::Commands => Some((Refusal::Idle, 1)),
            Stage::Relay | Stage::Over => None,
        }
    }

    fn form(&self) -> Refusal {
        match self.stage {
            Stage::Commands => Refusal::Command,
            _ => Refusal::Login,
        }
    }
}
