use std::time::Duration;

use crate::{
    EditError, Frame, HeaderSupport, HeaderView, Kind, Protocol, TraceContext,
    kit::{
        Report, Rule,
        probe::{Facts, Parsed, encode},
        rules::ALL_SAMPLES,
    },
};

const NAME: &str = "wiremesh-kit";
/// Of several lengths, one of them not ASCII.
const VALUES: [&str; 4] = ["1", "a longer one, with a \u{fc} in it", "", "=;,: \t\""];

pub(super) fn check<P: Protocol>(protocol: &P, parsed: &Parsed<'_, P>, report: &mut Report) {
    for (n, piece) in parsed.pieces.iter().enumerate() {
        let (name, start) = (&parsed.sample.name, piece.at.start);
        let edit = Edit { protocol, parsed, n };
        match P::HEADERS {
            HeaderSupport::Edit => {
                report.note(Rule::Header, name, start, edit.headers());
                report.note(Rule::Trace, name, start, edit.trace());
            }
            HeaderSupport::Read | HeaderSupport::None => {
                report.note(Rule::Header, name, start, edit.no_headers(P::HEADERS));
            }
        }
        if piece.facts.kind == Kind::Request {
            report.note(Rule::Timeout, name, start, edit.timeout());
        }
    }
}

/// Who promises that headers can be edited has a sample in which they can.
pub(super) fn check_support<P: Protocol>(
    _protocol: &P,
    all: &[Parsed<'_, P>],
    report: &mut Report,
) {
    if P::HEADERS != HeaderSupport::Edit || all.is_empty() {
        return;
    }
    let mut frames = all.iter().flat_map(|parsed| &parsed.pieces).map(|piece| piece.frame.clone());
    let outcome = if frames.any(|mut frame| frame.set_header(NAME, VALUES[0]).is_ok()) {
        Ok(())
    } else {
        Err("headers can be edited, it is said, but in no sample".to_owned())
    };
    report.note(Rule::Header, ALL_SAMPLES, 0, outcome);
}

/// One frame, to be edited.
struct Edit<'a, 'b, P: Protocol> {
    protocol: &'a P,
    parsed: &'a Parsed<'b, P>,
    n: usize,
}

impl<P: Protocol> Edit<'_, '_, P> {
    fn frame(&self) -> P::Frame {
        self.parsed.pieces[self.n].frame.clone()
    }

    fn facts(&self) -> &Facts {
        &self.parsed.pieces[self.n].facts
    }

    /// The other end's view of an edited frame.
    fn arrived(&self, frame: &P::Frame) -> Result<P::Frame, String> {
        self.parsed
            .over_the_wire(self.protocol, self.n, frame)
            .map_err(|problem| format!("edited, it {problem}"))
    }

    /// Whether an edit left alone what is neither header nor trace nor timeout.
    fn same_otherwise(&self, frame: &P::Frame) -> Result<(), String> {
        let facts = Facts::of(frame);
        if facts.core() == self.facts().core() {
            return Ok(());
        }
        Err(format!("edited, it is {facts:?}, not {:?}", self.facts()))
    }

    fn unchanged(&self, frame: &P::Frame, error: &EditError) -> Result<(), String> {
        if encode(self.protocol, frame) == encode(self.protocol, &self.frame()) {
            Ok(())
        } else {
            Err(format!("changed by an edit that failed: {error}"))
        }
    }

    fn headers(&self) -> Result<(), String> {
        let mut frame = self.frame();
        for value in VALUES {
            if let Err(error) = frame.set_header(NAME, value) {
                return self.unchanged(&frame, &error);
            }
            self.reads(&frame, NAME, Some(value))?;
        }
        if frame.remove_header(NAME) != Ok(true) {
            return Err(format!("{NAME} is there and cannot be removed"));
        }
        self.reads(&frame, NAME, None)?;
        if frame.remove_header(NAME) != Ok(false) {
            return Err(format!("{NAME} was removed and is there to be removed"));
        }
        if encode(self.protocol, &frame) != encode(self.protocol, &self.frame()) {
            return Err(format!("with {NAME} set and removed, other bytes differ"));
        }
        for (name, _) in &self.facts().headers {
            let mut frame = self.frame();
            if frame.set_header(name, VALUES[0]).is_ok() {
                self.reads(&frame, name, Some(VALUES[0]))?;
            }
        }
        self.huge()
    }

    /// After an edit of `name`: that header as `want`, on both sides of the wire, and every other as it was.
    fn reads(&self, frame: &P::Frame, name: &str, want: Option<&str>) -> Result<(), String> {
        let others = |headers: &[(String, String)]| -> Vec<(String, String)> {
            headers.iter().filter(|header| header.0 != name).cloned().collect()
        };
        let arrived = self.arrived(frame)?;
        // Service and method may themselves be read from headers; never from this one.
        if name == NAME {
            self.same_otherwise(&arrived)?;
        }
        for (frame, when) in [(frame, "set"), (&arrived, "arrived")] {
            let got = frame.header(name);
            if got.as_deref() != want {
                return Err(format!("{when}, {name} reads {got:?}, not {want:?}"));
            }
            let (now, before) = (others(&Facts::of(frame).headers), others(&self.facts().headers));
            if now != before {
                return Err(format!("{when}, other headers are {now:?}, not {before:?}"));
            }
        }
        Ok(())
    }

    /// What does not fit is refused, or fits after all.
    fn huge(&self) -> Result<(), String> {
        for len in [0x7fff, 0x1_0000, 0x10_0000] {
            let (mut frame, value) = (self.frame(), "x".repeat(len));
            match frame.set_header(NAME, &value) {
                Ok(()) => self.reads(&frame, NAME, Some(&value)).map_err(|_| {
                    format!("a value of {len} bytes was taken, and does not survive the wire")
                })?,
                Err(error) => self.unchanged(&frame, &error)?,
            }
        }
        Ok(())
    }

    fn no_headers(&self, support: HeaderSupport) -> Result<(), String> {
        let mut frame = self.frame();
        if frame.set_header(NAME, VALUES[0]).is_ok() || frame.remove_header(NAME).is_ok() {
            return Err(format!("headers can be edited, though HEADERS says {support:?}"));
        }
        let listed = &self.facts().headers;
        if support == HeaderSupport::None && !listed.is_empty() {
            return Err(format!("there are headers, though HEADERS says None: {listed:?}"));
        }
        match listed.iter().find(|(name, _)| frame.header(name).is_none()) {
            Some((name, _)) => Err(format!("{name} is listed and reads as none")),
            None => Ok(()),
        }
    }

    fn trace(&self) -> Result<(), String> {
        let mut frame = self.frame();
        let trace = TraceContext {
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            span_id: "b7ad6b7169203331".into(),
            sampled: Some(true),
        };
        if let Err(error) = frame.set_trace(&trace) {
            return self.unchanged(&frame, &error);
        }
        let arrived = self.arrived(&frame)?;
        self.same_otherwise(&arrived)?;
        match arrived.trace() {
            Some(got)
                if got.trace_id == trace.trace_id
                    && got.span_id == trace.span_id
                    && got.sampled != Some(false) =>
            {
                Ok(())
            }
            got => Err(format!("{trace:?} arrives as {got:?}")),
        }
    }

    fn timeout(&self) -> Result<(), String> {
        let set = |timeout| {
            let mut frame = self.frame();
            frame.set_timeout(timeout);
            let arrived = self.arrived(&frame)?;
            self.same_otherwise(&arrived).map(|()| (arrived.timeout(), frame))
        };
        let five = Duration::from_secs(5);
        let (got, frame) = set(five)?;
        if got.is_none() && self.facts().timeout.is_none() {
            // There is no place for it, and so it must change nothing.
            return self.unchanged(&frame, &EditError::Unsupported("a timeout"));
        }
        if got != Some(five) {
            return Err(format!("{five:?} arrives as {got:?}"));
        }
        let (short, _) = set(Duration::from_nanos(1))?;
        if !short.is_some_and(|short| !short.is_zero() && short <= Duration::from_secs(1)) {
            return Err(format!("1 ns arrives as {short:?}"));
        }
        let (long, _) = set(Duration::MAX)?;
        if long.is_some_and(|long| long < Duration::from_secs(86_400)) {
            return Err(format!("the longest there is arrives as {long:?}"));
        }
        Ok(())
    }
}
