use std::{borrow::Cow, time::Duration};

use bytes::BytesMut;
use wiremesh::correlation::{ById, Multiplexed};
use wiremesh::kit::{Rule, Samples};
use wiremesh::{
    DecodeError, Detection, EditError, Failure, Frame, HeaderSupport, HeaderView, Kind, Limits,
    Peer, Protocol, Status, TraceContext, WriteBuf,
};
use wiremesh_toys::{Mx, multiplexed::Message};

/// What a protocol may do wrong, and the rule that says so.
pub const FLAWS: [(&str, Rule); 28] = [
    ("refuses one-way requests", Rule::Decode),
    ("swallows a byte of the next frame", Rule::Boundary),
    ("refuses half a frame", Rule::Truncation),
    ("forgets after three pieces", Rule::Chunking),
    ("encodes another last byte", Rule::Untouched),
    ("counts one byte too many", Rule::WireLen),
    ("takes one-way requests for another protocol", Rule::Detect),
    ("takes HTTP for itself", Rule::Foreign),
    ("loses the timeout with the id", Rule::Id),
    ("has ids of 16 bits and says 32", Rule::Id),
    ("writes the id over the payload too", Rule::Id),
    ("has room for one header", Rule::Header),
    ("cannot remove a header", Rule::Header),
    ("changes a header in memory only", Rule::Header),
    ("cuts trace ids short", Rule::Trace),
    ("makes a short timeout none", Rule::Timeout),
    ("wraps a long timeout", Rule::Timeout),
    ("replies to nobody", Rule::Reply),
    ("replies with one status for all", Rule::Reply),
    ("answers heartbeats of nobody", Rule::Heartbeat),
    ("answers heartbeats by heartbeats", Rule::Heartbeat),
    ("says go-away in a way it does not know", Rule::GoAway),
    ("has no limit", Rule::Limit),
    ("has a limit one too low", Rule::Limit),
    ("reserves what a length declares", Rule::Reserve),
    ("panics on an unknown kind", Rule::Panic),
    ("makes frames of nothing", Rule::Progress),
    ("needs one byte more to be detected", Rule::Detect),
];

/// Mx with headers at the head of its payload, and one flaw; none when `F` is beyond the list of them.
#[derive(Clone, Debug)]
pub struct Broken<const F: usize>;

/// Whether this is the flaw.
fn is<const F: usize>(name: &str) -> bool {
    assert!(FLAWS.iter().any(|flaw| flaw.0 == name), "{name}");
    FLAWS.get(F).is_some_and(|flaw| flaw.0 == name)
}

/// A message, its headers apart from its payload.
#[derive(Clone, Debug)]
pub struct WithHeaders<const F: usize> {
    message: Message,
    headers: Vec<(String, String)>,
    /// The headers as the flaw makes them look.
    shown: Option<Vec<(String, String)>>,
}

impl<const F: usize> WithHeaders<F> {
    fn new(kind: Kind, status: Status, id: u64, body: &[u8]) -> Self {
        let payload = [&[0; 2], body].concat();
        let message = Message::new(kind, status, id, ["a service", "a method"], &payload);
        Self { message, headers: Vec::new(), shown: None }
    }

    /// Reads headers of the form: their length, u16, and name NUL value NUL as often as there are any.
    fn parse(message: Message) -> Option<Self> {
        let (len, rest) = message.payload().split_first_chunk::<2>()?;
        let block = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        let mut texts = std::str::from_utf8(block).ok()?.split('\0').collect::<Vec<_>>();
        // There is nothing behind the last NUL.
        if texts.pop() != Some("") || texts.len() % 2 != 0 {
            return None;
        }
        let headers =
            texts.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect();
        Some(Self { message, headers, shown: None })
    }

    fn body(&self) -> &[u8] {
        let payload = self.message.payload();
        &payload[2 + usize::from(u16::from_be_bytes([payload[0], payload[1]]))..]
    }

    /// Writes the headers into the message.
    fn store(&mut self, headers: Vec<(String, String)>) -> Result<(), EditError> {
        let block: String =
            headers.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
        let Ok(len) = u16::try_from(block.len()) else {
            return Err(EditError::TooLong { what: "headers", size: block.len(), max: 65535 });
        };
        let payload = [&len.to_be_bytes(), block.as_bytes(), self.body()].concat();
        self.rebuild(&payload);
        self.headers = headers;
        Ok(())
    }

    fn rebuild(&mut self, payload: &[u8]) {
        let old = &self.message;
        let texts = [old.service().unwrap(), old.method().unwrap()];
        let texts = [&*texts[0], &*texts[1]];
        let mut new = Message::new(old.kind(), old.status(), Mx.id(old), texts, payload);
        if let Some(timeout) = old.timeout() {
            new.set_timeout(timeout);
        }
        self.message = new;
    }

    fn put(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        let mut headers = self.headers.clone();
        match headers.iter_mut().find(|header| header.0 == name) {
            Some(header) => header.1 = value.to_owned(),
            None => headers.push((name.to_owned(), value.to_owned())),
        }
        self.store(headers)
    }
}

impl<const F: usize> HeaderView for WithHeaders<F> {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let headers = self.shown.as_ref().unwrap_or(&self.headers);
        headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str().into())
    }

    fn for_each_header(&self, each: &mut dyn FnMut(&str, &str)) {
        let headers = self.shown.as_ref().unwrap_or(&self.headers);
        headers.iter().for_each(|(name, value)| each(name, value));
    }

    fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        if is::<F>("has room for one header") {
            self.headers.clear();
        }
        if is::<F>("changes a header in memory only") && self.header(name).is_some() {
            let mut headers = self.headers.clone();
            headers.iter_mut().filter(|h| h.0 == name).for_each(|h| h.1 = value.to_owned());
            self.shown = Some(headers);
            return Ok(());
        }
        self.put(name, value)
    }

    fn remove_header(&mut self, name: &str) -> Result<bool, EditError> {
        let there = self.header(name).is_some();
        if !is::<F>("cannot remove a header") {
            let kept = self.headers.iter().filter(|header| header.0 != name).cloned().collect();
            self.store(kept)?;
        }
        Ok(there)
    }

    fn trace(&self) -> Option<TraceContext<'_>> {
        let find = |name| self.header(name);
        Some(TraceContext { trace_id: find("trace")?, span_id: find("span")?, sampled: None })
    }

    fn set_trace(&mut self, trace: &TraceContext<'_>) -> Result<(), EditError> {
        let cut = if is::<F>("cuts trace ids short") { 16 } else { 64 };
        self.put("trace", trace.trace_id.get(..cut).unwrap_or(&trace.trace_id))?;
        self.put("span", &trace.span_id)
    }
}

impl<const F: usize> Frame for WithHeaders<F> {
    fn kind(&self) -> Kind {
        self.message.kind()
    }

    fn wire_len(&self) -> usize {
        let one_too_many = is::<F>("counts one byte too many") && self.kind() == Kind::Response;
        self.message.wire_len() + usize::from(one_too_many)
    }

    fn status(&self) -> Status {
        self.message.status()
    }

    fn service(&self) -> Option<Cow<'_, str>> {
        self.message.service()
    }

    fn method(&self) -> Option<Cow<'_, str>> {
        self.message.method()
    }

    fn timeout(&self) -> Option<Duration> {
        self.message.timeout()
    }

    fn set_timeout(&mut self, timeout: Duration) {
        let ms = timeout.as_millis();
        if is::<F>("makes a short timeout none") && ms == 0 {
            let payload = self.message.payload().to_vec();
            let (kind, id) = (self.kind(), Mx.id(&self.message));
            let texts = ["a service", "a method"];
            self.message = Message::new(kind, self.status(), id, texts, &payload);
        } else if is::<F>("wraps a long timeout") && ms > u128::from(u32::MAX) {
            self.message.set_timeout(Duration::from_millis(7));
        } else {
            self.message.set_timeout(timeout);
        }
    }
}

impl<const F: usize> Protocol for Broken<F> {
    type Frame = WithHeaders<F>;
    /// How often the decoder was asked for the frame it is at.
    type State = usize;
    type Head = u64;
    type Correlation = ById;

    const NAME: &'static str = "broken";
    const HEADERS: HeaderSupport = HeaderSupport::Edit;

    fn detect(prefix: &[u8]) -> Detection {
        match Mx::detect(prefix) {
            Detection::Mismatch
                if is::<F>("takes HTTP for itself") && prefix.starts_with(b"GET") =>
            {
                Detection::Match
            }
            Detection::Match
                if is::<F>("takes one-way requests for another protocol")
                    && prefix.get(2) == Some(&1) =>
            {
                Detection::Mismatch
            }
            Detection::Match if is::<F>("needs one byte more to be detected") => {
                Detection::NeedMore(prefix.len() + 1)
            }
            detection => detection,
        }
    }

    fn decode(
        &self,
        from: Peer,
        calls: &mut usize,
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<WithHeaders<F>>, DecodeError> {
        let malformed = |what| Err(DecodeError::Malformed { what });
        let before = input.len();
        let mut limits = limits.clone();
        if is::<F>("has no limit") {
            limits.max_frame = usize::MAX;
        }
        if is::<F>("has a limit one too low") {
            limits.max_frame -= 1;
        }
        if is::<F>("makes frames of nothing") && input.first() == Some(&0xed) {
            return Ok(self.heartbeat(0));
        }
        if is::<F>("panics on an unknown kind") && input.get(2) == Some(&0x80) {
            // A panic without the message and backtrace of one.
            std::panic::resume_unwind(Box::new("as the flaw wants it"));
        }
        *calls += 1;
        let Some(message) = Mx.decode(from, &mut (), &limits, input)? else {
            if is::<F>("refuses half a frame") && before >= 5 {
                return malformed("half");
            }
            if is::<F>("reserves what a length declares")
                && let Some(length) = input.get(14..18)
            {
                let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                input.reserve(length);
            }
            return Ok(None);
        };
        let pieces = std::mem::take(calls);
        if is::<F>("swallows a byte of the next frame") && input.len() == 1 {
            input.clear();
        }
        if is::<F>("refuses one-way requests") && message.kind() == Kind::OneWay {
            return malformed("kind");
        }
        let Some(mut frame) = WithHeaders::parse(message) else { return malformed("headers") };
        if is::<F>("forgets after three pieces") && pieces > 3 {
            frame.headers.clear();
        }
        Ok(Some(frame))
    }

    fn encode(&self, mut frame: WithHeaders<F>, out: &mut WriteBuf) {
        if is::<F>("encodes another last byte") && !frame.body().is_empty() {
            let mut payload = frame.message.payload().to_vec();
            *payload.last_mut().unwrap() = b'!';
            frame.rebuild(&payload);
        }
        Mx.encode(frame.message, out);
    }

    fn head(&self, request: &WithHeaders<F>) -> u64 {
        self.id(request)
    }

    fn reply(&self, id: &u64, failure: &Failure) -> Option<WithHeaders<F>> {
        let id = if is::<F>("replies to nobody") { 0 } else { *id };
        let one_for_all = is::<F>("replies with one status for all");
        let status = if one_for_all { Status::Unavailable } else { failure.status };
        Some(WithHeaders::new(Kind::Response, status, id, failure.message.as_bytes()))
    }

    fn heartbeat(&self, _lane: u32) -> Option<WithHeaders<F>> {
        Some(WithHeaders::new(Kind::Heartbeat, Status::Ok, 0, b""))
    }

    fn heartbeat_reply(&self, probe: &WithHeaders<F>) -> Option<WithHeaders<F>> {
        let id = if is::<F>("answers heartbeats of nobody") { 0 } else { self.id(probe) };
        let kind = if is::<F>("answers heartbeats by heartbeats") {
            Kind::Heartbeat
        } else {
            Kind::HeartbeatReply
        };
        Some(WithHeaders::new(kind, Status::Ok, id, b""))
    }

    fn go_away(&self, _lane: u32) -> Option<WithHeaders<F>> {
        let unknown = is::<F>("says go-away in a way it does not know");
        let kind = if unknown { Kind::Push } else { Kind::GoAway };
        Some(WithHeaders::new(kind, Status::Ok, 0, b""))
    }
}

impl<const F: usize> Multiplexed for Broken<F> {
    const ID_BITS: u32 = 32;

    fn id(&self, frame: &WithHeaders<F>) -> u64 {
        Mx.id(&frame.message)
    }

    fn set_id(&self, frame: &mut WithHeaders<F>, id: u64) {
        if is::<F>("loses the timeout with the id") && frame.timeout().is_some() {
            let payload = frame.message.payload().to_vec();
            let texts = ["a service", "a method"];
            frame.message = Message::new(frame.kind(), frame.status(), id, texts, &payload);
        }
        if is::<F>("writes the id over the payload too") && frame.body().len() >= 4 {
            let mut payload = frame.message.payload().to_vec();
            let at = payload.len() - 1;
            payload[at] ^= (id ^ Mx.id(&frame.message)) as u8;
            payload[at - 2] ^= (id ^ Mx.id(&frame.message)) as u8;
            frame.rebuild(&payload);
        }
        let narrow = is::<F>("has ids of 16 bits and says 32");
        Mx.set_id(&mut frame.message, if narrow { id & 0xffff } else { id });
    }
}

/// Samples on which each flaw shows.
pub fn samples() -> Samples {
    const FLAWLESS: Broken<{ FLAWS.len() }> = Broken;
    let frame = |kind, status, body: &[u8], headers: &[(&str, &str)]| {
        let mut frame = WithHeaders::new(kind, status, 0x4711, body);
        for (name, value) in headers {
            frame.put(name, value).unwrap();
        }
        frame
    };
    let mut request = frame(Kind::Request, Status::Ok, b"body", &[("a", "1"), ("b", "2")]);
    request.set_timeout(Duration::from_millis(1500));
    let one_way = frame(Kind::OneWay, Status::Ok, b"body", &[]);
    let response = frame(Kind::Response, Status::AppError, b"body", &[("a", "1")]);
    let heartbeat = frame(Kind::Heartbeat, Status::Ok, b"", &[]);
    Samples::new()
        .frame("request", Peer::Client, &FLAWLESS, request)
        .frame("one-way", Peer::Client, &FLAWLESS, one_way)
        .frame("response", Peer::Upstream, &FLAWLESS, response)
        .frame("heartbeat", Peer::Client, &FLAWLESS, heartbeat)
        .foreign("http", b"GET / HTTP/1.1\r\n\r\n")
}
