use crate::{
    Detection, Peer, Protocol,
    kit::{Report, Rule, Samples},
};

/// Longer prefixes say no more of how a connection begins.
const LONGEST: usize = 4096;

pub(super) fn check<P: Protocol>(samples: &Samples, report: &mut Report) {
    // Where the server speaks first there is nothing to detect by.
    if P::SERVER_FIRST {
        return;
    }
    for sample in samples.own().iter().filter(|sample| sample.from == Peer::Client) {
        let (offset, outcome) = own::<P>(&sample.bytes);
        report.note(Rule::Detect, &sample.name, offset, outcome);
    }
    for (name, bytes) in &samples.foreign {
        let (offset, outcome) = foreign::<P>(bytes);
        report.note(Rule::Foreign, name, offset, outcome);
    }
}

fn own<P: Protocol>(bytes: &[u8]) -> (usize, Result<(), String>) {
    let mut matched = false;
    for len in 0..=bytes.len().min(LONGEST) {
        let problem = match P::detect(&bytes[..len]) {
            Detection::Match => {
                matched = true;
                continue;
            }
            Detection::Mismatch => format!("{len} bytes are a mismatch"),
            Detection::NeedMore(_) if matched => {
                format!("{len} bytes need more, and fewer were a match")
            }
            Detection::NeedMore(want) if want <= len => {
                format!("{len} bytes need more, namely {want}")
            }
            Detection::NeedMore(want) if want > bytes.len() => {
                format!("{len} bytes need {want}, and the client has said all it has to say")
            }
            Detection::NeedMore(_) => continue,
        };
        return (len, Err(problem));
    }
    (0, Ok(()))
}

fn foreign<P: Protocol>(bytes: &[u8]) -> (usize, Result<(), String>) {
    let mut decided = false;
    for len in 0..=bytes.len().min(LONGEST) {
        let problem = match P::detect(&bytes[..len]) {
            Detection::Mismatch => {
                decided = true;
                continue;
            }
            Detection::Match => format!("{len} bytes are a match"),
            Detection::NeedMore(_) if decided => {
                format!("{len} bytes need more, and fewer were a mismatch")
            }
            Detection::NeedMore(want) if want <= len => {
                format!("{len} bytes need more, namely {want}")
            }
            Detection::NeedMore(_) => continue,
        };
        return (len, Err(problem));
    }
    if decided {
        return (0, Ok(()));
    }
    (bytes.len(), Err("all of it is not enough to be a mismatch".to_owned()))
}
