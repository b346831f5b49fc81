//! Clients that may occupy an upstream connection: each holds one while its session's state demands it, and shares them
//! with all others between.
//!
//! One driver per socket, as in [`exchange`](crate::exchange). A client's requests are served one at a time: the next is
//! taken when the upstream has answered and the protocol's machine has said what that means. A connection that held
//! state is reset, and has answered that, before anybody else gets it; one whose client left, or did not get its
//! answer in time, is closed.

mod alone;
mod cancel;
mod client;
mod driver;
mod end_to_end;
mod mirror;
mod pool;
mod probe;
mod reply;
mod request;
mod ticket;
mod upstream;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use wiremesh::{
    Failure, Reason,
    correlation::{Access, SessionMachine, Sessioned},
};

pub use self::probe::probe;
use self::{
    client::{Client, ClientTask},
    mirror::Shadows,
    pool::Pool,
};
use crate::{
    registry::Driver,
    worker::{Accepted, Order, Overdue, Phase, Worker},
};

/// While draining, a client that has been quiet for this long is closed.
const QUIET: Duration = Duration::from_millis(500);

/// The address of the cluster's view, which the pool keeps alive, the lane, and what for.
type PoolKey = (usize, u64, Access);

/// All connections of one session protocol on one worker.
pub struct Sessions<P: Sessioned> {
    pub worker: Rc<Worker>,
    pub protocol: P,
    /// [`Sessioned::end_to_end`].
    end_to_end: bool,
    clients: RefCell<FxHashMap<u64, Rc<Client<P>>>>,
    /// In whose names copies are sent.
    shadows: Shadows<P>,
    next_client: Cell<u64>,
    /// Bytes of requests that are kept for retries.
    kept: Rc<Cell<usize>>,
    pools: RefCell<FxHashMap<PoolKey, Rc<Pool<P>>>>,
    /// Connections that are made to end something.
    cancels: Semaphore,
}

impl<P: Sessioned> Sessions<P> {
    /// No sessions yet.
    pub fn new(worker: Rc<Worker>, protocol: P) -> Self {
        Self {
            worker,
            end_to_end: protocol.end_to_end(),
            protocol,
            clients: RefCell::default(),
            shadows: Shadows::default(),
            next_client: Cell::new(1),
            kept: Rc::default(),
            pools: RefCell::default(),
            cancels: Semaphore::new(cancel::AT_ONCE),
        }
    }

    fn client(&self, id: u64) -> Option<Rc<Client<P>>> {
        let client = self.clients.borrow().get(&id).cloned();
        client.or_else(|| self.shadows.get(id))
    }

    fn next_id(&self) -> u64 {
        self.next_client.replace(self.next_client.get() + 1)
    }

    fn all_clients(&self) -> Vec<Rc<Client<P>>> {
        self.clients.borrow().values().cloned().collect()
    }
}

impl<P: Sessioned> Sessions<P> {
    /// Closes a client that is too slow, with a word where that is in place.
    fn close_overdue(&self, client: &Client<P>, why: Overdue) {
        tracing::info!(client = %client.peer, ?why, "closing");
        why.count(&client.series);
        let said = match why {
            Overdue::Idle => Some("nothing was asked for too long"),
            Overdue::Holding => Some("a connection was held for too long"),
            _ => None,
        };
        match said.filter(|_| client.is_open()) {
            Some(said) => self.farewell(client, &Failure::new(Reason::Timeout, said)),
            None => client.kill(),
        }
    }
}

impl<P: Sessioned> Driver for Sessions<P> {
    fn serve(self: Rc<Self>, accepted: Accepted) {
        let id = self.next_id();
        let Accepted { stream, prefix, peer, told, listener, series, slot } = accepted;
        let now = self.worker.tick();
        let from = (peer, told);
        let client = Client::new(id, stream, from, listener, series, &self.protocol, now);
        let client = Rc::new(client);
        self.clients.borrow_mut().insert(id, client.clone());
        if self.worker.phase() == Phase::Closing {
            self.dismiss(&client);
        }
        tokio::task::spawn_local(ClientTask::new(self.clone(), client, prefix, slot).run());
    }

    fn sweep(&self, now: Instant) {
        for client in self.all_clients() {
            if let Some(why) = client.overdue(self.end_to_end, now) {
                self.close_overdue(&client, why);
            }
            match self.worker.phase() {
                Phase::Serving | Phase::Refusing => {}
                Phase::Draining => {
                    if now.checked_sub(QUIET).is_some_and(|since| client.is_quiet_since(since)) {
                        self.dismiss(&client);
                    }
                }
                Phase::Closing => self.dismiss(&client),
            }
        }
        self.sweep_pools(now);
    }

    fn reload(&self) {
        for client in self.all_clients() {
            let name = client.listener.borrow().name.clone();
            match self.worker.listener(&name) {
                Some(listener) => {
                    let wanted = listener.wanted();
                    *client.listener.borrow_mut() = listener;
                    if self.end_to_end && !client.session.borrow_mut().machine.watch(wanted) {
                        tracing::info!(client = %client.peer,
                            "closing: what it says cannot be seen, and a firewall is to judge it");
                        client.kill();
                    }
                }
                // The listener is gone from the configuration: what is in progress is finished.
                None => {
                    client.leave();
                    self.left(&client);
                }
            }
        }
        self.reload_pools();
    }

    fn stop(&self) {
        self.close_pools();
    }

    fn drain(&self) {
        for client in self.all_clients() {
            if !client.is_busy()
                && !self.end_to_end
                && let Some(bye) = self.protocol.go_away(0)
            {
                client.owe(self, |out| self.protocol.encode(bye, out));
            }
        }
    }

    fn refuse(self: Rc<Self>) {
        let failure = Failure::new(Reason::Draining, "the proxy is shutting down");
        for client in self.all_clients() {
            self.give_up(&client, &failure);
        }
    }

    fn cancel(self: Rc<Self>, order: &Order) {
        self.on_order(order);
    }

    fn starts_tls(&self) -> bool {
        P::STARTS_TLS
    }

    fn clients(&self) -> usize {
        self.clients.borrow().len()
    }
}
