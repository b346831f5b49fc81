//! Ways to choose an endpoint, a file each.
//!
//! All choose among *eligible* endpoints: available, and not to be avoided. None allocates.

mod candidates;
mod least_request;
mod maglev;
mod peak_ewma;
mod random;
mod ring_hash;
mod round_robin;
mod weighted;

pub(super) use candidates::{Candidates, Weights};
pub(super) use maglev::Maglev;
pub(super) use ring_hash::Ring;

use crate::config::Balance;

/// What a worker remembers between picks of one cluster.
#[derive(Debug)]
pub(super) enum Balancer {
    RoundRobin(round_robin::RoundRobin),
    Weighted(weighted::Weighted),
    Random,
    LeastRequest,
    PeakEwma,
    Hash,
}

impl Balancer {
    /// `seed` desynchronises workers, which would otherwise all begin with the same endpoint.
    pub(super) fn new(kind: Balance, seed: usize) -> Self {
        match kind {
            Balance::RoundRobin => Self::RoundRobin(round_robin::RoundRobin::new(seed)),
            Balance::Weighted => Self::Weighted(weighted::Weighted::default()),
            Balance::Random => Self::Random,
            Balance::LeastRequest => Self::LeastRequest,
            Balance::PeakEwma => Self::PeakEwma,
            Balance::RingHash | Balance::Maglev => Self::Hash,
        }
    }

    /// Whether this balances as `kind` says.
    pub(super) fn is(&self, kind: Balance) -> bool {
        match self {
            Self::RoundRobin(_) => kind == Balance::RoundRobin,
            Self::Weighted(_) => kind == Balance::Weighted,
            Self::Random => kind == Balance::Random,
            Self::LeastRequest => kind == Balance::LeastRequest,
            Self::PeakEwma => kind == Balance::PeakEwma,
            Self::Hash => kind.is_by_hash(),
        }
    }

    /// The index of an eligible endpoint, or `None` when there is none.
    pub(super) fn pick(
        &mut self,
        candidates: &Candidates<'_>,
        hash: Option<u64>,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(candidates, rng),
            Self::Weighted(balancer) => balancer.pick(candidates),
            Self::Random => random::pick(candidates, rng),
            Self::LeastRequest => least_request::pick(candidates, rng),
            Self::PeakEwma => peak_ewma::pick(candidates, rng),
            Self::Hash => match (hash, candidates.table()) {
                (Some(hash), Table::Ring(ring)) => ring.pick(candidates, hash),
                (Some(hash), Table::Maglev(maglev)) => maglev.pick(candidates, hash),
                (None, _) | (_, Table::None) => random::pick(candidates, rng),
            },
        }
    }
}

/// What hashing balancers look up in: built once for each set of endpoints, shared by all workers.
#[derive(Debug, Default)]
pub(super) enum Table {
    #[default]
    None,
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// `endpoints` gives label and weight of each.
    pub(super) fn new(kind: Balance, endpoints: &[(&str, u32)]) -> Self {
        match kind {
            Balance::RingHash => Self::Ring(Ring::new(endpoints)),
            Balance::Maglev => Self::Maglev(Maglev::new(endpoints)),
            _ => Self::None,
        }
    }
}
