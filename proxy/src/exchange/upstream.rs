//! The driver of one upstream connection, shared by the requests of many clients.

mod greet;
mod opening;
mod pieces;
mod task;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::Waker,
    time::{Duration, Instant},
};

use wiremesh::{
    Failure, Frame, Kind, Protocol, Reason, WriteBuf,
    correlation::Exchange,
    engine::{Engine, Received},
};

use self::{
    greet::Opened,
    pieces::Passing,
    task::{Ended, UpstreamTask},
};
use super::{
    Mesh, PoolKey,
    client::Client,
    ticket::{Sent, Ticket},
};
use crate::{
    cluster::{LocalCluster, LocalEndpoint},
    telemetry::EndpointSeries,
    worker::{ListenerView, OWED_HIGH},
};

/// The most requests that one upstream connection carries at once.
const CAPACITY: usize = 64 * 1024;

/// A connection with more requests given up than this, and never answered, is replaced.
const ABANDONED_MAX: usize = 1024;

/// How long an endpoint that said go-away is left alone, if there is another.
const GO_AWAY: Duration = Duration::from_secs(5);

/// One upstream connection, as the requests that use it see it.
pub struct Upstream<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    pub key: Cell<PoolKey>,
    pub cluster: Rc<LocalCluster>,
    pub endpoint: Rc<LocalEndpoint>,
    pub series: std::sync::Arc<EndpointSeries>,
    /// The client that has this connection for itself, if one does.
    owner: RefCell<Option<Rc<Client<P>>>>,
    /// It was greeted as one that has a copy.
    copy: Cell<bool>,
    /// How the upstream calls it.
    number: Cell<Option<u64>>,
    /// Requests that wait for something to happen.
    patient: Cell<u32>,
    engine: RefCell<<P::Correlation as Exchange<P>>::Engine<Sent<P>>>,
    /// The reply that is being passed on in pieces: the engine knows of it no more.
    passing: RefCell<Option<Passing<P>>>,
    /// Requests that wait for the connection to be made.
    waiting: RefCell<VecDeque<(P::Frame, Ticket<P>)>>,
    waiting_bytes: Cell<usize>,
    out: RefCell<WriteBuf>,
    /// Bytes ever appended to `out`, and ever written to the socket.
    appended: Cell<u64>,
    written: Cell<u64>,
    /// Those of `appended` that serve no request: heartbeats do not keep a connection from being idle.
    own: Cell<u64>,
    /// Clients that are not read while `out` is too full.
    clogged: RefCell<Vec<Rc<Client<P>>>>,
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
    /// Woken, and not polled since.
    woken: Cell<bool>,
    /// Set when the timer may have to be earlier than it is.
    rearm: Cell<bool>,
    /// When the timer goes off.
    armed: Cell<Option<Instant>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    /// Takes no new requests; closes when those in flight are answered.
    Retiring,
    Closed,
}

impl<P: Protocol> Upstream<P>
where
    P::Correlation: Exchange<P>,
{
    pub fn new(
        key: PoolKey,
        cluster: Rc<LocalCluster>,
        endpoint: Rc<LocalEndpoint>,
        series: std::sync::Arc<EndpointSeries>,
        owner: Option<Rc<Client<P>>>,
    ) -> Self {
        Self {
            key: Cell::new(key),
            cluster,
            endpoint,
            series,
            owner: RefCell::new(owner),
            copy: Cell::new(false),
            number: Cell::new(None),
            patient: Cell::new(0),
            engine: RefCell::new(Engine::<P, Sent<P>>::with_capacity(CAPACITY)),
            passing: RefCell::new(None),
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            out: RefCell::default(),
            appended: Cell::new(0),
            written: Cell::new(0),
            own: Cell::new(0),
            clogged: RefCell::default(),
            state: Cell::new(State::Connecting),
            waker: RefCell::default(),
            woken: Cell::new(false),
            rearm: Cell::new(false),
            armed: Cell::new(None),
        }
    }

    /// Whether nothing more should be sent on it: its endpoint is gone, or would have to be greeted in another way.
    pub fn is_outdated(&self) -> bool {
        self.endpoint.is_retired() || (self.endpoint.is_copy() && !self.copy.get())
    }

    /// Whether new requests may be given to it.
    pub fn is_usable(&self) -> bool {
        match self.state.get() {
            State::Connecting => true,
            State::Open => !self.engine.borrow().is_full(),
            State::Retiring | State::Closed => false,
        }
    }

    /// Whether the connection is still being made.
    pub fn is_connecting(&self) -> bool {
        self.state.get() == State::Connecting
    }

    /// How the upstream calls the connection, if it said so.
    pub fn number(&self) -> Option<u64> {
        self.number.get()
    }

    /// Whether there are requests of all clients on it.
    fn was_shared(&self) -> bool {
        self.key.get().client == 0
    }

    /// The client that a reply is being passed on to in pieces.
    fn reader(&self) -> Option<Rc<Client<P>>> {
        let passing = self.passing.borrow();
        Some(passing.as_ref()?.sent.as_ref()?.ticket.client.clone())
    }

    /// The client that has this connection for itself, if one does.
    pub fn owner(&self) -> Option<Rc<Client<P>>> {
        self.owner.borrow().clone()
    }

    /// Gives the connection to a client, or to nobody.
    pub fn lend(&self, key: PoolKey, owner: Option<Rc<Client<P>>>) {
        self.key.set(key);
        *self.owner.borrow_mut() = owner;
    }

    /// The client whose state is on it, if there is one: it is neither probed nor closed for being idle.
    fn holder(&self) -> Option<Rc<Client<P>>> {
        self.owner().filter(|owner| owner.number_of(self).is_some())
    }

    /// Whether nothing that was asked is unanswered.
    pub fn is_answered(&self) -> bool {
        self.load() == 0
    }

    /// Whether what was asked on it may never be answered.
    pub fn is_patient(&self) -> bool {
        self.patient.get() > 0
    }

    /// Requests on it, waiting ones included.
    pub fn load(&self) -> usize {
        let passing = self.passing.borrow().as_ref().is_some_and(|passing| passing.sent.is_some());
        self.engine.borrow().in_flight() + self.waiting.borrow().len() + usize::from(passing)
    }

    /// Sends the request, now or as soon as the connection is there.
    pub fn send(self: &Rc<Self>, mesh: &Rc<Mesh<P>>, mut frame: P::Frame, mut ticket: Ticket<P>) {
        if self.state.get() == State::Connecting {
            self.waiting_bytes.set(self.waiting_bytes.get() + frame.wire_len());
            self.waiting.borrow_mut().push_back((frame, ticket));
            return;
        }
        let now = mesh.worker.now();
        for frame in ticket.before.drain(..) {
            self.append_own(mesh, frame);
        }
        if ticket.patient {
            self.patient.set(self.patient.get() + 1);
        }
        if ticket.expect.is_none() {
            self.engine.borrow_mut().stamp(&mesh.protocol, &mut frame);
            self.append(mesh, frame);
            mesh.sent_one_way(self, ticket, now);
            return;
        }
        let deadline = ticket.try_deadline;
        let expect = ticket.expect;
        let end = self.appended.get() + frame.wire_len() as u64;
        let sent = Sent { ticket, endpoint: self.endpoint.clone(), at: now, end };
        let mut engine = self.engine.borrow_mut();
        match engine.send(&mesh.protocol, &mut frame, expect, deadline, sent) {
            Ok(_) => {
                let armed = self.armed.get();
                if deadline.is_some_and(|d| armed.is_none_or(|armed| d < armed)) {
                    self.rearm.set(true);
                }
                drop(engine);
                self.append(mesh, frame);
            }
            Err(sent) => {
                drop(engine);
                let failure = Failure::new(Reason::Overloaded, "the upstream connection is full");
                mesh.failed(sent, &failure, wiremesh::Retry::IfUnsent);
            }
        }
    }

    /// Appends a frame that needs no slot, or has one.
    pub fn append(&self, mesh: &Mesh<P>, frame: P::Frame) {
        let mut out = self.out.borrow_mut();
        mesh.worker.buffers.to_upstreams.lend(&mut out);
        let before = out.len();
        mesh.protocol.encode(frame, &mut out);
        self.appended.set(self.appended.get() + (out.len() - before) as u64);
        drop(out);
        self.wake();
    }

    /// Appends a frame that is not a request of any client's: a probe, a go-away.
    pub fn append_own(&self, mesh: &Mesh<P>, mut frame: P::Frame) {
        self.engine.borrow_mut().stamp(&mesh.protocol, &mut frame);
        self.append_unused(mesh, frame);
    }

    /// Appends a frame that is no use of the connection.
    fn append_unused(&self, mesh: &Mesh<P>, frame: P::Frame) {
        let before = self.appended.get();
        self.append(mesh, frame);
        self.own.set(self.own.get() + (self.appended.get() - before));
    }

    /// Whether too much waits to be written here.
    pub fn is_behind(&self) -> bool {
        self.out.borrow().len() + self.waiting_bytes.get() > OWED_HIGH
    }

    /// Stops reading from `client` while too much waits to be written here.
    pub fn hold_back(&self, client: &Rc<Client<P>>) {
        if self.is_behind() && self.state.get() != State::Closed {
            client.set_clogged(true);
            self.clogged.borrow_mut().push(client.clone());
        }
    }

    /// Takes no new requests; closes when those in flight are answered.
    pub fn retire(&self) {
        if matches!(self.state.get(), State::Connecting | State::Open) {
            self.state.set(State::Retiring);
            self.wake();
        }
    }

    /// Has the driver look again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow()
            && !self.woken.replace(true)
        {
            waker.wake_by_ref();
        }
    }

    fn release_clogged(&self) {
        for client in self.clogged.take() {
            client.set_clogged(false);
        }
    }

    /// Connects, then serves until the connection is over.
    pub async fn run(self: Rc<Self>, mesh: Rc<Mesh<P>>, listener: Rc<ListenerView>) {
        let config = self.cluster.shared().config();
        let mut ending =
            Ending { upstream: self.clone(), mesh: mesh.clone(), why: None, opened: false };
        match self.open(&mesh, &listener, config.connect_timeout.into()).await {
            Ok(Opened { stream, input, decoder, number }) => {
                mesh.worker.tick();
                self.number.set(number);
                self.series.connections_opened.inc();
                ending.opened = true;
                if self.state.get() == State::Connecting {
                    self.state.set(State::Open);
                }
                self.waiting_bytes.set(0);
                if let Some(holder) = self.holder() {
                    mesh.attached(&holder, &self);
                }
                for (frame, ticket) in self.waiting.take() {
                    self.cluster.shared().pending().release();
                    self.send_waiting(&mesh, frame, ticket);
                }
                if self.out.borrow().is_empty() {
                    self.release_clogged();
                }
                let parts = (stream, input, decoder);
                let mut task = UpstreamTask::new(self.clone(), mesh, listener, parts, &config);
                ending.why = Some(std::future::poll_fn(|cx| task.poll(cx)).await);
            }
            Err(why) => {
                mesh.worker.tick();
                self.series.connect_failures.inc();
                tracing::info!(endpoint = %self.endpoint.label(), %why, "connect failed");
                ending.why = Some((Reason::ConnectFailed, why));
            }
        }
    }

    /// Fails everything that is still on it.
    fn close(&self, mesh: &Rc<Mesh<P>>, reason: Reason, why: &str) {
        self.state.set(State::Closed);
        self.release_clogged();
        let failure = Failure::new(reason, format!("{}: {why}", self.endpoint.label()));
        for (_, ticket) in self.waiting.take() {
            self.cluster.shared().pending().release();
            mesh.connect_failed(ticket, &self.endpoint, &failure);
        }
        let passing = self.passing.take();
        if let Some(sent) = passing.and_then(|passing| passing.sent) {
            // The client has a part of it: nothing but the end of its connection can say that there is no more.
            sent.ticket.client.close();
            mesh.failed(sent, &failure, wiremesh::Retry::Never);
        }
        loop {
            let Some(sent) = self.engine.borrow_mut().close() else { break };
            let retry = if sent.end > self.written.get() {
                wiremesh::Retry::IfUnsent
            } else {
                wiremesh::Retry::IfIdempotent
            };
            mesh.failed(sent, &failure, retry);
        }
    }

    /// Gives up on the requests of a client that has left: nobody waits for their replies any more.
    pub fn forget(&self, mesh: &Mesh<P>, client: &Rc<Client<P>>) {
        let theirs = |ticket: &Ticket<P>| Rc::ptr_eq(&ticket.client, client);
        let (gone, kept) = self.waiting.take().into_iter().partition(|(_, t)| theirs(t));
        *self.waiting.borrow_mut() = kept;
        let gone: VecDeque<(P::Frame, Ticket<P>)> = gone;
        for (frame, ticket) in gone {
            self.waiting_bytes.set(self.waiting_bytes.get().saturating_sub(frame.wire_len()));
            self.cluster.shared().pending().release();
            mesh.unheard(ticket, &self.endpoint);
        }
        let passing = self
            .passing
            .borrow_mut()
            .as_mut()
            .and_then(|passing| passing.sent.take_if(|sent| theirs(&sent.ticket)));
        let gone = self.engine.borrow_mut().abandon_where(|sent| theirs(&sent.ticket));
        for sent in passing.into_iter().chain(gone) {
            mesh.unheard(sent.ticket, &self.endpoint);
        }
        self.rearm.set(true);
        self.wake();
    }

    /// Answers everything that is still on it by `failure`, and retires it.
    pub fn give_up(&self, mesh: &Rc<Mesh<P>>, failure: &Failure) {
        for (_, ticket) in self.waiting.take() {
            self.cluster.shared().pending().release();
            mesh.never_sent(ticket, &self.endpoint, failure);
        }
        loop {
            let Some(sent) = self.engine.borrow_mut().close() else { break };
            mesh.failed(sent, failure, wiremesh::Retry::Never);
        }
        self.retire();
    }

    /// One frame of the upstream's. Gives the client back that must be waited for before the next, if one must.
    fn on_frame(self: &Rc<Self>, mesh: &Rc<Mesh<P>>, frame: P::Frame) -> Option<Rc<Client<P>>> {
        let holder = if <P::Correlation as Exchange<P>>::ORDERED { self.holder() } else { None };
        if let Some(holder) = holder {
            return self.on_private_frame(mesh, &holder, frame);
        }
        let in_line = match frame.kind() {
            Kind::HeartbeatReply => <P::Correlation as Exchange<P>>::ORDERED,
            kind => kind == Kind::Response,
        };
        if in_line {
            return self.on_reply(mesh, frame);
        }
        match frame.kind() {
            Kind::Heartbeat => {
                if let Some(reply) = mesh.protocol.heartbeat_reply(&frame) {
                    self.append_unused(mesh, reply);
                }
            }
            Kind::HeartbeatReply | Kind::Response => {}
            Kind::GoAway => {
                tracing::info!(endpoint = %self.endpoint.label(), "upstream goes away");
                self.endpoint.endpoint().drain(mesh.worker.now(), GO_AWAY);
                self.retire();
            }
            Kind::Request | Kind::OneWay | Kind::Push => mesh.on_unsolicited(self, frame),
        }
        None
    }

    /// One frame on a connection that state of its client's is on.
    fn on_private_frame(
        self: &Rc<Self>,
        mesh: &Rc<Mesh<P>>,
        holder: &Rc<Client<P>>,
        mut frame: P::Frame,
    ) -> Option<Rc<Client<P>>> {
        let own = frame.kind() != Kind::Push && Engine::<P, _>::is_own_next(&*self.engine.borrow());
        if own {
            // The answer to something of the proxy's.
            return self.on_reply(mesh, frame);
        }
        mesh.show(holder, &self.cluster, &mut frame, holder.number_of(self));
        let stalled = if frame.kind() == Kind::Push {
            mesh.on_unsolicited(self, frame);
            holder.holds_back(self).then(|| holder.clone())
        } else {
            self.on_reply(mesh, frame)
        };
        mesh.release(holder, false);
        stalled
    }

    /// A frame that has its place among the replies.
    fn on_reply(self: &Rc<Self>, mesh: &Rc<Mesh<P>>, mut frame: P::Frame) -> Option<Rc<Client<P>>> {
        let mut engine = self.engine.borrow_mut();
        match engine.receive(&mesh.protocol, &mut frame) {
            Received::Last(sent) => {
                drop(engine);
                if sent.ticket.patient {
                    self.patient.set(self.patient.get().saturating_sub(1));
                }
                let client = sent.ticket.client.clone();
                mesh.replied(sent, frame);
                client.holds_back(self).then_some(client)
            }
            Received::More(sent) => {
                // What has been answered in part cannot be tried again.
                sent.ticket.replay = None;
                sent.ticket.bytes_out += frame.wire_len();
                sent.ticket.items += frame.items();
                let (client, place) = (sent.ticket.client.clone(), sent.ticket.place);
                drop(engine);
                mesh.replied_more(&client, place, frame);
                client.holds_back(self).then_some(client)
            }
            Received::Late => {
                if frame.kind() == Kind::Response {
                    self.series.late_replies.inc();
                }
                None
            }
            Received::Unknown => {
                self.series.unknown_replies.inc();
                None
            }
        }
    }
}

/// Gives a connection up properly however its task ends: a panic in a protocol's code costs that connection, and does not
/// leave its requests without an answer.
struct Ending<P: Protocol>
where
    P::Correlation: Exchange<P>,
{
    upstream: Rc<Upstream<P>>,
    mesh: Rc<Mesh<P>>,
    /// `None`: it did not come to its end.
    why: Option<Ended>,
    opened: bool,
}

impl<P: Protocol> Drop for Ending<P>
where
    P::Correlation: Exchange<P>,
{
    fn drop(&mut self) {
        let broken = || (Reason::BadReply, "the proxy failed on this connection".to_owned());
        let (reason, why) = self.why.take().unwrap_or_else(broken);
        if self.opened {
            let endpoint = self.upstream.endpoint.label();
            tracing::info!(%endpoint, %why, "upstream connection ended");
        }
        self.upstream.close(&self.mesh, reason, &why);
        if self.opened {
            self.upstream.series.connections_closed.inc();
        }
        self.mesh.upstream_closed(&self.upstream);
    }
}
