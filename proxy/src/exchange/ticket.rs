use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    rc::Rc,
    time::Instant,
};

use wiremesh::{
    Protocol,
    correlation::{Exchange, Expect, Own, Target},
    engine::Place,
};

use super::{client::Client, mirror::Mirrored, split::Split};
use crate::{
    cluster::LocalEndpoint,
    stations::{Passage, Replay},
};

/// A request on its way. It is handed on many times, so it stays in one place, which [`Tickets`] use again.
///
/// Never without [`Details`] until it is given back.
pub struct Ticket<P: Protocol>(Box<Option<Details<P>>>)
where
    P::Correlation: Exchange<P>;

/// Everything needed to answer, retry, and record a request.
pub struct Details<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub client: Rc<Client<P>>,
    pub place: Place,
    pub head: P::Head,
    pub expect: Expect,
    pub lane: u32,
    pub target: Target,
    /// Nothing else of the client's is looked at before it is answered.
    pub alone: Alone,
    /// Sent just before it, and nobody is told what is answered.
    pub before: Vec<P::Frame>,
    /// No deadline applies: it waits for something to happen.
    pub patient: bool,
    /// Not a part of a request that was split.
    pub whole: bool,
    /// The request that it is a part of.
    pub split: Option<Rc<Split>>,
    pub passage: Passage,
    /// Bytes of replies so far, where there are several.
    pub bytes_out: usize,
    /// How many things (rows) they have brought.
    pub items: u64,
    /// When this attempt is given up.
    pub try_deadline: Option<Instant>,
    /// How many replies said to ask elsewhere.
    pub redirects: u32,
    /// What its upstream lacked was sent once.
    pub supplied: bool,
    /// It is the one of its client's that is sent elsewhere now; others wait for it.
    pub leads: bool,
    /// How many times the request was sent, this time included.
    pub attempts: u32,
    /// Kept only where the route retries or replies may say to ask elsewhere, and until the first of several replies.
    pub replay: Option<Box<Replay<P>>>,
    /// It is a copy, or its answer is to be compared with that of one.
    pub mirrored: Option<Box<Mirrored<P>>>,
}

/// Whether a request is its client's only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It need not be.
    No,
    /// It must not be overtaken.
    Yes,
    /// And the client's machine is to see what is answered.
    Watched,
    /// It goes to a connection of the client's own.
    Private(Own),
}

impl<P: Protocol> Details<P>
where
    P::Correlation: Exchange<P>,
{
    /// The connection of the client's own that it goes to, if it does.
    pub fn own(&self) -> Option<Own> {
        match self.alone {
            Alone::Private(own) => Some(own),
            Alone::No | Alone::Yes | Alone::Watched => None,
        }
    }
}

/// A ticket that was sent, and where.
pub struct Sent<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub ticket: Ticket<P>,
    pub endpoint: Rc<LocalEndpoint>,
    /// When this attempt was sent.
    pub at: Instant,
    /// The connection's count of bytes at the end of this request: until that many are written, the upstream cannot
    /// have executed it.
    pub end: u64,
}

/// At most this many unused places are kept.
const SPARE_MAX: usize = 4096;

/// The places of a mesh's tickets that are not in use.
pub struct Tickets<P: Protocol>(RefCell<Vec<Ticket<P>>>)
where
    P::Correlation: Exchange<P>;

impl<P: Protocol> Tickets<P>
where
    P::Correlation: Exchange<P>,
{
    /// A ticket of these details.
    #[inline(always)]
    pub fn issue(&self, details: Details<P>) -> Ticket<P> {
        match self.0.borrow_mut().pop() {
            Some(mut ticket) => {
                *ticket.0 = Some(details);
                ticket
            }
            None => Ticket(Box::new(Some(details))),
        }
    }

    /// Drops a ticket's details and keeps its place.
    pub fn give_back(&self, mut ticket: Ticket<P>) {
        *ticket.0 = None;
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(ticket);
        }
    }
}

impl<P: Protocol> Default for Tickets<P>
where
    P::Correlation: Exchange<P>,
{
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<P: Protocol> Deref for Ticket<P>
where
    P::Correlation: Exchange<P>,
{
    type Target = Details<P>;

    #[inline]
    fn deref(&self) -> &Details<P> {
        let Some(details) = &*self.0 else { unreachable!("a ticket was given back") };
        details
    }
}

impl<P: Protocol> DerefMut for Ticket<P>
where
    P::Correlation: Exchange<P>,
{
    #[inline]
    fn deref_mut(&mut self) -> &mut Details<P> {
        let Some(details) = &mut *self.0 else { unreachable!("a ticket was given back") };
        details
    }
}
