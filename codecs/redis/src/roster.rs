//! How the server calls the connections that clients have for themselves: `CLIENT UNBLOCK` and `REDIRECT` name a client by
//! the proxy's number, and the server knows only its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// The clients that have, or had, a connection of their own, by the proxy's number.
#[derive(Debug, Default)]
pub(crate) struct Roster(Mutex<HashMap<u64, Arc<Own>>>);

/// The connection that one client has for itself.
#[derive(Debug)]
struct Own {
    /// Of which cluster it is.
    cluster: AtomicU64,
    /// The server's number of it, shifted by one; the lowest bit: others have been told it. 0: there is none.
    number: AtomicU64,
}

/// A client's place among the others; it is given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    client: u64,
    own: Arc<Own>,
    roster: Arc<Roster>,
}

impl Roster {
    fn known(&self) -> MutexGuard<'_, HashMap<u64, Arc<Own>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a client.
    pub(crate) fn seat(self: &Arc<Self>, client: u64) -> Seat {
        let own = Arc::new(Own { cluster: AtomicU64::new(0), number: AtomicU64::new(0) });
        self.known().insert(client, own.clone());
        Seat { client, own, roster: self.clone() }
    }

    /// The server's number of the connection that a client has for itself in this cluster. It stays the client's from now
    /// on: the number must never come to mean another.
    pub(crate) fn claim(&self, client: u64, cluster: usize) -> Option<u64> {
        let own = self.known().get(&client).cloned()?;
        let claimed = own.number.fetch_update(SeqCst, SeqCst, |number| {
            let here = own.cluster.load(SeqCst) == cluster as u64;
            (here && number != 0).then_some(number | 1)
        });
        claimed.ok().map(|number| number >> 1)
    }
}

impl Seat {
    /// The client has a connection for itself, of this number, where one is known.
    pub(crate) fn take(&self, cluster: usize, number: Option<u64>) {
        self.own.cluster.store(cluster as u64, SeqCst);
        let number = number.and_then(|number| number.checked_mul(2)).unwrap_or(0);
        self.own.number.store(number, SeqCst);
    }

    /// The client needs the connection no more. False: it must keep it, others know the number.
    pub(crate) fn give_back(&self) -> bool {
        let given =
            self.own.number.fetch_update(SeqCst, SeqCst, |number| (number & 1 == 0).then_some(0));
        given.is_ok()
    }

    /// The connection is lost or about to be closed.
    pub(crate) fn lose(&self) {
        self.own.number.store(0, SeqCst);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.known().remove(&self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_others_know_stays_with_its_connection() {
        let roster = Arc::new(Roster::default());
        let seat = roster.seat(5);
        assert_eq!(roster.claim(5, 1), None, "it has no connection yet");
        seat.take(1, Some(70));
        assert_eq!(roster.claim(5, 2), None, "another cluster's");
        assert_eq!(roster.claim(6, 1), None, "another client");
        assert!(seat.give_back());
        assert_eq!(roster.claim(5, 1), None, "it has none any more");
        seat.take(1, Some(71));
        assert_eq!(roster.claim(5, 1), Some(71));
        assert_eq!(roster.claim(5, 1), Some(71));
        assert!(!seat.give_back());
        seat.lose();
        assert!(seat.give_back());
        seat.take(1, None);
        assert_eq!(roster.claim(5, 1), None, "the server has not told");
        drop(seat);
        assert!(roster.known().is_empty());
    }
}
