use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Table;
use crate::cluster::local::LocalEndpoint;

/// The endpoints of one pick, and the questions that balancers ask about them.
pub(in crate::cluster) struct Candidates<'a> {
    pub(in crate::cluster) endpoints: &'a [Rc<LocalEndpoint>],
    pub(in crate::cluster) weights: &'a Weights,
    pub(in crate::cluster) table: &'a Table,
    /// Ids of endpoints that are not eligible.
    pub(in crate::cluster) avoid: &'a [u64],
    pub(in crate::cluster) now: Instant,
    pub(in crate::cluster) slow_start: Duration,
}

/// Random draws before all endpoints are looked at.
const DRAWS: usize = 4;

impl<'a> Candidates<'a> {
    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }

    pub(super) fn endpoint(&self, index: usize) -> &'a LocalEndpoint {
        &self.endpoints[index]
    }

    pub(super) fn table(&self) -> &'a Table {
        self.table
    }

    pub(super) fn is_eligible(&self, index: usize) -> bool {
        let endpoint = self.endpoint(index).endpoint();
        endpoint.is_available(self.now) && !self.avoid.contains(&endpoint.id())
    }

    pub(super) fn any_eligible(&self) -> bool {
        (0..self.len()).any(|index| self.is_eligible(index))
    }

    /// The share of its weight that an endpoint takes while it starts slowly, up to 1.
    pub(super) fn ramp(&self, index: usize) -> f64 {
        self.endpoint(index).endpoint().ramp(self.now, self.slow_start)
    }

    /// Eligible, and let through by the slow start.
    pub(super) fn admits(&self, index: usize, rng: &mut fastrand::Rng) -> bool {
        self.is_eligible(index) && {
            let ramp = self.ramp(index);
            ramp >= 1.0 || rng.f64() < ramp
        }
    }

    /// An eligible endpoint other than `except`, with a probability in proportion to its weight.
    pub(super) fn draw(&self, except: Option<usize>, rng: &mut fastrand::Rng) -> Option<usize> {
        if self.endpoints.is_empty() {
            return None;
        }
        // Refusing and drawing again gives the same distribution as the scan, and almost always sooner.
        for _ in 0..DRAWS {
            let index = self.weights.draw(rng);
            if Some(index) != except && self.admits(index, rng) {
                return Some(index);
            }
        }
        self.scan(except, rng)
    }

    /// Like [`Candidates::draw`], but looks at every endpoint.
    fn scan(&self, except: Option<usize>, rng: &mut fastrand::Rng) -> Option<usize> {
        self.scan_by(|index| f64::from(self.weight(index)), except, rng)
    }

    /// Any eligible endpoint with the same probability, whatever the weights.
    pub(super) fn scan_evenly(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        self.scan_by(|_| 1.0, None, rng)
    }

    fn scan_by(
        &self,
        weight: impl Fn(usize) -> f64,
        except: Option<usize>,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let mut total = 0.0;
        let mut chosen = None;
        for index in 0..self.len() {
            if Some(index) == except || !self.is_eligible(index) {
                continue;
            }
            let weight = weight(index) * self.ramp(index);
            total += weight;
            if chosen.is_none() || rng.f64() * total < weight {
                chosen = Some(index);
            }
        }
        chosen
    }

    /// The weight of an endpoint.
    pub(super) fn weight(&self, index: usize) -> u32 {
        self.weights.get(index)
    }
}

/// The weights of a set of endpoints, ready to draw by.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Weights {
    each: Vec<u32>,
    /// Sums up to and including each. Empty when all weights are the same.
    sums: Vec<u64>,
}

impl Weights {
    pub(in crate::cluster) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let each: Vec<u32> = weights.map(|weight| weight.max(1)).collect();
        let uniform = each.windows(2).all(|pair| pair[0] == pair[1]);
        let sum = |sum: &mut u64, weight: &u32| {
            *sum += u64::from(*weight);
            Some(*sum)
        };
        let sums = if uniform { Vec::new() } else { each.iter().scan(0, sum).collect() };
        Self { each, sums }
    }

    fn get(&self, index: usize) -> u32 {
        self.each[index]
    }

    fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        match self.sums.last() {
            None => rng.usize(..self.each.len()),
            Some(total) => {
                let point = rng.u64(..total);
                self.sums.partition_point(|sum| *sum <= point)
            }
        }
    }
}
