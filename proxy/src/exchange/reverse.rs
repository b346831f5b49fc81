//! What an upstream sends without having been asked: requests to its client, pushes.

use std::rc::Rc;

use wiremesh::{
    Failure, Frame, Kind, Protocol, Reason,
    correlation::Exchange,
    engine::{Engine, Received},
};

use super::{Mesh, client::Client, upstream::Upstream};

/// The most requests of its servers' that one client has open.
const CAPACITY: usize = 1024;

/// Requests of upstreams' that their client has still to answer.
pub struct Reverse<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    engine: <P::Correlation as Exchange<P>>::Engine<Rc<Upstream<P>>>,
}

impl<P: Protocol> Reverse<P>
where
    P::Correlation: Exchange<P>,
{
    /// How many of them there are.
    pub fn pending(&self) -> usize {
        self.engine.in_flight()
    }
}

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// Passes an upstream's request or push on to the client that has the connection for itself. On a shared connection
    /// nobody can say whom it is for: a request is refused, anything else is dropped and counted.
    pub(super) fn on_unsolicited(&self, upstream: &Rc<Upstream<P>>, mut frame: P::Frame) {
        let Some(client) = upstream.owner().filter(|client| !client.is_gone()) else {
            upstream.series.unknown_replies.inc();
            if frame.kind() == Kind::Request {
                let failure = Failure::new(
                    Reason::NoRoute,
                    "this upstream connection is shared by many clients (dedicated: true gives each its own)",
                );
                if let Some(reply) = self.protocol.reply(&self.protocol.head(&frame), &failure) {
                    upstream.append(self, reply);
                }
            }
            return;
        };
        if frame.kind() != Kind::Push {
            let mut reverse = client.reverse.borrow_mut();
            let reverse = reverse.get_or_insert_with(|| {
                Box::new(Reverse { engine: Engine::<P, _>::with_capacity(CAPACITY) })
            });
            if frame.kind() == Kind::OneWay {
                reverse.engine.stamp(&self.protocol, &mut frame);
            } else {
                let expect = <P::Correlation as Exchange<P>>::expects(&self.protocol, &frame);
                let head = self.protocol.head(&frame);
                let sent =
                    reverse.engine.send(&self.protocol, &mut frame, expect, None, upstream.clone());
                if sent.is_err() {
                    let failure =
                        Failure::new(Reason::Overloaded, "the client answers too few requests");
                    if let Some(reply) = self.protocol.reply(&head, &failure) {
                        upstream.append(self, reply);
                    }
                    return;
                }
            }
        }
        client.tell(self, frame);
    }

    /// Passes a client's answer on to the upstream that asked.
    pub(super) fn on_reverse_reply(&self, client: &Rc<Client<P>>, mut reply: P::Frame) {
        let mut reverse = client.reverse.borrow_mut();
        let Some(reverse) = reverse.as_mut() else { return };
        if let Received::Last(upstream) = reverse.engine.receive(&self.protocol, &mut reply) {
            upstream.append(self, reply);
        }
    }
}
