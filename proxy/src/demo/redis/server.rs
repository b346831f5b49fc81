//! Accepts connections, and what they all share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use tokio::{net::TcpListener, task::JoinSet};
use wiremesh_redis::Redis;

use super::{habits::Habits, hub::Hub, lists::Waiting, session::Session, store::Store};

/// What all connections share.
pub(super) struct Server {
    pub(super) protocol: Redis,
    pub(super) habits: Arc<Habits>,
    pub(super) store: RefCell<Store>,
    pub(super) hub: RefCell<Hub>,
    /// Who waits for an element of a list, longest first.
    pub(super) waiting: RefCell<Vec<Waiting>>,
    pub(super) started: Instant,
    next: Cell<u64>,
}

/// Serves until it is dropped, and all its connections with it. Within a `LocalSet`.
pub async fn serve(listener: TcpListener, habits: Arc<Habits>) {
    let server = Rc::new(Server {
        protocol: Redis::default(),
        habits,
        store: RefCell::default(),
        hub: RefCell::default(),
        waiting: RefCell::default(),
        started: Instant::now(),
        next: Cell::new(1),
    });
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, peer)) = accepted {
                let id = server.next.replace(server.next.get() + 1);
                let session = Session::new(server.clone(), id, peer);
                serving.spawn_local(session.converse(stream));
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

/// Counts a connection for as long as it lives.
pub(super) struct Open(Arc<Habits>);

impl Open {
    pub(super) fn new(habits: Arc<Habits>) -> Self {
        habits.connections.fetch_add(1, Relaxed);
        habits.open.fetch_add(1, Relaxed);
        Self(habits)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
