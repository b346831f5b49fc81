//! What the upstream says.

use std::mem;

use bytes::BytesMut;
use wiremesh::{DecodeError, Limits};

use super::{Change, Sending, Stage, Transparent, client::take_whole, packed::Layer};
use crate::{
    MysqlFrame,
    compress::Algorithm,
    frame::What,
    handshake::Greeting,
    reply::ErrPacket,
    wire::{HEAD, Head},
};

const ERR: u8 = 0xff;

type Taken = Result<Option<MysqlFrame>, DecodeError>;

impl Transparent {
    pub(super) fn take_upstream(&mut self, _: &Limits, input: &mut BytesMut) -> Taken {
        match self.stage {
            Stage::Relay => Ok(Some(reply(input.split(), false))),
            Stage::Greeting => self.take_greeting(input),
            Stage::Commands if self.layer.is_some() => self.take_packed_reply(input),
            Stage::Login | Stage::Commands if self.is_login_of_ours() => {
                self.take_login_reply(input)
            }
            Stage::Login | Stage::Commands if !self.tracker.is_done() => self.take_reply(input),
            Stage::Login | Stage::Commands | Stage::Over => self.take_notice(input),
        }
    }

    fn take_greeting(&mut self, input: &mut BytesMut) -> Taken {
        let Some((_, mut bytes)) = take_whole(input)? else { return Ok(None) };
        let body = bytes.get(HEAD..).unwrap_or_default();
        if body.first() == Some(&ERR) {
            return self.notice(bytes);
        }
        let greeting = Greeting::parse(body)?;
        self.tls.greet(&greeting, &mut bytes)?;
        (self.stage, self.offered) = (Stage::Login, greeting.capabilities);
        self.status = greeting.status;
        Ok(Some(MysqlFrame::new(What::Greeting, bytes)))
    }

    /// What is there of the reply that is due.
    pub(super) fn take_reply(&mut self, input: &mut BytesMut) -> Taken {
        if !self.tracker.has_begun() {
            let Some(head) = Head::read(input) else { return Ok(None) };
            match input.get(HEAD) {
                // It may have been sent before the request was there, or while it was sent: its number is another then.
                Some(&ERR) if head.len > 0 => self.tracker.expect(Some(head.seq)),
                None if head.len > 0 => return Ok(None),
                _ => {}
            }
        }
        let before = self.tracker.outcome().rows;
        let len = self.tracker.feed(input).inspect_err(|_| {
            // Of what was fed nothing reaches the client: which number it waits for is not known any more.
            self.stage = Stage::Over;
        })?;
        let done = self.tracker.is_done();
        self.client_spoke = false;
        let outcome = *self.tracker.outcome();
        self.ask_for_files(outcome.files);
        if done {
            self.asks = false;
            self.conclude();
        }
        let frame = reply(input.split_to(len), done);
        let rows = outcome.rows.saturating_sub(before);
        Ok((len > 0).then_some(MysqlFrame { error: outcome.error, rows, ..frame }))
    }

    /// The reply in progress has asked for so many files.
    pub(super) fn ask_for_files(&mut self, files: u32) {
        if files > self.files {
            self.files = files;
            self.sending = Sending::File;
            self.client.begin(None);
            self.tracker.expect(None);
        }
    }

    /// The reply is complete.
    pub(super) fn conclude(&mut self) {
        let outcome = *self.tracker.outcome();
        if let Some(ok) = outcome.ok {
            self.status = ok.status;
        }
        self.tls.end_login();
        let change = mem::take(&mut self.change);
        if outcome.error.is_none() {
            self.apply(change, outcome.statement);
        } else if matches!(change, Change::Prepared(_)) {
            self.prepared.forget_last();
        }
        if self.stage == Stage::Login {
            self.stage = match outcome.error {
                Some(_) => Stage::Over,
                None => Stage::Commands,
            };
            // From here on packets are within others.
            self.layer = Algorithm::of(self.capabilities).map(|it| Box::new(Layer::new(it)));
        }
    }

    fn apply(&mut self, change: Change, statement: Option<u32>) {
        match (change, statement) {
            (Change::Schema(identity), _) => self.identity = identity,
            (Change::Identity(identity), _) => {
                self.identity = identity;
                self.prepared.clear();
            }
            (Change::Prepared(Some(known)), Some(id)) => self.prepared.insert(id, known),
            (Change::Prepared(_), _) => self.prepared.forget_last(),
            (Change::Reset, _) => self.prepared.clear(),
            (Change::Nothing, _) => {}
        }
    }

    /// What nobody has asked for: an error, before the server closes.
    fn take_notice(&mut self, input: &mut BytesMut) -> Taken {
        match take_whole(input)? {
            Some((_, bytes)) => self.notice(bytes),
            None => Ok(None),
        }
    }

    fn notice(&mut self, bytes: BytesMut) -> Taken {
        let body = bytes.get(HEAD..).unwrap_or_default();
        let error = body.first().filter(|first| **first == ERR).map(|_| ErrPacket::parse(body));
        let Some(Ok(error)) = error else {
            return Err(DecodeError::Malformed { what: "packet: nobody has asked for it" });
        };
        self.stage = Stage::Over;
        Ok(Some(MysqlFrame { error: Some(error), ..MysqlFrame::new(What::Notice, bytes) }))
    }
}

fn reply(bytes: BytesMut, last: bool) -> MysqlFrame {
    MysqlFrame::new(What::Reply { last }, bytes)
}
