//! SOFATracer's context in the header.
//!
//! Two forms: a key for each value under `rpc_trace_context.`, which SOFARPC writes; and one header,
//! `new_rpc_trace_context`, with `tcid=..&spid=..&pspid=..&sample=..&` and baggage. A receiver that finds the second
//! does not look at the first. (SOFATracer `SofaTracerSpanContext`, SOFARPC `RpcSofaTracer`.)

use std::{borrow::Cow, fmt::Write};

use wiremesh::{EditError, HeaderView, TraceContext};

use crate::BoltFrame;

const TRACE_ID: &str = "rpc_trace_context.sofaTraceId";
const SPAN_ID: &str = "rpc_trace_context.sofaRpcId";
const SAMPLED: &str = "rpc_trace_context.samp";
/// Baggage of the tracer's own, where older ones put the sampling decision.
const SYSTEM_BAGGAGE: &str = "rpc_trace_context.sysPenAttrs";
/// The calling application, where the header `app` does not name it.
pub(crate) const CALLER_APP: &str = "rpc_trace_context.sofaCallerApp";

const ONE_LINE: &str = "new_rpc_trace_context";

pub(crate) fn read(frame: &BoltFrame) -> Option<TraceContext<'_>> {
    if let Some(line) = filled(frame, ONE_LINE) {
        return Some(TraceContext {
            trace_id: entry(&line, "tcid")?,
            span_id: entry(&line, "spid").unwrap_or_default(),
            sampled: entry(&line, "sample").map(|text| is_true(&text)),
        });
    }
    let sampled = filled(frame, SAMPLED)
        .or_else(|| filled(frame, SYSTEM_BAGGAGE).and_then(|line| entry(&line, "samp")));
    Some(TraceContext {
        trace_id: filled(frame, TRACE_ID)?,
        span_id: frame.header(SPAN_ID).unwrap_or_default(),
        sampled: sampled.map(|text| is_true(&text)),
    })
}

/// Writes the form that is there, both where both are, and the first where neither is.
pub(crate) fn write(frame: &mut BoltFrame, trace: &TraceContext<'_>) -> Result<(), EditError> {
    let line = filled(frame, ONE_LINE).map(|line| replace(&line, trace));
    let mut edits: [Option<(&str, &str)>; 4] = [None; 4];
    if line.is_none() || frame.header(TRACE_ID).is_some() {
        let sampled = trace.sampled.map(|sampled| if sampled { "true" } else { "false" });
        edits = [
            Some((TRACE_ID, &trace.trace_id)),
            Some((SPAN_ID, &trace.span_id)),
            sampled.map(|text| (SAMPLED, text)),
            None,
        ];
    }
    if let (Some(line), [.., last]) = (&line, &mut edits) {
        *last = Some((ONE_LINE, line));
    }
    frame.has_room_for(edits.iter().flatten().copied())?;
    edits.iter().flatten().try_for_each(|(name, value)| frame.set_header(name, value))
}

fn filled<'a>(frame: &'a BoltFrame, name: &str) -> Option<Cow<'a, str>> {
    frame.header(name).filter(|value| !value.trim().is_empty())
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// The value of `key` in a line of `key=value&`, the last one where there are several.
fn entry<'a>(line: &Cow<'a, str>, key: &str) -> Option<Cow<'a, str>> {
    fn find<'a>(line: &'a str, key: &str) -> Option<Cow<'a, str>> {
        let mut pairs = line.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.rfind(|&(name, value)| name == key && !value.trim().is_empty())?.1;
        Some(unescaped(value))
    }
    match line {
        Cow::Borrowed(line) => find(line, key),
        Cow::Owned(line) => find(line, key).map(|value| Cow::Owned(value.into_owned())),
    }
}

/// The line with the trace's values in it, and everything else as it was.
fn replace(line: &str, trace: &TraceContext<'_>) -> String {
    let parent = trace.span_id.rsplit_once('.').map_or("", |(parent, _)| parent);
    let sampled = trace.sampled.map(|sampled| if sampled { "true" } else { "false" });
    let ours = [
        ("tcid", Some(&*trace.trace_id)),
        ("spid", Some(&*trace.span_id)),
        ("pspid", Some(parent)),
        ("sample", sampled),
    ];
    let ours = ours.into_iter().filter_map(|(key, value)| Some((key, value?)));

    let mut out = String::new();
    for (key, value) in ours.clone() {
        // Writing into a string cannot fail.
        let _ = write!(out, "{key}={}&", escaped(value));
    }
    for pair in line.split('&').filter(|pair| !pair.is_empty()) {
        if !pair.split_once('=').is_some_and(|(key, _)| ours.clone().any(|(ours, _)| ours == key)) {
            let _ = write!(out, "{pair}&");
        }
    }
    out
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains('%') {
        // The percent sign last, so that none is made into another escape.
        Cow::Owned(text.replace("%3D", "=").replace("%26", "&").replace("%25", "%"))
    } else {
        Cow::Borrowed(text)
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '=', '&']) {
        Cow::Owned(text.replace('%', "%25").replace('&', "%26").replace('=', "%3D"))
    } else {
        Cow::Borrowed(text)
    }
}
