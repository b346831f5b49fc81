use super::Candidates;

/// Draws two by weight and takes the one whose expected latency is lower: its latency of late (quick to rise, slow to
/// fall), times the requests in flight and this one, by weight.
pub(super) fn pick(candidates: &Candidates<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
    let first = candidates.draw(None, rng)?;
    if candidates.len() == 1 {
        return Some(first);
    }
    let Some(second) = candidates.draw(Some(first), rng) else { return Some(first) };
    let cost = |index: usize| {
        candidates.endpoint(index).cost(candidates.now) / f64::from(candidates.weight(index))
    };
    Some(if cost(second) < cost(first) { second } else { first })
}
