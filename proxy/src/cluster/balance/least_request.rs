use super::Candidates;

/// Draws two by weight and takes the one with fewer requests in flight, and sessions, for its weight.
pub(super) fn pick(candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
    let first = candidates.draw(None, rng)?;
    if candidates.len() == 1 {
        return Some(first);
    }
    let Some(second) = candidates.draw(Some(first), rng) else { return Some(first) };
    let load = |index: usize, by: usize| {
        u64::from(candidates.endpoint(index).load()) * u64::from(candidates.weight(by))
    };
    // On a tie the first: the draw was by weight, so that idle endpoints are used in proportion to it.
    Some(if load(second, first) < load(first, second) { second } else { first })
}
