use bytes::BytesMut;
use wiremesh::{
    DecodeError, Detection, Failure, HeaderSupport, Kind, Limits, OptionError, Peer, Protocol,
    WriteBuf,
    correlation::{ById, Multiplexed},
};

use crate::{
    BoltFrame, Builder, RequestHead, Version,
    decode::{self, Progress},
    reply,
};

/// The protocol, with its options.
#[derive(Clone, Debug, Default)]
pub struct Bolt {
    go_away: bool,
}

impl Protocol for Bolt {
    type Frame = BoltFrame;
    type State = Progress;
    type Head = RequestHead;
    type Correlation = ById;

    const NAME: &'static str = "bolt";
    const HEADERS: HeaderSupport = HeaderSupport::Edit;

    /// By protocol code, `ver1`, type and command: four bytes of v1, five of v2. A client does not begin with an answer.
    fn detect(prefix: &[u8]) -> Detection {
        match decode::opening(prefix) {
            Ok(Some((_, Kind::Response | Kind::HeartbeatReply))) => Detection::Mismatch,
            Ok(Some(_)) => Detection::Match,
            Ok(None) if prefix.first() == Some(&2) => Detection::NeedMore(5),
            Ok(None) => Detection::NeedMore(4),
            Err(_) => Detection::Mismatch,
        }
    }

    #[inline]
    fn decode(
        &self,
        _from: Peer,
        state: &mut Progress,
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<BoltFrame>, DecodeError> {
        decode::decode(state, limits, input)
    }

    #[inline]
    fn encode(&self, frame: BoltFrame, out: &mut WriteBuf) {
        frame.encode(out);
    }

    #[inline]
    fn head(&self, request: &BoltFrame) -> RequestHead {
        RequestHead::of(request)
    }

    fn reply(&self, request: &RequestHead, failure: &Failure) -> Option<BoltFrame> {
        reply::reply(request, failure)
    }

    /// The [`Version`]: a Java server answers a connection in the version of the first frame it read there.
    #[inline]
    fn lane(&self, request: &BoltFrame) -> u32 {
        request.version().lane()
    }

    /// As SOFABolt sends it: without timeout, switch and CRC.
    fn heartbeat(&self, lane: u32) -> Option<BoltFrame> {
        let version = Version::from_lane(lane)?;
        Builder { version, kind: Kind::Heartbeat, ..Builder::default() }.build().ok()
    }

    fn heartbeat_reply(&self, probe: &BoltFrame) -> Option<BoltFrame> {
        let (version, id) = (probe.version(), probe.id());
        Builder { version, kind: Kind::HeartbeatReply, id, ..Builder::default() }.build().ok()
    }

    /// Only with the option `go_away`: SOFABolt for Java closes the connection on it.
    fn go_away(&self, lane: u32) -> Option<BoltFrame> {
        let version = Version::from_lane(lane).filter(|_| self.go_away)?;
        Builder { version, kind: Kind::GoAway, timeout: 0, ..Builder::default() }.build().ok()
    }

    /// `go_away`: `true` sends MOSN's go-away (command 100) when draining. Default `false`.
    fn set_option(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        match name {
            "go_away" => {
                self.go_away =
                    value.parse().map_err(|_| OptionError::Value("true or false".into()))?;
                Ok(())
            }
            _ => Err(OptionError::Unknown("the only one is go_away")),
        }
    }
}

impl Multiplexed for Bolt {
    const ID_BITS: u32 = 32;

    #[inline]
    fn id(&self, frame: &BoltFrame) -> u64 {
        u64::from(frame.id())
    }

    #[inline]
    fn set_id(&self, frame: &mut BoltFrame, id: u64) {
        frame.set_id(id as u32);
    }
}
