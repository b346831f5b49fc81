//! Replies carry their request's id. Big-endian: `"mx"` | kind u8 | status u8 | id u32 | timeout u32, in ms, 0 for none
//! | service length u8 | method length u8 | length u32, of what follows | service | method | payload.
use bytes::BytesMut;
use std::{borrow::Cow, time::Duration};
use wiremesh::{correlation::*, framing::*, *};

const KIND: Field = Field::u8(2); // a kind's place in `Kind::ALL`
const STATUS: Field = Field::u8(3); // a status's place in `Status::ALL`
const ID: Field = Field::u32(4);
const TIMEOUT: Field = Field::u32(8);
const LAYOUT: Layout<2> =
    Layout::new(18, Field::u32(14)).magic(b"mx").parts([Field::u8(12), Field::u8(13)]);
type Decoded = Result<Option<Message>, DecodeError>;

/// The protocol; it has no options.
#[derive(Clone, Debug, Default)]
pub struct Mx;
/// One message: its bytes as they were received, and what was checked of them.
#[derive(Clone, Debug)]
pub struct Message(Kind, Status, BytesMut);
impl Message {
    /// A message; service and method of at most 255 bytes.
    pub fn new(kind: Kind, status: Status, id: u64, texts: [&str; 2], payload: &[u8]) -> Self {
        let head = [(KIND, kind as u64), (STATUS, status as u64), (ID, id)];
        let built = LAYOUT.build(&head, texts.map(str::as_bytes), payload);
        Self(kind, status, built.expect("lengths in their bounds"))
    }
    /// What follows service and method.
    pub fn payload(&self) -> &[u8] {
        LAYOUT.rest(&self.2)
    }
}
impl Protocol for Mx {
    type Frame = Message;
    type State = ();
    type Head = u64;
    type Correlation = ById;
    const NAME: &'static str = "mx";
    fn detect(prefix: &[u8]) -> Detection {
        LAYOUT.detect(prefix)
    }
    fn decode(&self, _: Peer, _: &mut (), limits: &Limits, input: &mut BytesMut) -> Decoded {
        let Some(bytes) = LAYOUT.take(limits, input)? else { return Ok(None) };
        let kind = KIND.look_up(&bytes, &Kind::ALL, "kind")?;
        let status = STATUS.look_up(&bytes, &Status::ALL, "status")?;
        Ok(Some(Message(kind, status, bytes)))
    }
    fn encode(&self, message: Message, out: &mut WriteBuf) {
        out.put(message.2);
    }
    fn head(&self, request: &Message) -> u64 {
        self.id(request)
    }
    fn reply(&self, id: &u64, why: &Failure) -> Option<Message> {
        Some(Message::new(Kind::Response, why.status, *id, ["", ""], why.to_string().as_bytes()))
    }
    fn heartbeat(&self, _lane: u32) -> Option<Message> {
        Some(Message::new(Kind::Heartbeat, Status::Ok, 0, ["", ""], b""))
    }
    fn heartbeat_reply(&self, probe: &Message) -> Option<Message> {
        Some(Message::new(Kind::HeartbeatReply, Status::Ok, self.id(probe), ["", ""], b""))
    }
    fn go_away(&self, _lane: u32) -> Option<Message> {
        Some(Message::new(Kind::GoAway, Status::Ok, 0, ["", ""], b""))
    }
}
impl Multiplexed for Mx {
    const ID_BITS: u32 = 32;
    fn id(&self, message: &Message) -> u64 {
        ID.get(&message.2)
    }
    fn set_id(&self, message: &mut Message, id: u64) {
        ID.set(&mut message.2, id);
    }
}
impl HeaderView for Message {}
impl Frame for Message {
    fn kind(&self) -> Kind {
        self.0
    }
    fn wire_len(&self) -> usize {
        self.2.len()
    }
    fn status(&self) -> Status {
        self.1
    }
    fn service(&self) -> Option<Cow<'_, str>> {
        Some(LAYOUT.text(&self.2, 0))
    }
    fn method(&self) -> Option<Cow<'_, str>> {
        Some(LAYOUT.text(&self.2, 1))
    }
    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT.get(&self.2)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }
    fn set_timeout(&mut self, timeout: Duration) {
        TIMEOUT.set(&mut self.2, timeout.as_millis().clamp(1, u32::MAX.into()) as u64);
    }
}
