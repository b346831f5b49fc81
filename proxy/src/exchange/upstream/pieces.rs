//! Replies that are too long to be held: they reach their client piece by piece, as they come.

use std::rc::Rc;

use wiremesh::{
    Frame, Kind, Piece, Protocol, Reason, Status,
    correlation::Exchange,
    engine::{Engine, Inbox, Received},
};

use super::{Upstream, task::Ended};
use crate::exchange::{
    Mesh,
    client::Client,
    ticket::{Alone, Sent},
};

/// A reply that is being passed on.
pub(super) struct Passing<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    /// Whose it is; `None` where nobody wants it any more, and it is dropped as it comes.
    pub(super) sent: Option<Sent<P>>,
    status: Status,
}

impl<P: Protocol> Upstream<P>
where
    P::Correlation: Exchange<P>,
{
    /// Whether the next reply may reach its client as it comes: it is the client's turn to be told just this, and nobody
    /// has to see the whole of it. Also where nobody is told.
    pub(super) fn may_pass(&self) -> bool {
        let engine = self.engine.borrow();
        let Some(next) = engine.sole_next() else { return false };
        let Some(Sent { ticket, .. }) = next else { return true };
        let client = &ticket.client;
        ticket.whole
            && ticket.alone != Alone::Watched
            && ticket.mirrored.is_none()
            && ticket.passage.listener.filters.is_empty()
            && (client.is_gone() || client.inbox.borrow().is_turn(ticket.place))
    }

    /// The beginning of the next reply. Gives the client back that must be waited for before more is read, if one must.
    pub(super) fn on_begun(
        self: &Rc<Self>,
        mesh: &Rc<Mesh<P>>,
        mut frame: P::Frame,
    ) -> Result<Option<Rc<Client<P>>>, Ended> {
        let broken = || Err((Reason::BadReply, "a reply begins as none can".to_owned()));
        let own = self.engine.borrow().is_own_next();
        if let (Some(holder), false) = (self.holder(), own) {
            let len = frame.wire_len();
            mesh.show(&holder, &self.cluster, &mut frame, holder.number_of(self));
            if frame.wire_len() != len {
                return broken();
            }
        }
        if frame.kind() != Kind::Response {
            return broken();
        }
        let mut engine = self.engine.borrow_mut();
        let mut sent = match engine.receive(&mesh.protocol, &mut frame) {
            Received::Last(sent) => sent,
            Received::Late => {
                self.series.late_replies.inc();
                *self.passing.borrow_mut() = Some(Passing { sent: None, status: Status::Ok });
                return Ok(None);
            }
            Received::More(_) | Received::Unknown => return broken(),
        };
        drop(engine);
        if sent.ticket.patient {
            self.patient.set(self.patient.get().saturating_sub(1));
        }
        // What has been answered in part cannot be tried again.
        sent.ticket.replay = None;
        sent.ticket.bytes_out += frame.wire_len();
        sent.ticket.items += frame.items();
        let client = sent.ticket.client.clone();
        if <P::Correlation as Exchange<P>>::STATEFUL {
            client.note_executed(&sent.ticket);
        }
        let (status, place) = (frame.status(), sent.ticket.place);
        *self.passing.borrow_mut() = Some(Passing { sent: Some(sent), status });
        client.set_amid(self);
        mesh.replied_more(&client, place, frame);
        Ok(client.holds_back(self).then_some(client))
    }

    /// More of the reply that was begun; the same.
    pub(super) fn on_piece(
        self: &Rc<Self>,
        mesh: &Rc<Mesh<P>>,
        piece: Piece,
    ) -> Option<Rc<Client<P>>> {
        let mut passing = self.passing.borrow_mut();
        let wanted = passing.as_mut().and_then(|passing| passing.sent.as_mut());
        let client = wanted.map(|sent| {
            sent.ticket.bytes_out += piece.bytes.len();
            sent.ticket.client.clone()
        });
        if let Some(client) = client.as_ref().filter(|client| !client.is_gone()) {
            client.owe(mesh, |out| out.put(piece.bytes));
        }
        if piece.last {
            let ended = passing.take();
            drop(passing);
            if let Some(Passing { sent: Some(sent), status }) = ended {
                mesh.passed(sent, status);
            }
            if let Some(holder) = self.holder() {
                mesh.release(&holder, false);
            }
        }
        client.filter(|client| client.holds_back(self))
    }
}
