use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Candidates;

/// A Maglev table ("Maglev: A Fast and Reliable Software Network Load Balancer", 2016, section 3.4), with weights.
///
/// Shares are even, and a change of the endpoints moves few keys of those that stay.
#[derive(Debug)]
pub(in crate::cluster) struct Maglev {
    slots: Box<[u32]>,
}

/// A prime, so that every step visits all slots. It is the paper's "small" size.
const SLOTS: usize = 65_537;

/// Before all slots are looked at in turn: enough unless nearly all endpoints are down.
const REHASHES: u64 = 32;

const FREE: u32 = u32::MAX;

/// An endpoint while the table fills.
struct Filler {
    /// The slot that it asks for next.
    at: usize,
    step: usize,
    weight: f64,
    /// Turns that it has not taken yet.
    turns: f64,
}

impl Maglev {
    pub(super) fn new(endpoints: &[(&str, u32)]) -> Self {
        if endpoints.is_empty() {
            return Self { slots: Box::default() };
        }
        let heaviest = endpoints.iter().map(|(_, weight)| *weight).max().unwrap_or(1).max(1);
        let hash = |label: &str, seed| xxh3_64_with_seed(label.as_bytes(), seed) as usize;
        let mut fillers: Vec<Filler> = endpoints
            .iter()
            .map(|(label, weight)| Filler {
                at: hash(label, 0) % SLOTS,
                step: hash(label, 1) % (SLOTS - 1) + 1,
                weight: f64::from(*weight) / f64::from(heaviest),
                turns: 0.0,
            })
            .collect();
        let mut slots = vec![FREE; SLOTS].into_boxed_slice();
        let mut free = SLOTS;
        loop {
            for (index, filler) in (0u32..).zip(&mut fillers) {
                filler.turns += filler.weight;
                if filler.turns < 1.0 {
                    continue;
                }
                filler.turns -= 1.0;
                while slots[filler.at] != FREE {
                    filler.at = (filler.at + filler.step) % SLOTS;
                }
                slots[filler.at] = index;
                free -= 1;
                if free == 0 {
                    return Self { slots };
                }
            }
        }
    }

    /// The endpoint in the hash's slot, or in the first of further slots whose endpoint is eligible.
    ///
    /// The further slots are hashed too: which endpoints are neighbours in the table is not even enough.
    pub(super) fn pick(&self, candidates: &Candidates<'_>, hash: u64) -> Option<usize> {
        let slots = self.slots.len() as u64;
        let slot = hash.checked_rem(slots)? as usize;
        let owner = self.slots[slot] as usize;
        if candidates.is_eligible(owner) {
            return Some(owner);
        }
        if !candidates.any_eligible() {
            return None;
        }
        let rehash = |n| (xxh3_64_with_seed(&hash.to_le_bytes(), n) % slots) as usize;
        let further = (1..=REHASHES).map(rehash).map(|slot| self.slots[slot]);
        let all = || self.slots[slot..].iter().chain(&self.slots[..slot]).copied();
        let eligible = |index: &usize| candidates.is_eligible(*index);
        let owner = further.map(|index| index as usize).find(eligible);
        owner.or_else(|| all().map(|index| index as usize).find(eligible))
    }
}
