use super::Candidates;

/// Weighted round robin, smooth: the turns of a heavy endpoint are spread among those of the others.
///
/// Each pick gives every eligible endpoint credit by its weight; the richest is chosen and pays what all were given.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Weighted {
    credit: Vec<i64>,
}

/// The credit for one unit of weight: fine enough for the steps of a slow start.
const UNIT: f64 = 1024.0;

impl Weighted {
    pub(super) fn pick(&mut self, candidates: &Candidates<'_>) -> Option<usize> {
        if self.credit.len() != candidates.len() {
            self.credit.clear();
            self.credit.resize(candidates.len(), 0);
        }
        let mut given = 0;
        let mut richest = None;
        for (index, credit) in self.credit.iter_mut().enumerate() {
            if !candidates.is_eligible(index) {
                continue;
            }
            let share = f64::from(candidates.weight(index)) * candidates.ramp(index) * UNIT;
            let share = share as i64;
            *credit += share;
            given += share;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((index, *credit));
            }
        }
        let (index, _) = richest?;
        self.credit[index] -= given;
        Some(index)
    }
}
