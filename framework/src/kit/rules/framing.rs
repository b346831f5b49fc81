use bytes::BytesMut;

use crate::{
    Protocol,
    kit::{
        Report, Rule,
        probe::{Facts, Parsed, encode, feed, roomy},
    },
};

/// Samples longer than this are not cut at every byte and not fed byte by byte: it would take for ever.
const LONG: usize = 16 * 1024;

pub(super) fn check<P: Protocol>(protocol: &P, parsed: &Parsed<'_, P>, report: &mut Report) {
    let name = &parsed.sample.name;
    for (n, piece) in parsed.pieces.iter().enumerate() {
        let (start, bytes) = (piece.at.start, parsed.bytes_of(n));
        let encoded = encode(protocol, &piece.frame);
        report.note(Rule::Untouched, name, start, same_bytes(bytes, &encoded));
        let says = piece.facts.wire_len;
        let outcome = if says == bytes.len() {
            Ok(())
        } else {
            Err(format!("says {says} bytes, is {}", bytes.len()))
        };
        report.note(Rule::WireLen, name, start, outcome);
        report.note(Rule::Boundary, name, piece.at.end, boundary(protocol, parsed, n));
    }
    // What cannot stand being cut cannot stand coming in pieces: one breach of it is enough.
    if truncation(protocol, parsed, report) {
        chunking(protocol, parsed, report);
    }
}

fn same_bytes(want: &[u8], got: &[u8]) -> Result<(), String> {
    if want == got {
        return Ok(());
    }
    let at = want.iter().zip(got).take_while(|(want, got)| want == got).count();
    Err(format!(
        "{} bytes became {}, the first that differs is {at}: {:02x?} became {:02x?}",
        want.len(),
        got.len(),
        want.get(at),
        got.get(at)
    ))
}

fn boundary<P: Protocol>(protocol: &P, parsed: &Parsed<'_, P>, n: usize) -> Result<(), String> {
    let next = parsed.sample.bytes[0];
    let mut input = BytesMut::from(parsed.bytes_of(n));
    input.extend_from_slice(&[next]);
    let mut state = parsed.state_before(protocol, n);
    match protocol.decode(parsed.sample.from, &mut state, &roomy(), &mut input) {
        Ok(Some(frame)) if input[..] == [next] => {
            let facts = Facts::of(&frame);
            if facts == parsed.pieces[n].facts {
                Ok(())
            } else {
                Err(format!("is another frame when a byte follows it: {facts:?}"))
            }
        }
        Ok(Some(_)) => Err(format!("takes {} bytes more or less than its own", input.len())),
        Ok(None) => Err("is no frame when a byte follows it".to_owned()),
        Err(error) => Err(format!("is refused when a byte follows it: {error}")),
    }
}

/// Where a frame of this length is cut: everywhere, or in a long one at head and tail and now and then between.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    let edge = if len > LONG { 512 } else { len };
    let step = if len > LONG { len / 64 } else { 1 };
    (0..len).filter(move |cut| *cut < edge || *cut > len - 64 || cut % step == 0)
}

fn truncation<P: Protocol>(protocol: &P, parsed: &Parsed<'_, P>, report: &mut Report) -> bool {
    let (mut fine, from) = (true, parsed.sample.from);
    for (n, piece) in parsed.pieces.iter().enumerate() {
        let bytes = parsed.bytes_of(n);
        for cut in cuts(bytes.len()) {
            let mut input = BytesMut::from(&bytes[..cut]);
            let mut state = parsed.state_before(protocol, n);
            let outcome = match protocol.decode(from, &mut state, &roomy(), &mut input) {
                Ok(None) if input[..] == bytes[..cut] => Ok(()),
                Ok(None) => Err("asked for more, and changed the bytes that are there".to_owned()),
                Ok(Some(_)) => Err(format!("{cut} of {} bytes are a frame", bytes.len())),
                Err(error) => Err(format!("{cut} of {} bytes are refused: {error}", bytes.len())),
            };
            fine &=
                report.note(Rule::Truncation, &parsed.sample.name, piece.at.start + cut, outcome);
        }
    }
    fine
}

fn chunking<P: Protocol>(protocol: &P, parsed: &Parsed<'_, P>, report: &mut Report) {
    let sample = parsed.sample;
    let want: Vec<_> = parsed
        .pieces
        .iter()
        .map(|piece| (piece.facts.clone(), encode(protocol, &piece.frame)))
        .collect();
    let smallest = if sample.bytes.len() > LONG { 1024 } else { 1 };
    for size in [1, 2, 3, 5, 7, 16, 61, 1024, 16 * 1024].into_iter().filter(|s| *s >= smallest) {
        let fed = feed(protocol, sample.from, &roomy(), &sample.bytes, || size);
        let same = want.iter().zip(&fed.frames).take_while(|(want, got)| want == got).count();
        let outcome = if same == want.len() && fed.end == Ok(0) && fed.frames.len() == same {
            Ok(())
        } else {
            Err(format!(
                "in pieces of {size}: {} frames instead of {}, frame {same} differs, end {:?}",
                fed.frames.len(),
                want.len(),
                fed.end
            ))
        };
        let offset = parsed.pieces.get(same).map_or(0, |piece| piece.at.start);
        report.note(Rule::Chunking, &sample.name, offset, outcome);
    }
}
