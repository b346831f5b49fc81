use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;

use crate::{
    DecodeError, Limits, Protocol,
    kit::{
        Report, Rule,
        probe::{Parsed, roomy},
    },
};

/// Lengths are looked for in so many first bytes of a frame.
const HEAD: usize = 64;
/// What a decoder may put aside before anything more has arrived.
const SPARE: usize = 64 * 1024;
/// Written over every place where a length might stand: the largest of each width, and 16 MiB either way round, which the
/// default limits allow.
const LIES: [&[u8]; 7] = [
    &[0xff],
    &[0xff; 2],
    &[0xff; 4],
    &[0xff; 8],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x01, 0, 0, 0],
    &[0, 0, 0, 0x01],
];

pub(super) fn check<P: Protocol>(protocol: &P, parsed: &Parsed<'_, P>, report: &mut Report) {
    let name = &parsed.sample.name;
    for (n, piece) in parsed.pieces.iter().enumerate() {
        let (start, len) = (piece.at.start, piece.at.len());
        report.note(Rule::Limit, name, start, at_limit(protocol, parsed, n, len, true));
        report.note(Rule::Limit, name, start, at_limit(protocol, parsed, n, len - 1, false));
        for at in 0..len.min(HEAD) {
            for lie in LIES {
                let mut bytes = parsed.bytes_of(n)[..len.min(SPARE)].to_vec();
                bytes.iter_mut().skip(at).zip(lie).for_each(|(byte, lie)| *byte = *lie);
                let lied_to = catch_unwind(AssertUnwindSafe(|| {
                    (reserve(protocol, parsed, n, &bytes), starve(protocol, parsed, n, &bytes))
                }));
                match lied_to {
                    Ok((reserve, starve)) => {
                        report.note(Rule::Reserve, name, start + at, reserve);
                        report.note(Rule::Limit, name, start + at, starve);
                    }
                    Err(_) => {
                        let detail = format!("by {lie:02x?} written there");
                        report.note(Rule::Panic, name, start + at, Err(detail));
                    }
                }
            }
        }
    }
}

/// A whole frame under a limit of `max_frame` bytes: taken, or refused by that limit.
fn at_limit<P: Protocol>(
    protocol: &P,
    parsed: &Parsed<'_, P>,
    n: usize,
    max_frame: usize,
    fits: bool,
) -> Result<(), String> {
    let limits = Limits { max_frame, ..roomy() };
    let mut input = BytesMut::from(parsed.bytes_of(n));
    let mut state = parsed.state_before(protocol, n);
    match (protocol.decode(parsed.sample.from, &mut state, &limits, &mut input), fits) {
        (Ok(Some(_)), true) => Ok(()),
        (Err(DecodeError::Limit { max, seen, .. }), false)
            if max == max_frame as u64 && seen > max =>
        {
            Ok(())
        }
        (outcome, _) => {
            let outcome = outcome.map(|frame| frame.map(|_| "a frame"));
            Err(format!("under a limit of {max_frame} bytes it is {outcome:?}"))
        }
    }
}

/// Nothing is put aside for bytes that a lie only announces.
fn reserve<P: Protocol>(
    protocol: &P,
    parsed: &Parsed<'_, P>,
    n: usize,
    bytes: &[u8],
) -> Result<(), String> {
    let mut input = BytesMut::from(bytes);
    let before = input.capacity();
    let mut state = parsed.state_before(protocol, n);
    // Whatever it makes of the lie.
    drop(protocol.decode(parsed.sample.from, &mut state, &Limits::default(), &mut input));
    let after = input.capacity();
    if after > before + SPARE {
        return Err(format!("{} bytes made it reserve {}", bytes.len(), after - before));
    }
    Ok(())
}

/// Who waits for the rest of a lie has refused it by the time that the limit is there.
fn starve<P: Protocol>(
    protocol: &P,
    parsed: &Parsed<'_, P>,
    n: usize,
    bytes: &[u8],
) -> Result<(), String> {
    let max_frame = bytes.len() + 512;
    let limits = Limits { max_frame, max_header: max_frame, ..Limits::default() };
    for filler in [0, b'x'] {
        let mut input = BytesMut::from(bytes);
        let mut state = parsed.state_before(protocol, n);
        for _ in 0..64 {
            match protocol.decode(parsed.sample.from, &mut state, &limits, &mut input) {
                Err(_) => break,
                // A frame of no bytes is another rule's matter.
                Ok(Some(_)) => {}
                Ok(None) if input.len() > max_frame => {
                    let held = input.len();
                    return Err(format!(
                        "it asks for more than {held} bytes where {max_frame} are allowed"
                    ));
                }
                Ok(None) => {
                    let longer = input.len() + 128;
                    input.resize(longer, filler);
                }
            }
        }
    }
    Ok(())
}
