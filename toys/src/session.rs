//! Code u8 | status u8 | length u24 little-endian, of what follows | text. A client sends `L`ogin, `Q`ueries, `X` to leave; a
//! server `G`reets first, answers by `R`ows and at last `I`dle or in `T`ransaction. `Q RESET` undoes what one has set.
use bytes::BytesMut;
use std::{borrow::Cow, mem};
use wiremesh::{Kind::*, correlation::Progress::*, correlation::*, framing::*, *};

const LAYOUT: Layout<0> = Layout::new(5, Field::u24(2).little_endian());
const KINDS: [(u8, Kind); 4] = [(b'L', Request), (b'Q', Request), (b'X', OneWay), (b'G', Push)];
type Decoded = Result<Option<RawFrame>, DecodeError>;
/// The protocol, with the password that clients show and upstreams want.
#[derive(Clone, Debug, Default)]
pub struct Desk(String);
/// A packet with less than 16 MiB of text.
pub fn packet(code: u8, status: Status, text: &str) -> RawFrame {
    let head = [(Field::u8(0), code.into()), (Field::u8(1), status as u64)];
    let bytes = LAYOUT.build(&head, [], text.as_bytes()).expect("less than 16 MiB");
    RawFrame { kind: kind(code), status, bytes }
}
/// A packet's text.
pub fn text(packet: &RawFrame) -> Cow<'_, str> {
    String::from_utf8_lossy(LAYOUT.rest(&packet.bytes))
}
fn kind(code: u8) -> Kind {
    KINDS.into_iter().find(|known| known.0 == code).map_or(Response, |known| known.1)
}
impl Protocol for Desk {
    type Frame = RawFrame;
    type State = ();
    type Head = ();
    type Correlation = Session;
    const NAME: &'static str = "desk";
    const SERVER_FIRST: bool = true;
    fn detect(prefix: &[u8]) -> Detection {
        detect_any(&["L"], prefix)
    }
    fn decode(&self, from: Peer, _: &mut (), limits: &Limits, input: &mut BytesMut) -> Decoded {
        let Some(bytes) = LAYOUT.take(limits, input)? else { return Ok(None) };
        let codes = if from == Peer::Client { "LQX" } else { "GRIT" };
        codes.find(char::from(bytes[0])).ok_or(DecodeError::Malformed { what: "code" })?;
        let status = Field::u8(1).look_up(&bytes, &Status::ALL, "status")?;
        Ok(Some(RawFrame { kind: kind(bytes[0]), status, bytes }))
    }
    fn encode(&self, packet: RawFrame, out: &mut WriteBuf) {
        out.put(packet.bytes);
    }
    fn head(&self, _request: &RawFrame) {}
    fn reply(&self, _request: &(), why: &Failure) -> Option<RawFrame> {
        Some(packet(b'I', why.status, &why.to_string()))
    }
    fn set_option(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let known = (name == "password").then(|| value.clone_into(&mut self.0));
        known.ok_or(OptionError::Unknown("there is `password`"))
    }
}
impl Sessioned for Desk {
    type Machine = bool; // whether it is in a transaction
    type ClientHandshake = Peer;
    type UpstreamHandshake = Peer;
    type Place = ();
    fn machine(&self) -> bool {
        false
    }
    fn client_handshake(&self, _: Arrival) -> Peer {
        Peer::Client
    }
    fn upstream_handshake(&self, _lane: u64, _: Departure) -> Peer {
        Peer::Upstream
    }
}
impl Handshake<Desk> for Peer {
    fn start(&mut self, _: &Desk) -> Progress<Desk> {
        Continue((*self == Self::Client).then(|| packet(b'G', Status::Ok, "")))
    }
    fn on_frame(&mut self, desk: &Desk, said: RawFrame) -> Progress<Desk> {
        let idle = |status| Some(packet(b'I', status, ""));
        match (self, said.bytes[0]) {
            (Self::Client, b'L') if text(&said) == desk.0 => Done(idle(Status::Ok)),
            (Self::Client, _) => Refused(idle(Status::Unauthenticated), "wrong password"),
            (Self::Upstream, b'G') => Continue(Some(packet(b'L', Status::Ok, &desk.0))),
            (Self::Upstream, _) if said.status == Status::Ok => Done(None),
            (Self::Upstream, _) => Refused(None, "the upstream refused the login"),
        }
    }
}
impl SessionMachine<Desk> for bool {
    fn on_request(&mut self, _: &Desk, request: &RawFrame) -> Attachment {
        if request.bytes[0] == b'X' { Attachment::Quit } else { Attachment::Upstream }
    }
    fn on_reply(&mut self, _: &Desk, reply: &RawFrame) -> Hold<Desk> {
        let held = mem::replace(self, reply.bytes[0] == b'T' || *self && reply.bytes[0] == b'R');
        match reply.bytes[0] {
            b'R' => Hold::Pending,
            b'T' => Hold::Held,
            _ => Hold::Release { reset: held.then(|| packet(b'Q', Status::Ok, "RESET")) },
        }
    }
}
