//! SOFATracer's context in the header: one key for each value, or all of it in one.

use wiremesh::{EditError, HeaderView, TraceContext};

use crate::BoltFrame;

const TRACE_ID: &str = "rpc_trace_context.sofaTraceId";
const SPAN_ID: &str = "rpc_trace_context.sofaRpcId";
const SAMPLED: &str = "rpc_trace_context.samp";
/// The calling application, where the header `app` does not name it.
pub(crate) const CALLER_APP: &str = "rpc_trace_context.sofaCallerApp";

pub(crate) fn read(frame: &BoltFrame) -> Option<TraceContext<'_>> {
    Some(TraceContext {
        trace_id: frame.header(TRACE_ID)?,
        span_id: frame.header(SPAN_ID).unwrap_or_default(),
        sampled: frame.header(SAMPLED).and_then(|text| text.parse().ok()),
    })
}

pub(crate) fn write(frame: &mut BoltFrame, trace: &TraceContext<'_>) -> Result<(), EditError> {
    frame.set_header(TRACE_ID, &trace.trace_id)?;
    frame.set_header(SPAN_ID, &trace.span_id)?;
    if let Some(sampled) = trace.sampled {
        frame.set_header(SAMPLED, if sampled { "true" } else { "false" })?;
    }
    Ok(())
}
