use super::Candidates;

/// One after the other, whatever the weights.
///
/// The turn of an endpoint that is not eligible goes to a random other one: going to the next would double that one's load.
#[derive(Debug)]
pub(in crate::cluster) struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    pub(super) fn new(first: usize) -> Self {
        Self { next: first }
    }

    pub(super) fn pick(
        &mut self,
        candidates: &Candidates<'_>,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let turn = self.next.checked_rem(candidates.len())?;
        self.next = turn + 1;
        if candidates.admits(turn, rng) { Some(turn) } else { candidates.scan_evenly(rng) }
    }
}
