//! Replies come in order. Lines of UTF-8: `GET k...` is answered by `VALUES v...` (`-` for none), `SET k v` by `OK`, `SCAN`
//! by some `ITEM k v` and `END`, `PING` by `PONG`, `LOG text` by nothing; and any but the last by `ERR status text`.
use bytes::BytesMut;
use std::{borrow::Cow, str::from_utf8};
use wiremesh::{Kind::*, correlation::*, framing::*, *};
type Decoded = Result<Option<Line>, DecodeError>;
/// The protocol; it has no options.
#[derive(Clone, Debug, Default)]
pub struct Kv;
/// One line, its end included.
#[derive(Clone, Debug)]
pub struct Line(Kind, BytesMut);
impl Line {
    /// A line; its end is added.
    pub fn new(kind: Kind, text: &str) -> Self {
        Self(kind, BytesMut::from(&*(text.replace(['\r', '\n'], " ") + "\n")))
    }
    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        from_utf8(&self.1).unwrap_or_default().split_ascii_whitespace()
    }
}
impl Protocol for Kv {
    type Frame = Line;
    type State = usize;
    type Head = ();
    type Correlation = InOrder;
    const NAME: &'static str = "kv";
    fn detect(prefix: &[u8]) -> Detection {
        detect_any(&["GET ", "SET ", "SCAN\n", "PING\n", "LOG "], prefix)
    }
    fn decode(&self, from: Peer, at: &mut usize, limits: &Limits, input: &mut BytesMut) -> Decoded {
        let Some(bytes) = take_line(limits, at, input)? else { return Ok(None) };
        let line = Line(if from == Peer::Client { Request } else { Response }, bytes);
        let mut special = [("LOG", OneWay), ("PING", Heartbeat), ("PONG", HeartbeatReply)].iter();
        let special = special.find(|(word, _)| line.words().next() == Some(word));
        Ok(Some(Line(special.map_or(line.0, |special| special.1), line.1)))
    }
    fn encode(&self, line: Line, out: &mut WriteBuf) {
        out.put(line.1);
    }
    fn head(&self, _request: &Line) {}
    fn reply(&self, _request: &(), why: &Failure) -> Option<Line> {
        Some(Line::new(Response, &format!("ERR {} {why}", why.status)))
    }
    fn heartbeat(&self, _lane: u32) -> Option<Line> {
        Some(Line::new(Heartbeat, "PING"))
    }
    fn heartbeat_reply(&self, _probe: &Line) -> Option<Line> {
        Some(Line::new(HeartbeatReply, "PONG"))
    }
}
impl Pipelined for Kv {
    type Client = ();
    fn expects(&self, request: &Line) -> Expect {
        let some = if &*request.1 == b"SCAN\n" { Expect::Stream } else { Expect::One };
        if request.0 == OneWay { Expect::None } else { some }
    }
    fn is_last(&self, reply: &Line) -> bool {
        reply.words().next() != Some("ITEM")
    }
    fn step(&self, request: Line) -> Step<Self> {
        let get = |key| Line::new(Request, &format!("GET {key}"));
        let keys = request.words().skip(1).filter(|_| request.1.starts_with(b"GET "));
        let parts: Vec<_> = keys.map(|k| Part::new(get(k), Target::of(k))).collect();
        let (whole, none) = (parts.len() < 2, vec![None::<Line>; parts.len()]);
        if whole { Step::Shared(request, Target::Any) } else { Step::Parts(parts, Box::new(none)) }
    }
}
impl Gather<Kv> for Vec<Option<Line>> {
    fn reply(&mut self, _: &Kv, part: usize, reply: Line) {
        self[part] = Some(reply);
    }
    fn failed(&mut self, kv: &Kv, part: usize, why: &Failure) {
        self[part] = kv.reply(&(), why);
    }
    fn finish(&mut self, _: &Kv) -> Line {
        let values = self.iter().flatten().filter_map(|line| line.words().nth(1));
        let all = values.fold("VALUES".to_owned(), |all, value| all + " " + value);
        let error = self.iter().flatten().find(|line| line.status() != Status::Ok);
        error.cloned().unwrap_or_else(|| Line::new(Response, &all))
    }
}
impl HeaderView for Line {}
impl Frame for Line {
    fn kind(&self) -> Kind {
        self.0
    }
    fn wire_len(&self) -> usize {
        self.1.len()
    }
    fn status(&self) -> Status {
        let name = self.words().nth(1).filter(|_| self.1.starts_with(b"ERR "));
        name.map_or(Status::Ok, |name| Status::from_name(name).unwrap_or(Status::Unknown))
    }
    fn method(&self) -> Option<Cow<'_, str>> {
        self.words().next().map(Cow::Borrowed)
    }
}
