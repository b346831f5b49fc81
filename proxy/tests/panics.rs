//! A private protocol whose code panics costs the connection that made it panic, and nothing else.

mod common;

use bytes::BytesMut;
use wiremesh::{
    DecodeError, Detection, Failure, Limits, Peer, Protocol, Status, WriteBuf,
    correlation::{ById, Multiplexed},
};
use wiremesh_proxy::{registry::Registry, server::Server};
use wiremesh_toys::{Mx, multiplexed::Message};

use common::{address, block_on, client::Client, config, eventually, upstream::Upstream};

/// The multiplexed toy, but for a decoder that panics at messages whose payload says so.
#[derive(Clone)]
struct Fragile;

impl Protocol for Fragile {
    type Frame = Message;
    type State = ();
    type Head = u64;
    type Correlation = ById;
    const NAME: &'static str = "fragile";

    fn detect(prefix: &[u8]) -> Detection {
        Mx::detect(prefix)
    }

    fn decode(
        &self,
        from: Peer,
        state: &mut (),
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<Message>, DecodeError> {
        let frame = Mx.decode(from, state, limits, input)?;
        let panics_at: &[u8] = match from {
            Peer::Client => b"panic at the request",
            Peer::Upstream => b"panic at the reply",
        };
        assert!(frame.as_ref().is_none_or(|f| f.payload() != panics_at), "as it was told to");
        Ok(frame)
    }

    fn encode(&self, frame: Message, out: &mut WriteBuf) {
        Mx.encode(frame, out);
    }

    fn head(&self, request: &Message) -> u64 {
        Mx.head(request)
    }

    fn reply(&self, id: &u64, failure: &Failure) -> Option<Message> {
        Mx.reply(id, failure)
    }
}

impl Multiplexed for Fragile {
    const ID_BITS: u32 = Mx::ID_BITS;

    fn id(&self, frame: &Message) -> u64 {
        Mx.id(frame)
    }

    fn set_id(&self, frame: &mut Message, id: u64) {
        Mx.set_id(frame, id);
    }
}

#[test]
fn a_panic_costs_one_connection() {
    let upstream = Upstream::start();
    let mut config = config(&[upstream.address]);
    config.workers = Some(1);
    config.listeners[0].protocols = vec!["fragile".into()];
    let registry = Registry::new().with(Fragile);
    let proxy = Server::new(config, registry).start().expect("the proxy starts");
    block_on(async {
        let bystander = Client::connect(address(&proxy)).await.expect("connect");
        bystander.check("echo", "before").await;

        let breaking = Client::connect(address(&proxy)).await.expect("connect");
        assert_eq!(breaking.call("echo", b"panic at the request").await, None);
        eventually("it is closed", || breaking.is_closed()).await;
        bystander.check("echo", "after a client's").await;

        // The requests on the upstream's connection are answered, not left waiting.
        let reply = bystander.call("echo", b"panic at the reply").await.expect("connected");
        assert_eq!(reply.status, Status::Internal);
        assert!(reply.text().contains("wiremesh UPE"), "{}", reply.text());
        bystander.check("echo", "after an upstream's").await;
        eventually("the books are right", || {
            let totals = proxy.metrics().snapshot();
            let endpoint = totals.endpoint(common::NAME, &upstream.address.to_string());
            endpoint.is_some_and(|e| e.in_flight == 0 && e.connections_active() == 1)
        })
        .await;
    });
}
