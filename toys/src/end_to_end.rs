//! Code u8 | status u8 | length u24 little-endian, of what follows | text. A server `G`reets, a client `L`ogs in, `Q`ueries,
//! makes `N`otes that have no answer, opens a `T`unnel for any bytes at all, or `X` leaves. A server answers by `R`ows and
//! at last `I`dle or in `T`ransaction; where it `W`ants more before, the client sends `P`arts, an
//! empty one at last. `B`ye: it closes.
use bytes::BytesMut;
use std::borrow::Cow;
use wiremesh::{Kind::*, Peer::*, correlation::*, framing::*, *};

const LAYOUT: Layout<0> = Layout::new(5, Field::u24(2).little_endian());
const PEEK: usize = 24; // so much of a request, or all of it, tells its method
type Taken = Result<Option<Said>, DecodeError>;
/// The protocol; it has no options.
#[derive(Clone, Debug, Default)]
pub struct Call;
/// What was said: one packet; packets of a server's, or the beginning of one of a client's; or bytes of what was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The first packet's code; 0 where what was begun goes on.
    pub code: u8,
    /// The code of the last packet that ends here; 0 where it does not.
    pub last: u8,
    status: Status,
    /// All of it.
    pub bytes: BytesMut,
}
/// A packet with less than 16 MiB of text.
pub fn packet(code: u8, status: Status, text: &[u8]) -> Said {
    let head = [(Field::u8(0), code.into()), (Field::u8(1), status as u64)];
    let bytes = LAYOUT.build(&head, [], text).expect("less than 16 MiB");
    Said { code, last: code, status, bytes }
}
impl HeaderView for Said {}
impl Frame for Said {
    fn kind(&self) -> Kind {
        match self.code {
            b'L' | b'Q' => Request,
            b'N' | b'P' | b'X' => OneWay,
            b'G' | b'B' => Push,
            _ => Response,
        }
    }
    fn wire_len(&self) -> usize {
        self.bytes.len()
    }
    fn status(&self) -> Status {
        self.status
    }
    fn method(&self) -> Option<Cow<'_, str>> {
        let word = LAYOUT.rest(&self.bytes).split(|byte| *byte == b' ').next();
        word.filter(|_| self.kind() != Response).map(String::from_utf8_lossy)
    }
}
impl Protocol for Call {
    type Frame = Said;
    type State = ();
    type Head = ();
    type Correlation = Session;
    const NAME: &'static str = "call";
    const SERVER_FIRST: bool = true;
    fn detect(prefix: &[u8]) -> Detection {
        detect_any(&["L"], prefix)
    }
    fn decode(&self, _: Peer, _: &mut (), limits: &Limits, input: &mut BytesMut) -> Taken {
        let Some(bytes) = LAYOUT.take(limits, input)? else { return Ok(None) };
        let status = Field::u8(1).look_up(&bytes, &Status::ALL, "status")?;
        Ok(Some(Said { code: bytes[0], last: bytes[0], status, bytes }))
    }
    fn encode(&self, said: Said, out: &mut WriteBuf) {
        out.put(said.bytes);
    }
    fn head(&self, _request: &Said) {}
    fn reply(&self, _request: &(), why: &Failure) -> Option<Said> {
        Some(packet(b'I', why.status, why.to_string().as_bytes()))
    }
}
impl Sessioned for Call {
    type Machine = Talk;
    type ClientHandshake = Peer;
    type UpstreamHandshake = Peer;
    type Place = ();
    fn machine(&self) -> Talk {
        Talk::default()
    }
    fn client_handshake(&self, _: Arrival) -> Peer {
        Client
    }
    fn upstream_handshake(&self, _lane: u64, _: Departure) -> Peer {
        Upstream
    }
    fn end_to_end(&self) -> bool {
        true
    }
}
/// Health checks wait for the greeting; clients get the upstream's own.
impl Handshake<Call> for Peer {
    fn start(&mut self, _: &Call) -> Progress<Call> {
        if *self == Client { Progress::Done(None) } else { Progress::Continue(None) }
    }
    fn on_frame(&mut self, _: &Call, _: Said) -> Progress<Call> {
        Progress::Done(None)
    }
}
/// A client's session: how much is to come of either side's packet, of which code; and what is going on.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    left: [usize; 2],
    code: [u8; 2],
    wanted: bool,
    answering: bool,
    tunnel: bool,
}
impl SessionMachine<Call> for Talk {
    fn take(
        &mut self,
        _: &Call,
        from: Peer,
        _: &mut (),
        _: &Limits,
        input: &mut BytesMut,
    ) -> Taken {
        let mut said = Said { code: 0, last: 0, status: Status::Ok, bytes: BytesMut::new() };
        let (left, code) = (&mut self.left[from as usize], &mut self.code[from as usize]);
        let mut len = if self.tunnel { input.len() } else { 0 };
        while len < input.len() && (said.last == 0 || b"RW".contains(&said.last)) {
            let fresh = &input[len..];
            if *left == 0 {
                let total = 5 + Field::u24(2).little_endian().get(fresh) as usize;
                let enough = if from == Client { total.clamp(5, PEEK) } else { 5 };
                if fresh.len() < enough || len > 0 && from == Client {
                    break;
                }
                (*left, *code) = (total, fresh[0]);
                said.code = if len == 0 { fresh[0] } else { said.code };
                said.status = Field::u8(1).look_up(fresh, &Status::ALL, "status")?;
            }
            let part = fresh.len().min(*left);
            (len, *left) = (len + part, *left - part);
            said.last = if *left == 0 { *code } else { 0 };
        }
        said.bytes = input.split_to(len);
        Ok((len > 0).then_some(said))
    }
    fn on_request(&mut self, _: &Call, said: &Said) -> Attachment {
        self.tunnel |= said.code == b'T';
        self.wanted &= said.code != b'P' || said.bytes.len() > 5;
        match said.code {
            b'L' | b'Q' => Attachment::Upstream,
            b'N' | b'T' => Attachment::UpstreamNoReply,
            b'X' => Attachment::Quit,
            _ => Attachment::Continue,
        }
    }
    fn on_reply(&mut self, _: &Call, said: &Said) -> Hold<Call> {
        self.wanted = said.last == b'W';
        self.answering = b"R\0".contains(&said.last);
        match said.last {
            b'I' => Hold::Release { reset: None },
            b'T' => Hold::Held,
            b'B' => Hold::Close,
            _ => Hold::Pending,
        }
    }
    fn is_open(&self) -> bool {
        self.tunnel || self.wanted || self.left[0] > 0
    }
    fn farewell(&mut self, _: &Call, why: &Failure) -> Option<Said> {
        let may = !self.tunnel && !self.answering;
        may.then(|| packet(b'B', why.status, why.to_string().as_bytes()))
    }
}
