//! Logins of which the proxy speaks TLS on one leg, or on each by itself.
//!
//! The wish for TLS is a packet of its own: where only one leg has it, sequence numbers differ until the login is over. And
//! `caching_sha2_password` has a client that is to say its password do so in clear under TLS, and by RSA otherwise: where
//! only the client's leg has TLS, the proxy does for it what the server expects.

use std::mem;

use bytes::BytesMut;
use wiremesh::{DecodeError, Failure, Password, Reason, Status, correlation::Legs};

use super::{Stage, Transparent, client::take_whole};
use crate::{
    Capabilities, MysqlFrame,
    auth::PublicKey,
    error::Refusal,
    frame::What,
    handshake::Greeting,
    protocol::refused,
    wire::{HEAD, Head, put_packet},
};

type Taken = Result<Option<MysqlFrame>, DecodeError>;

const CACHING_SHA2: &[u8] = b"caching_sha2_password";

/// How much of a login the wish for TLS is.
const SSL_REQUEST: usize = 32;

/// The server asks for the password itself.
const FULL: [u8; 2] = [1, 4];

/// The client asks for the server's key.
const ASK_KEY: [u8; 1] = [2];

/// What the proxy does about TLS in one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    legs: Legs,
    /// The client's leg has it.
    begun: bool,
    /// What the client's packets in the login have to be numbered higher for the upstream.
    shift: u8,
    /// The client and the upstream may not speak it with each other.
    forbidden: bool,
    /// The client has logged in without it, and may not.
    refused: bool,
    plugin: Vec<u8>,
    salt: Vec<u8>,
    full: Full,
}

/// How far it is that the client says its password where the upstream wants it by RSA.
#[derive(Clone, Debug, Default)]
enum Full {
    #[default]
    No,
    /// The client is to say it.
    Asked,
    /// The server is to tell its key.
    Key(Password),
    /// This is the answer to the key.
    Answer(BytesMut),
}

impl Tls {
    pub(super) fn new(legs: Legs) -> Self {
        Self { legs, ..Self::default() }
    }

    /// Whether the proxy speaks it on either leg.
    pub(super) fn is_ours(&self) -> bool {
        self.legs.client || self.legs.upstream
    }

    /// Whether the client and the upstream may speak it with each other, unseen.
    pub(super) fn forbid_end_to_end(&mut self, forbidden: bool) {
        self.forbidden = forbidden;
    }

    /// Whether the client was refused because it did not ask for it.
    pub(super) fn has_refused(&self) -> bool {
        self.refused
    }

    /// The client's wish for it. Whether the proxy is to do as it wishes; else the upstream is asked.
    pub(super) fn begin(&mut self) -> bool {
        self.begun |= self.legs.client;
        self.legs.client
    }

    /// The sequence number of the client's for one of the upstream's.
    pub(super) fn to_client(&self, seq: u8) -> u8 {
        seq.wrapping_sub(self.shift)
    }

    /// The reverse.
    pub(super) fn to_upstream(&self, seq: u8) -> u8 {
        seq.wrapping_add(self.shift)
    }

    /// The number of the answer to the client's login.
    pub(super) fn login_seq(&self) -> u8 {
        2_u8.wrapping_add(self.begun.into())
    }

    /// The login is over: from here on both legs count alike.
    pub(super) fn end_login(&mut self) {
        (self.shift, self.full) = (0, Full::No);
    }

    /// Offers the client what the proxy can, whatever the server can.
    pub(super) fn greet(
        &mut self,
        greeting: &Greeting,
        packet: &mut BytesMut,
    ) -> Result<(), DecodeError> {
        if !self.is_ours() && !self.forbidden {
            return Ok(());
        }
        if self.legs.upstream && !greeting.capabilities.has(Capabilities::SSL) {
            let what = "greeting: the server has no TLS, which is to be spoken with it";
            return Err(DecodeError::Malformed { what });
        }
        self.plugin.clone_from(&greeting.plugin);
        self.salt.clone_from(&greeting.salt);
        // Behind the protocol's version, the server's, the number, the first part of the salt, and a NUL.
        let at = greeting.version.len().saturating_add(HEAD + 1 + 1 + 4 + 8 + 1);
        set_ssl(packet, at, self.legs.client);
        Ok(())
    }

    /// The client may not ask for TLS now.
    pub(super) fn check_request(&self) -> Result<(), DecodeError> {
        let what = match self.is_ours() {
            true if self.begun => "login: it asks for TLS under TLS",
            ours if !self.legs.client && (ours || self.forbidden) => {
                "login: it asks for TLS, which it was not offered"
            }
            _ => return Ok(()),
        };
        Err(DecodeError::Malformed { what })
    }

    /// The client logs in, with this plugin if it names one.
    pub(super) fn log_in(
        &mut self,
        plugin: &[u8],
        packet: &mut BytesMut,
    ) -> Result<(), DecodeError> {
        if !self.is_ours() {
            return Ok(());
        }
        if self.legs.required && !self.begun {
            self.refused = true;
            return Err(DecodeError::Malformed { what: "login: TLS is required here" });
        }
        if !plugin.is_empty() {
            plugin.clone_into(&mut self.plugin);
        }
        self.shift = u8::from(self.legs.upstream).wrapping_sub(self.begun.into());
        set_ssl(packet, HEAD, self.legs.upstream);
        self.renumber_up(packet);
        Ok(())
    }

    /// What asks the upstream for TLS before this login, which is numbered for it.
    pub(super) fn request(&self, login: &[u8]) -> Option<BytesMut> {
        if !self.legs.upstream {
            return None;
        }
        let (head, body) = (Head::read(login)?, login.get(HEAD..)?);
        let mut packet = BytesMut::new();
        put_packet(&mut packet, head.seq.wrapping_sub(1), body.get(..SSL_REQUEST)?);
        Some(packet)
    }

    /// The answer to the server's key.
    pub(super) fn answer(&mut self) -> Option<MysqlFrame> {
        match mem::take(&mut self.full) {
            Full::Answer(packet) => Some(MysqlFrame::new(What::Rest, packet)),
            _ => None,
        }
    }

    fn renumber_up(&self, packet: &mut BytesMut) {
        if let Some(seq) = packet.get_mut(HEAD - 1) {
            *seq = self.to_upstream(*seq);
        }
    }

    /// Another plugin is to be used.
    fn switch(&mut self, body: &[u8]) {
        let mut parts = body.splitn(2, |byte| *byte == 0);
        self.plugin = parts.next().unwrap_or_default().to_vec();
        let salt = parts.next().unwrap_or_default();
        self.salt = salt.strip_suffix(&[0]).unwrap_or(salt).to_vec();
    }

    /// The password that the server wants by RSA, encrypted for its key.
    fn encrypted(&self, password: &Password, key: &[u8], seq: u8) -> Result<BytesMut, DecodeError> {
        let wrong = |_| DecodeError::Malformed { what: "login: the server's RSA key" };
        let cipher = PublicKey::from_pem(key).map_err(wrong)?;
        let cipher = cipher.encrypt(password, &self.salt).map_err(wrong)?;
        let mut packet = BytesMut::new();
        put_packet(&mut packet, seq, &cipher);
        Ok(packet)
    }
}

impl Transparent {
    /// Whether a login is in progress in which TLS is the proxy's, on either leg.
    pub(super) fn is_login_of_ours(&self) -> bool {
        self.tls.is_ours() && self.tracker.is_login() && self.layer.is_none()
    }

    /// What the client says in a login, a packet at a time.
    pub(super) fn take_turn_of_ours(&mut self, input: &mut BytesMut) -> Taken {
        // Numbers begin anew with what comes after it: that waits.
        if Head::read(input).is_none_or(|head| head.seq == 0) {
            return Ok(None);
        }
        let Some((head, mut packet)) = take_whole(input)? else { return Ok(None) };
        if matches!(self.tls.full, Full::Asked) {
            let body = packet.get(HEAD..).unwrap_or_default();
            // One that asks for the key itself may have it.
            let password = body.strip_suffix(&[0]).map(Password::new);
            self.tls.full = password.map_or(Full::No, Full::Key);
            if matches!(self.tls.full, Full::Key(_)) {
                packet.clear();
                put_packet(&mut packet, head.seq, &ASK_KEY);
            }
        }
        self.tls.renumber_up(&mut packet);
        self.take_turn(&mut packet)
    }

    /// What the server says in a login, a packet at a time.
    pub(super) fn take_login_reply(&mut self, input: &mut BytesMut) -> Taken {
        let Some((head, mut packet)) = take_whole(input)? else { return Ok(None) };
        let body = packet.get(HEAD..).unwrap_or_default();
        match (body, mem::take(&mut self.tls.full)) {
            ([1, key @ ..], Full::Key(password)) => {
                let seq = head.seq.wrapping_add(1);
                let answer = self.tls.encrypted(&password, key, seq)?;
                return self.take_key(answer, seq, &mut packet);
            }
            (body, _) if *body == FULL && self.tls.plugin == CACHING_SHA2 => {
                match (self.tls.begun, self.tls.legs.upstream) {
                    (true, false) => self.tls.full = Full::Asked,
                    (false, true) => return Ok(Some(self.refuse_full(head.seq))),
                    _ => {}
                }
            }
            ([0xfe, switch @ ..], _) if !switch.is_empty() => self.tls.switch(switch),
            _ => {}
        }
        let seq = self.tls.to_client(head.seq);
        let taken = self.take_reply(&mut packet)?;
        Ok(taken.map(|mut frame| {
            if let Some(place) = frame.bytes.get_mut(HEAD - 1) {
                *place = seq;
            }
            frame
        }))
    }

    /// The server's key, which the client hears nothing of.
    fn take_key(&mut self, answer: BytesMut, seq: u8, packet: &mut BytesMut) -> Taken {
        let taken = self.take_reply(packet)?;
        self.tracker.expect(Some(seq.wrapping_add(1)));
        self.client_spoke = true;
        self.tls.full = Full::Answer(answer);
        // The server was asked for its key, then told the password: two packets for the client's one.
        self.tls.shift = self.tls.shift.wrapping_add(2);
        Ok(taken.map(|frame| MysqlFrame { what: What::Key, ..frame }))
    }

    /// The client would have to say its password in clear, and the server would not take it encrypted.
    fn refuse_full(&mut self, seq: u8) -> MysqlFrame {
        let why = "caching_sha2_password needs TLS with the client, too, to log in a user for the first time";
        self.tracker.abandon();
        self.stage = Stage::Over;
        let failure = Failure {
            reason: Reason::Denied,
            status: Status::Unauthenticated,
            message: why.into(),
        };
        refused(Refusal::Login, self.tls.to_client(seq), None, &failure)
    }
}

/// Sets or clears the flag of TLS in the capabilities at `at`.
fn set_ssl(packet: &mut BytesMut, at: usize, set: bool) {
    let [_, flag, ..] = Capabilities::SSL.0.to_le_bytes();
    if let Some(byte) = packet.get_mut(at.saturating_add(1)) {
        *byte = if set { *byte | flag } else { *byte & !flag };
    }
}

#[cfg(test)]
mod tests;
