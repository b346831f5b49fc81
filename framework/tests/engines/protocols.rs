//! The least protocols that the engines can be driven with.

use std::mem;

use bytes::BytesMut;
use wiremesh::{
    DecodeError, Detection, Failure, Frame, HeaderView, Kind, Limits, Peer, Protocol, WriteBuf,
    correlation::{ById, Expect, InOrder, Multiplexed, Pipelined},
};

/// A message that is nothing but its id and what a test wants to recognise it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) nonce: u64,
    pub(crate) last: bool,
}

/// The nonce of messages that have no reply.
pub(crate) const ONE_WAY: u64 = u64::MAX;

impl Message {
    pub(crate) fn new(id: u64, nonce: u64) -> Self {
        Self { id, nonce, last: true }
    }
}

impl HeaderView for Message {}

impl Frame for Message {
    fn kind(&self) -> Kind {
        Kind::Request
    }

    fn wire_len(&self) -> usize {
        mem::size_of::<u64>()
    }
}

/// Ids of `BITS` bits. An id that does not fit is a test failure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids<const BITS: u32>;

/// Replies in order, encoded as their nonces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ordered;

macro_rules! protocol {
    ([$($params:tt)*] $name:ty, $correlation:ty) => {
        impl<$($params)*> Protocol for $name {
            type Frame = Message;
            type State = ();
            type Head = u64;
            type Correlation = $correlation;
            const NAME: &'static str = "test";

            fn detect(_: &[u8]) -> Detection {
                Detection::Match
            }

            fn decode(
                &self,
                _: Peer,
                (): &mut (),
                _: &Limits,
                _: &mut BytesMut,
            ) -> Result<Option<Message>, DecodeError> {
                Ok(None)
            }

            fn encode(&self, frame: Message, out: &mut WriteBuf) {
                out.put_slice(&frame.nonce.to_be_bytes());
            }

            fn head(&self, request: &Message) -> u64 {
                request.nonce
            }

            /// The failure of an odd request has no wire form.
            fn reply(&self, head: &u64, _: &Failure) -> Option<Message> {
                head.is_multiple_of(2).then(|| Message::new(0, head | FAILED))
            }
        }
    };
}

/// In the nonce of a reply that the proxy made.
pub(crate) const FAILED: u64 = 1 << 63;

protocol!([const BITS: u32] Ids<BITS>, ById);
protocol!([] Ordered, InOrder);

impl<const BITS: u32> Multiplexed for Ids<BITS> {
    const ID_BITS: u32 = BITS;

    fn id(&self, frame: &Message) -> u64 {
        frame.id
    }

    fn set_id(&self, frame: &mut Message, id: u64) {
        frame.id = id;
    }
}

impl Pipelined for Ordered {
    type Client = ();

    fn expects(&self, request: &Message) -> Expect {
        if request.nonce == ONE_WAY { Expect::None } else { Expect::One }
    }

    fn is_last(&self, reply: &Message) -> bool {
        reply.last
    }
}
