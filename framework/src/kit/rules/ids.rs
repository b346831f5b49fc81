use std::collections::BTreeSet;

use crate::{
    Protocol,
    kit::{
        Report, Rule, Shape,
        probe::{Facts, Parsed, encode},
    },
};

pub(super) fn check<P>(protocol: &P, parsed: &Parsed<'_, P>, report: &mut Report)
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let Some(bits) = <P::Correlation as Shape<P>>::ID_BITS else { return };
    for n in 0..parsed.pieces.len() {
        let outcome = rewrite(protocol, parsed, n, bits);
        report.note(Rule::Id, &parsed.sample.name, parsed.pieces[n].at.start, outcome);
    }
}

fn rewrite<P>(protocol: &P, parsed: &Parsed<'_, P>, n: usize, bits: u32) -> Result<(), String>
where
    P: Protocol,
    P::Correlation: Shape<P>,
{
    let piece = &parsed.pieces[n];
    let own_id = P::Correlation::id(protocol, &piece.frame);
    let original = encode(protocol, &piece.frame);
    let widest = u64::MAX >> 64u32.saturating_sub(bits);
    let mut changed = BTreeSet::new();
    for id in [0, 1, widest, widest / 2 + 1, 0x0123_4567_89ab_cdef & widest, own_id ^ 1] {
        let mut frame = piece.frame.clone();
        P::Correlation::set_id(protocol, &mut frame, id);
        let read = P::Correlation::id(protocol, &frame);
        if read != id {
            return Err(format!("set to {id:#x}, reads {read:#x}"));
        }
        let bytes = encode(protocol, &frame);
        if bytes.len() != original.len() {
            return Err(format!("{id:#x} makes {} bytes of {}", bytes.len(), original.len()));
        }
        changed.extend((0..bytes.len()).filter(|at| bytes[*at] != original[*at]));
        let mut arrived = parsed
            .over_the_wire(protocol, n, &frame)
            .map_err(|problem| format!("with id {id:#x}, {problem}"))?;
        let read = P::Correlation::id(protocol, &arrived);
        if read != id {
            return Err(format!("set to {id:#x}, arrives as {read:#x}"));
        }
        let facts = Facts::of(&arrived);
        if facts != piece.facts {
            return Err(format!("with id {id:#x} it is {facts:?}, not {:?}", piece.facts));
        }
        P::Correlation::set_id(protocol, &mut arrived, own_id);
        if encode(protocol, &arrived) != original {
            return Err(format!("set to {id:#x} and back, other bytes differ"));
        }
    }
    // The id is one run of bytes, a checksum over it another.
    let runs = changed.iter().filter(|at| !changed.contains(&at.wrapping_sub(1))).count();
    if runs > 2 {
        return Err(format!("changes bytes in {runs} places: {changed:?}"));
    }
    Ok(())
}
