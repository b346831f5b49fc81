//! The slots of a cluster, as its nodes see them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use wiremesh_redis::slot::SLOTS;

/// Which node has which slots. The nodes share it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<SocketAddr>,
    owners: Vec<AtomicUsize>,
    epoch: AtomicUsize,
}

/// What is said of a slot in the place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is that node's.
    Moved(SocketAddr),
    /// That node has the key already.
    Ask(SocketAddr),
    /// Some of the keys are here, some are elsewhere.
    TryAgain,
    /// It is nobody's.
    Down,
}

impl Cluster {
    /// The slots, shared out evenly and in order.
    pub fn new(nodes: Vec<SocketAddr>) -> Self {
        let owner = |slot| AtomicUsize::new(slot * nodes.len() / usize::from(SLOTS));
        let owners = (0..usize::from(SLOTS)).map(owner).collect();
        Self { nodes, owners, epoch: AtomicUsize::new(1) }
    }

    /// Gives a slot to a node.
    pub fn assign(&self, slot: u16, node: usize) {
        self.owners[usize::from(slot)].store(node, Relaxed);
        self.epoch.fetch_add(1, Relaxed);
    }

    /// Higher after every change.
    pub(super) fn epoch(&self) -> usize {
        self.epoch.load(Relaxed)
    }

    /// The number of the node that has a slot.
    pub fn owner(&self, slot: u16) -> usize {
        self.owners[usize::from(slot)].load(Relaxed)
    }

    /// The addresses of its nodes.
    pub fn nodes(&self) -> &[SocketAddr] {
        &self.nodes
    }

    /// A node's name, as long as those of Redis.
    pub(super) fn name(number: usize) -> String {
        format!("{number:040x}")
    }

    /// First and last slot of each range, and its node.
    pub(super) fn ranges(&self) -> Vec<(u16, u16, usize)> {
        let mut ranges: Vec<(u16, u16, usize)> = Vec::new();
        for slot in 0..SLOTS {
            let owner = self.owner(slot);
            match ranges.last_mut() {
                Some((_, last, node)) if *node == owner => *last = slot,
                _ => ranges.push((slot, slot, owner)),
            }
        }
        ranges
    }

    /// What is said of a slot that another node has.
    pub(super) fn moved(&self, slot: u16) -> Option<Said> {
        self.nodes.get(self.owner(slot)).map(|address| Said::Moved(*address))
    }
}

impl Said {
    pub(super) fn text(&self, slot: u16) -> String {
        match self {
            Self::Moved(to) => format!("MOVED {slot} {to}"),
            Self::Ask(to) => format!("ASK {slot} {to}"),
            Self::TryAgain => "TRYAGAIN Multiple keys request during rehashing of slot".into(),
            Self::Down => "CLUSTERDOWN Hash slot not served".into(),
        }
    }
}
