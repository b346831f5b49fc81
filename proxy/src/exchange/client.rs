//! One client connection: what its requests and their replies see of it.

mod task;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ptr,
    rc::Rc,
    task::Waker,
    time::Instant,
};

use wiremesh::{
    Failure, Frame, Kind, Lane, Protocol, Reason, WriteBuf,
    correlation::{Access, Exchange, Expect, Homes, Own, Step, Target, View},
    engine::Inbox,
};

pub use self::task::ClientTask;
use super::{
    Mesh, PoolKey,
    redirect::Elsewhere,
    reverse::Reverse,
    ticket::{Details, Ticket},
    upstream::Upstream,
};
use crate::cluster::LocalCluster;
use crate::net::Addresses;
use crate::worker::{Accepted, ListenerView, OWED_HIGH, Overdue, Pace};

/// One client connection, as its requests' replies see it.
pub struct Client<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub id: u64,
    pub peer: String,
    /// Where it comes from, and where it has connected to.
    pub addresses: Option<Addresses>,
    /// The address that it connected to.
    pub local: String,
    pub listener: RefCell<Rc<ListenerView>>,
    pub out: RefCell<WriteBuf>,
    pub inbox: RefCell<<P::Correlation as Exchange<P>>::Inbox>,
    pub reverse: RefCell<Option<Box<Reverse<P>>>>,
    /// Says what becomes of its requests.
    pub machine: RefCell<<P::Correlation as Exchange<P>>::Client>,
    /// The lane of its last request: how to address it unasked.
    pub lane: Cell<Lane>,
    /// The upstream connections that it has for itself, while state of its is on them.
    pub private: RefCell<Vec<(Own, Rc<Upstream<P>>)>>,
    /// Where its requests go, by pool, where they must not overtake one another.
    pub lines: RefCell<Vec<Rc<Upstream<P>>>>,
    /// Whose requests the copies of its requests are, once there was one.
    pub shadow: RefCell<Option<Rc<Self>>>,
    /// What waits until nothing is in flight.
    parked: RefCell<Option<Step<P>>>,
    /// The version of the routes that its requests in flight were sent by.
    pub routes: Cell<u64>,
    /// The request in flight must stay the only one.
    alone: Cell<bool>,
    /// One of its requests is sent elsewhere just now.
    led: Cell<bool>,
    /// It waits before it is sent again: its turn and what it is about, and whether one about the same, sent behind it,
    /// was executed meanwhile.
    waits: Cell<Option<(u64, Target, bool)>>,
    /// Those that are to be sent elsewhere after it.
    pub elsewhere: RefCell<VecDeque<Elsewhere<P>>>,
    in_flight: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    /// Woken, and not polled since.
    woken: Cell<bool>,
    state: Cell<State>,
    /// The upstream of which it has a part of a reply, the rest being still to come; null: none.
    amid: Cell<*const Upstream<P>>,
    /// What is to be said to it behind that reply, and answers nothing.
    after: RefCell<Vec<P::Frame>>,
    /// Whether an upstream that this client sends to has too much to write already.
    clogged: Cell<bool>,
    /// It has held others up, and has upstream connections of its own since.
    pub apart: Cell<bool>,
    /// How much it may be owed beyond the usual before an upstream is not read.
    pub slack: Cell<usize>,
    /// Upstreams that are not read while this client is owed too much.
    feeders: RefCell<Vec<Rc<Upstream<P>>>>,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Reads nothing more; closes when everything owed is written.
    Closing,
    /// The socket is gone; replies are dropped.
    Closed,
}

impl<P: Protocol> Client<P>
where
    P::Correlation: Exchange<P>,
{
    pub fn new(id: u64, accepted: &Accepted, now: Instant) -> Self {
        let local = accepted.stream.local_text();
        let addresses = accepted.told.or_else(|| accepted.stream.addresses());
        let listener = accepted.listener.clone();
        Self { addresses, ..Self::with(id, accepted.peer.clone(), local, listener, now) }
    }

    fn with(
        id: u64,
        peer: String,
        local: String,
        listener: Rc<ListenerView>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            peer,
            addresses: None,
            local,
            listener: RefCell::new(listener),
            shadow: RefCell::default(),
            out: RefCell::default(),
            inbox: RefCell::default(),
            reverse: RefCell::default(),
            machine: RefCell::default(),
            lane: Cell::new(0),
            private: RefCell::default(),
            lines: RefCell::default(),
            parked: RefCell::default(),
            routes: Cell::new(0),
            alone: Cell::new(false),
            led: Cell::new(false),
            waits: Cell::new(None),
            elsewhere: RefCell::default(),
            in_flight: Cell::new(0),
            waker: RefCell::default(),
            woken: Cell::new(false),
            state: Cell::new(State::Open),
            amid: Cell::new(ptr::null()),
            after: RefCell::default(),
            clogged: Cell::new(false),
            apart: Cell::new(false),
            slack: Cell::new(0),
            feeders: RefCell::default(),
            pace: Pace::new(now),
        }
    }

    /// What its machine is told of a cluster.
    #[inline(always)]
    pub fn view<'a>(&'a self, cluster: Option<&'a Rc<LocalCluster>>) -> View<'a> {
        View {
            client: self.id,
            peer: &self.peer,
            local: &self.local,
            shards: cluster.map_or(0, |cluster| cluster.shards()),
            nodes: cluster.map_or(0, |cluster| cluster.nodes()),
            homes: cluster.map(|cluster| &**cluster as &dyn Homes),
            own: None,
            cluster: cluster.map_or(0, |cluster| cluster.number()),
            divided: false,
            portions: &[],
        }
    }

    /// A client in whose name copies of this one's requests are sent: it has gone, and hears of nothing.
    pub fn shadow(&self, now: Instant) -> Rc<Self> {
        let mut shadow = self.shadow.borrow_mut();
        let new = || {
            let listener = self.listener.borrow().clone();
            let new = Self::with(self.id, self.peer.clone(), self.local.clone(), listener, now);
            new.state.set(State::Closed);
            Rc::new(Self { addresses: self.addresses, ..new })
        };
        shadow.get_or_insert_with(new).clone()
    }

    /// The upstream connection of this number that it has for itself.
    pub fn own(&self, number: Own) -> Option<Rc<Upstream<P>>> {
        let private = self.private.borrow();
        private.iter().find(|(own, _)| *own == number).map(|(_, upstream)| upstream.clone())
    }

    /// The number of this upstream connection, if the client has it for itself.
    pub fn number_of(&self, upstream: &Upstream<P>) -> Option<Own> {
        let private = self.private.borrow();
        private.iter().find(|(_, own)| std::ptr::eq(&**own, upstream)).map(|(own, _)| *own)
    }

    /// Whether replies can still reach it.
    pub fn is_gone(&self) -> bool {
        self.state.get() == State::Closed
    }

    /// Requests that await a reply.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// Counts a request in.
    pub fn begin(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Counts a request out.
    pub fn end(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// The connection of this pool that its requests go to, where it has one: its requests must not overtake one
    /// another on two.
    pub fn line(&self, key: PoolKey) -> Result<Option<Rc<Upstream<P>>>, Failure> {
        let mut lines = self.lines.borrow_mut();
        let Some(index) = lines.iter().position(|line| line.key.get() == key) else {
            return Ok(None);
        };
        let Some(line) = lines.get(index) else { return Ok(None) };
        if line.is_usable() {
            return Ok(Some(line.clone()));
        }
        if !line.is_answered() && self.in_flight.get() > 1 {
            return Err(Failure::new(Reason::Overloaded, "the upstream connection is full"));
        }
        lines.swap_remove(index);
        Ok(None)
    }

    /// Whether a request may be sent elsewhere now: none other is.
    pub fn lead(&self) -> bool {
        !self.led.replace(true)
    }

    /// A request is sent again in a moment.
    pub fn wait_for(&self, ticket: &Details<P>) {
        self.waits.set(Some((ticket.place.turn, subject(ticket.target), false)));
    }

    /// A request was executed.
    pub fn note_executed(&self, ticket: &Details<P>) {
        if let Some((turn, about, false)) = self.waits.get()
            && ticket.place.turn > turn
            && subject(ticket.target) == about
        {
            self.waits.set(Some((turn, about, true)));
        }
        for waiting in &mut *self.elsewhere.borrow_mut() {
            let theirs = &waiting.ticket;
            waiting.overtaken |= ticket.place.turn > theirs.place.turn
                && subject(ticket.target) == subject(theirs.target);
        }
    }

    /// Whether requests are with upstreams that are not sent elsewhere, or not yet.
    pub fn has_others_out(&self) -> bool {
        self.in_flight.get() as usize > 1 + self.elsewhere.borrow().len()
    }

    /// Whether the request that waited was overtaken. It waits no more.
    pub fn was_overtaken(&self) -> bool {
        self.waits.take().is_some_and(|(_, _, overtaken)| overtaken)
    }

    /// The request that was sent elsewhere is at its end.
    pub fn led_home(&self) {
        self.led.set(false);
        self.wake();
    }

    /// Takes no further request before this one is answered, or any more once it is.
    pub fn set_alone(&self, alone: bool) {
        self.alone.set(alone);
        if !alone {
            self.wake();
        }
    }

    /// Takes no further request before all are answered, and then does this.
    pub fn park(&self, step: Step<P>) {
        *self.parked.borrow_mut() = Some(step);
        self.wake();
    }

    /// What was to be done when nothing is in flight, if that is so.
    pub fn unpark(&self) -> Option<Step<P>> {
        if self.in_flight.get() > 0 {
            return None;
        }
        self.parked.borrow_mut().take()
    }

    /// Whether something waits until nothing is in flight.
    pub fn is_parked(&self) -> bool {
        self.parked.borrow().is_some()
    }

    /// Appends to what the client is owed, by `write`, and sees to it that it is written.
    pub fn owe<R>(&self, mesh: &Mesh<P>, write: impl FnOnce(&mut WriteBuf) -> R) -> R {
        let mut out = self.out.borrow_mut();
        mesh.worker.buffers.to_clients.lend(&mut out);
        let result = write(&mut out);
        let full = out.len() > OWED_HIGH;
        drop(out);
        if full && self.pace.stalled_since.get().is_none() {
            self.pace.stalled_since.set(Some(mesh.worker.now()));
        }
        self.wake();
        result
    }

    /// Takes note that the client has a part of a reply of this upstream's.
    pub fn set_amid(&self, upstream: &Rc<Upstream<P>>) {
        self.amid.set(Rc::as_ptr(upstream));
    }

    /// The client has all of it, and is told what had to wait for that.
    pub fn end_amid(&self, mesh: &Mesh<P>) {
        self.amid.set(ptr::null());
        let after = self.after.take();
        if !after.is_empty() {
            self.owe(mesh, |out| after.into_iter().for_each(|it| mesh.protocol.encode(it, out)));
        }
        if self.pace.stalled_since.get().is_none() {
            self.release_feeders();
        }
    }

    /// Says something that answers nothing: at once, or behind a reply that the client has a part of.
    pub fn tell(&self, mesh: &Mesh<P>, frame: P::Frame) {
        if self.amid.get().is_null() {
            self.owe(mesh, |out| mesh.protocol.encode(frame, out));
        } else {
            self.after.borrow_mut().push(frame);
        }
    }

    /// Reads no further requests until an upstream has room for them again.
    pub fn set_clogged(&self, clogged: bool) {
        self.clogged.set(clogged);
        if !clogged {
            self.wake();
        }
    }

    /// Whether the client is owed so much that `upstream` must not be read; it is told when that is over.
    pub fn holds_back(&self, upstream: &Rc<Upstream<P>>) -> bool {
        let stalled = self.pace.stalled_since.get().is_some();
        if !stalled && self.amid.get().is_null() || self.is_gone() {
            return false;
        }
        if stalled && self.out.borrow().len() <= self.slack.get() {
            return false;
        }
        if !stalled && (self.after.borrow().is_empty() || self.amid.get() == Rc::as_ptr(upstream)) {
            return false;
        }
        let mut feeders = self.feeders.borrow_mut();
        if !feeders.iter().any(|f| Rc::ptr_eq(f, upstream)) {
            feeders.push(upstream.clone());
        }
        true
    }

    /// Has the driver look again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow()
            && !self.woken.replace(true)
        {
            waker.wake_by_ref();
        }
    }

    /// Reads nothing more, and closes when all that is owed is written.
    pub fn close(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Closing);
            self.wake();
        }
    }

    /// Closes at once; replies still to come are dropped.
    pub fn kill(&self) {
        self.state.set(State::Closed);
        self.release_feeders();
        self.wake();
    }

    fn release_feeders(&self) {
        self.pace.stalled_since.set(None);
        for feeder in self.feeders.take() {
            feeder.wake();
        }
    }

    /// Whether an upstream waits for an answer of the client's.
    pub fn owes_answers(&self) -> bool {
        self.reverse.borrow().as_ref().is_some_and(|reverse| reverse.pending() > 0)
    }

    /// What is wrong with the client's pace, if anything: it neither sends nor takes what it should.
    pub fn overdue(&self, now: Instant) -> Option<Overdue> {
        let attached = !self.private.borrow().is_empty();
        let asked = self.in_flight.get() > 0 || attached || self.owes_answers();
        let busy = asked || !self.out.borrow().is_empty();
        self.pace.overdue(&self.listener.borrow().config, busy, now)
    }

    /// Whether nothing is in progress, and has not been since `since`.
    pub fn is_quiet_since(&self, since: Instant) -> bool {
        self.in_flight.get() == 0
            && !self.owes_answers()
            && self.pace.partial_since.get().is_none()
            && self.pace.last_activity.get() <= since
            && self.out.borrow().is_empty()
    }
}

/// What a request is about, whether it reads or writes.
fn subject(target: Target) -> Target {
    match target {
        Target::Slot(slot, _) => Target::Slot(slot, Access::Write),
        Target::Shard(shard, _) => Target::Shard(shard, Access::Write),
        other => other,
    }
}

impl<P: Protocol> Mesh<P>
where
    P::Correlation: Exchange<P>,
{
    /// One frame of a client's.
    fn on_client_frame(self: &Rc<Self>, client: &Rc<Client<P>>, frame: P::Frame) {
        match frame.kind() {
            Kind::Request | Kind::OneWay => self.on_request(client, frame),
            Kind::Response => self.on_reverse_reply(client, frame),
            Kind::Heartbeat => {
                client.listener.borrow().series.heartbeats.inc();
                if let Some(reply) = self.protocol.heartbeat_reply(&frame) {
                    self.say(client, reply);
                }
            }
            // Signs of life; a client that goes away simply sends nothing more.
            Kind::HeartbeatReply | Kind::GoAway | Kind::Push => {}
        }
    }

    /// Says something of the proxy's own, in order with the replies that are owed where the protocol has an order.
    pub fn say(&self, client: &Rc<Client<P>>, reply: P::Frame) {
        let place = client.inbox.borrow_mut().admit(Expect::One);
        client.owe(self, |out| {
            client.inbox.borrow_mut().reply(&self.protocol, place, reply, true, out);
        });
    }

    /// Answers a request by the proxy's own failure.
    pub fn answer(&self, ticket: &Ticket<P>, failure: &Failure) {
        let Details { client, place, head, .. } = &**ticket;
        if client.is_gone() {
            return;
        }
        let filters = &ticket.passage.listener.filters;
        let told = client.owe(self, |out| {
            let mut inbox = client.inbox.borrow_mut();
            // A part of a request has no reply of its own that could be shown to filters.
            if ticket.whole && !filters.is_empty() {
                let Some(mut reply) = self.protocol.reply(head, failure) else { return false };
                filters.on_response(&mut reply);
                inbox.reply(&self.protocol, *place, reply, true, out);
                true
            } else {
                inbox.fail(&self.protocol, *place, head, failure, out)
            }
        });
        if !told && failure.reason != Reason::Direct {
            client.close();
        }
    }
}
