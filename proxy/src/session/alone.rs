//! Requests that the machine answers by itself: they go nowhere, and pass the stations and are recorded like others.

use std::rc::Rc;

use wiremesh::{
    Frame, Kind,
    correlation::{Attachment, SessionMachine, Sessioned},
};

use super::{Sessions, client::Client, ticket::Ticket};
use crate::stations::{Decision, Known, Look, Outcome};

impl<P: Sessioned> Sessions<P> {
    /// A request, or a further part of one, to which the machine has the answer, if one is due.
    pub(super) fn answer_alone(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        request: P::Frame,
        attachment: Attachment,
    ) {
        let begun = client.session.borrow_mut().alone.take();
        let Some(mut ticket) = (match begun {
            Some(mut ticket) => {
                ticket.passage.bytes_in += request.wire_len();
                Some(ticket)
            }
            None => self.pass_alone(client, request),
        }) else {
            return;
        };
        let answer = client.session.borrow_mut().machine.answer();
        if let Some(answer) = answer {
            ticket.status = answer.status();
            ticket.error = answer.error_class();
            ticket.bytes_out += answer.wire_len();
            client.owe(self, |out| self.protocol.encode(answer, out));
        }
        match attachment {
            Attachment::Reset => self.let_go(client),
            Attachment::Refused => client.close(),
            _ => {}
        }
        let mut session = client.session.borrow_mut();
        session.refused = session.machine.is_open();
        if session.refused && attachment != Attachment::Refused {
            session.alone = Some(ticket);
        } else {
            drop(session);
            self.record_alone(client, &ticket);
        }
    }

    /// Leads it past the stations; `None`: it was refused there.
    fn pass_alone(
        self: &Rc<Self>,
        client: &Rc<Client<P>>,
        mut request: P::Frame,
    ) -> Option<Box<Ticket<P>>> {
        let listener = client.listener.borrow().clone();
        let upstream = client.session.borrow().upstream.clone();
        let held = upstream.as_ref().map(|upstream| &upstream.pool.cluster);
        let head = self.protocol.head(&request);
        let replies = request.kind() == Kind::Request;
        let Decision { passage, refused, .. } = if replies {
            let known = Known { route: None, cluster: held };
            self.worker.pass(&self.protocol, &listener, &mut request, known)
        } else {
            self.worker.follow(&self.protocol, &listener, &request, None, held)
        };
        self.worker.look_at(&self.protocol, &passage, &request, Look::ALL);
        let ticket = Ticket::new(passage, head, replies);
        match refused {
            Some(failure) => {
                self.refuse(client, ticket, None, &failure);
                None
            }
            None => Some(Box::new(ticket)),
        }
    }

    /// More of a request that goes nowhere has come, and goes there, too.
    pub(super) fn drop_rest(&self, client: &Client<P>, rest: &P::Frame) {
        let mut session = client.session.borrow_mut();
        let open = session.machine.is_open();
        let Some(ticket) = &mut session.alone else { return };
        ticket.passage.bytes_in += rest.wire_len();
        if !open && let Some(ticket) = session.alone.take() {
            drop(session);
            self.record_alone(client, &ticket);
        }
    }

    fn record_alone(&self, client: &Client<P>, ticket: &Ticket<P>) {
        let outcome = Outcome {
            status: ticket.status,
            error: ticket.error,
            reason: None,
            bytes_out: ticket.bytes_out,
            items: 0,
        };
        ticket.passage.record(&self.worker, &client.peer, None, outcome);
    }

    /// Its client has left before it was over.
    pub(super) fn abandon_alone(&self, client: &Client<P>) {
        if let Some(ticket) = client.session.borrow_mut().alone.take() {
            self.conclude_gone(client, &ticket, None);
        }
    }
}
