use super::Candidates;

/// Chooses at random, in proportion to the weights.
pub(super) fn pick(candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
    candidates.draw(None, rng)
}
