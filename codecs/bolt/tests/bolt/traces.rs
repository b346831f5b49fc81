//! SOFATracer's context, read and written.

use wiremesh::{HeaderView, TraceContext};
use wiremesh_bolt::{BoltFrame, Builder};

use crate::common::sent;

const TRACE_ID: &str = "rpc_trace_context.sofaTraceId";
const SPAN_ID: &str = "rpc_trace_context.sofaRpcId";
const SAMPLED: &str = "rpc_trace_context.samp";
const ONE_LINE: &str = "new_rpc_trace_context";

fn with(headers: &[(&str, &str)]) -> BoltFrame {
    Builder { headers, ..Builder::default() }.build().unwrap()
}

fn context(
    trace_id: &'static str,
    span_id: &'static str,
    sampled: Option<bool>,
) -> TraceContext<'static> {
    TraceContext { trace_id: trace_id.into(), span_id: span_id.into(), sampled }
}

#[test]
fn a_key_for_each_value() {
    for (headers, want) in [
        (&[][..], None),
        (&[(SPAN_ID, "0")], None),
        (&[(TRACE_ID, " ")], None),
        (&[(TRACE_ID, "t")], Some(context("t", "", None))),
        (
            &[(TRACE_ID, "t"), (SPAN_ID, "0.1"), (SAMPLED, "true")],
            Some(context("t", "0.1", Some(true))),
        ),
        (&[(TRACE_ID, "t"), (SAMPLED, "FALSE")], Some(context("t", "", Some(false)))),
        // Older tracers put the decision into the baggage.
        (
            &[(TRACE_ID, "t"), (SAMPLED, ""), ("rpc_trace_context.sysPenAttrs", "a=b&samp=true&")],
            Some(context("t", "", Some(true))),
        ),
    ] {
        assert_eq!(with(headers).trace(), want, "{headers:?}");
    }
}

#[test]
fn one_line_wins() {
    let line = "tcid=t1&spid=0.2&pspid=0&sample=false&_sys_k=v&user=a%26b&";
    let frame = with(&[(TRACE_ID, "old"), (SPAN_ID, "9"), (SAMPLED, "true"), (ONE_LINE, line)]);
    assert_eq!(frame.trace(), Some(context("t1", "0.2", Some(false))));
    assert_eq!(with(&[(TRACE_ID, "old"), (ONE_LINE, "")]).trace(), Some(context("old", "", None)));
    assert_eq!(
        with(&[(ONE_LINE, "tcid=a%253D%26%3D%25&sample=true")]).trace(),
        Some(context("a%3D&=%", "", Some(true)))
    );
    assert_eq!(with(&[(ONE_LINE, "spid=1&nothing&")]).trace(), None);
}

#[test]
fn writing_keeps_the_form_that_is_there() {
    let ours = context("t2", "0.2.1", Some(true));
    let mut frame = with(&[("app", "a")]);
    frame.set_trace(&ours).unwrap();
    let there = sent(&frame);
    assert_eq!(there.header(TRACE_ID).as_deref(), Some("t2"));
    assert_eq!(there.header(SPAN_ID).as_deref(), Some("0.2.1"));
    assert_eq!(there.header(SAMPLED).as_deref(), Some("true"));
    assert_eq!(there.header(ONE_LINE), None);
    assert_eq!(there.trace(), Some(ours.clone()));

    let line = "tcid=t1&spid=0.2&pspid=0&sample=false&_sys_k=v&user=a%26b&";
    let mut frame = with(&[(ONE_LINE, line)]);
    frame.set_trace(&ours).unwrap();
    let written = "tcid=t2&spid=0.2.1&pspid=0.2&sample=true&_sys_k=v&user=a%26b&";
    assert_eq!(frame.header(ONE_LINE).as_deref(), Some(written));
    assert_eq!(frame.header(TRACE_ID), None);
    assert_eq!(sent(&frame).trace(), Some(ours.clone()));

    let mut frame = with(&[(ONE_LINE, line), (TRACE_ID, "t1")]);
    frame.set_trace(&ours).unwrap();
    assert_eq!(frame.header(ONE_LINE).as_deref(), Some(written));
    assert_eq!(frame.header(TRACE_ID).as_deref(), Some("t2"));
}

#[test]
fn no_decision_leaves_the_one_that_is_there() {
    let undecided = context("t2", "0", None);
    let mut frame = with(&[(TRACE_ID, "t1"), (SAMPLED, "true")]);
    frame.set_trace(&undecided).unwrap();
    assert_eq!(frame.trace(), Some(context("t2", "0", Some(true))));
    let mut frame = with(&[(ONE_LINE, "tcid=t1&sample=false&")]);
    frame.set_trace(&undecided).unwrap();
    assert_eq!(frame.trace(), Some(context("t2", "0", Some(false))));
}

#[test]
fn ids_with_separators_in_them_are_escaped() {
    let odd = context("a=b&c%d", "0", None);
    let mut frame = with(&[(ONE_LINE, "tcid=t&")]);
    frame.set_trace(&odd).unwrap();
    assert_eq!(frame.trace(), Some(odd));
}

#[test]
fn without_room_nothing_is_written() {
    let filler = "v".repeat(32_767 - 9 - 60);
    let mut frame = with(&[("k", &filler)]);
    let before = frame.as_bytes().to_vec();
    // The trace id alone would fit.
    assert!(frame.set_trace(&context("t", "0", Some(true))).is_err());
    assert_eq!(frame.as_bytes(), before);
}
