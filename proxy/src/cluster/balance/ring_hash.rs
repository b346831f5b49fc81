use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Candidates;

/// A hash ring: every endpoint owns the arcs before its points, and a key goes to the owner of its arc.
///
/// An endpoint's points depend on its label only (and on its weight beside the lightest one's), so that the keys of
/// others stay where they are when it comes or goes.
#[derive(Debug)]
pub(in crate::cluster) struct Ring {
    /// Point and endpoint, by point.
    points: Vec<(u64, u32)>,
}

/// Points of the lightest endpoint: shares differ by some 8 % of their size.
const POINTS: u64 = 160;

/// Points of all endpoints, about: unequal weights must not make a ring that fits no cache.
const MAX_POINTS: u64 = 1 << 18;

impl Ring {
    pub(super) fn new(endpoints: &[(&str, u32)]) -> Self {
        let lightest = u64::from(endpoints.iter().map(|(_, weight)| *weight).min().unwrap_or(1));
        let total: u64 = endpoints.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let per_lightest = (MAX_POINTS * lightest / total.max(1)).clamp(1, POINTS);
        let mut points = Vec::new();
        for (index, (label, weight)) in (0u32..).zip(endpoints) {
            let count = per_lightest * u64::from(*weight) / lightest;
            points.extend((0..count).map(|n| (xxh3_64_with_seed(label.as_bytes(), n), index)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// The owner of the hash, or of the next arc whose owner is eligible.
    pub(super) fn pick(&self, candidates: &Candidates<'_>, hash: u64) -> Option<usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (after, before) = (&self.points[start..], &self.points[..start]);
        let mut owners = after.iter().chain(before).map(|(_, index)| *index as usize);
        let owner = owners.next()?;
        if candidates.is_eligible(owner) {
            return Some(owner);
        }
        // The whole ring is long: don't walk it in vain.
        if !candidates.any_eligible() {
            return None;
        }
        owners.find(|index| candidates.is_eligible(*index))
    }
}
