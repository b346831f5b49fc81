use super::{Garbled, Reply, Wire};

const REQUEST_LEN: usize = 22;
const RESPONSE_LEN: usize = 20;
const TYPE_RESPONSE: u8 = 0;
const HESSIAN2: u8 = 1;
const REQUEST_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const RESPONSE_CLASS: &[u8] = b"com.alipay.sofa.rpc.core.response.SofaResponse";
/// What SOFARPC waits when nothing else is configured.
const TIMEOUT_MS: i32 = 3000;
/// What a Java client sends with every call, as far as routing looks at it.
const HEADERS: [(&[u8], &[u8]); 3] = [
    (b"service", b"com.example.bench.Echo:1.0"),
    (b"sofa_head_target_service", b"com.example.bench.Echo:1.0"),
    (b"sofa_head_method_name", b"echo"),
];

/// Bolt v1 with the class and headers of SOFARPC for Java; bodies are opaque bytes. Written out by hand, so that the
/// codec under test is not its own judge.
#[derive(Clone, Copy, Debug)]
pub struct Bolt;

/// Offsets of class, header and content, and the length of it all.
struct Layout {
    content: usize,
    end: usize,
}

impl Layout {
    fn of(input: &[u8]) -> Result<Option<Self>, Garbled> {
        let Some(kind) = input.get(..2) else { return Ok(None) };
        if kind[0] != 1 {
            return Err(Garbled("Bolt v1"));
        }
        let fixed = if kind[1] == TYPE_RESPONSE { RESPONSE_LEN } else { REQUEST_LEN };
        let Some(head) = input.get(..fixed) else { return Ok(None) };
        let short = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let content_len = u32::from_be_bytes([0, 1, 2, 3].map(|n| head[fixed - 4 + n])) as usize;
        let content = fixed + short(fixed - 8) + short(fixed - 6);
        Ok(Some(Self { content, end: content + content_len }))
    }
}

fn put_head(kind: u8, id: u32, out: &mut Vec<u8>) {
    let command = if kind == TYPE_RESPONSE { 2 } else { 1 };
    out.extend_from_slice(&[1, kind, 0, command, 1]);
    out.extend_from_slice(&id.to_be_bytes());
    out.push(HESSIAN2);
}

fn put_lengths(class: usize, header: usize, content: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(class as u16).to_be_bytes());
    out.extend_from_slice(&(header as u16).to_be_bytes());
    out.extend_from_slice(&(content as u32).to_be_bytes());
}

impl Wire for Bolt {
    fn message_len(&self, input: &[u8]) -> Result<Option<usize>, Garbled> {
        Ok(Layout::of(input)?.map(|layout| layout.end))
    }

    fn put_request(&self, id: u32, body: &[u8], out: &mut Vec<u8>) {
        let header_len = HEADERS.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        put_head(1, id, out);
        out.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
        put_lengths(REQUEST_CLASS.len(), header_len, body.len(), out);
        out.extend_from_slice(REQUEST_CLASS);
        for text in HEADERS.iter().flat_map(|(name, value)| [name, value]) {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text);
        }
        out.extend_from_slice(body);
    }

    fn put_reply(&self, request: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled> {
        let layout = Layout::of(request)?.ok_or(Garbled("a whole request"))?;
        if request[1] != 1 {
            return Err(Garbled("a request"));
        }
        let body = request.get(layout.content..layout.end).ok_or(Garbled("a whole request"))?;
        put_head(TYPE_RESPONSE, u32::from_be_bytes([5, 6, 7, 8].map(|at| request[at])), out);
        out.extend_from_slice(&0u16.to_be_bytes());
        put_lengths(RESPONSE_CLASS.len(), 0, body.len(), out);
        out.extend_from_slice(RESPONSE_CLASS);
        out.extend_from_slice(body);
        Ok(())
    }

    fn read_reply<'a>(&self, reply: &'a [u8]) -> Result<Reply<'a>, Garbled> {
        let layout = Layout::of(reply)?.ok_or(Garbled("a whole response"))?;
        if reply[1] != TYPE_RESPONSE {
            return Err(Garbled("a response"));
        }
        if reply[10..12] != [0, 0] {
            return Err(Garbled("a successful response"));
        }
        let body = reply.get(layout.content..layout.end).ok_or(Garbled("a whole response"))?;
        Ok(Reply { id: Some(u32::from_be_bytes([5, 6, 7, 8].map(|at| reply[at]))), body })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use wiremesh::{Frame, Kind, Limits, Peer, Protocol, Status};
    use wiremesh_bolt::BoltFrame;

    use super::*;

    fn decode(peer: Peer, bytes: &[u8]) -> BoltFrame {
        let protocol = wiremesh_bolt::Bolt::default();
        let mut input = BytesMut::from(bytes);
        let frame = protocol
            .decode(peer, &mut Default::default(), &Limits::default(), &mut input)
            .unwrap()
            .unwrap();
        assert!(input.is_empty());
        frame
    }

    #[test]
    fn the_codec_understands_a_request() {
        let mut request = Vec::new();
        Bolt.put_request(7, b"body", &mut request);
        assert_eq!(Bolt.message_len(&request), Ok(Some(request.len())));
        let frame = decode(Peer::Client, &request);
        assert_eq!(frame.kind(), Kind::Request);
        assert_eq!(frame.id(), 7);
        assert_eq!(frame.service().as_deref(), Some("com.example.bench.Echo:1.0"));
        assert_eq!(frame.method().as_deref(), Some("echo"));
        assert_eq!(frame.content(), b"body");
    }

    #[test]
    fn the_codec_understands_a_reply() {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        Bolt.put_request(0x0102_0304, b"body", &mut request);
        Bolt.put_reply(&request, &mut reply).unwrap();
        assert_eq!(Bolt.read_reply(&reply), Ok(Reply { id: Some(0x0102_0304), body: b"body" }));
        let frame = decode(Peer::Upstream, &reply);
        assert_eq!(
            (frame.kind(), frame.status(), frame.id()),
            (Kind::Response, Status::Ok, 0x0102_0304)
        );
        reply[11] = 7;
        assert_eq!(Bolt.read_reply(&reply), Err(Garbled("a successful response")));
        assert_eq!(Bolt.put_reply(&reply, &mut Vec::new()), Err(Garbled("a request")));
    }

    #[test]
    fn half_a_message_has_no_length_before_its_fixed_part_is_there() {
        let mut request = Vec::new();
        Bolt.put_request(1, &[0; 300], &mut request);
        for len in 0..request.len() {
            let known = (len >= REQUEST_LEN).then_some(request.len());
            assert_eq!(Bolt.message_len(&request[..len]), Ok(known), "{len} bytes");
        }
        assert_eq!(Bolt.message_len(b"GET / HTTP"), Err(Garbled("Bolt v1")));
    }
}
