use std::borrow::Cow;

use crate::EditError;

/// Which header operations a protocol has. Configuration that needs more is refused before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderSupport {
    /// No headers at all: reads find nothing, edits are refused.
    None,
    /// Headers can be read.
    Read,
    /// Headers can be read, set and removed.
    Edit,
}

/// A message's place in a distributed trace, in whatever form its protocol carries it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TraceContext<'a> {
    /// The trace's id, as on the wire.
    pub trace_id: Cow<'a, str>,
    /// The caller's span id, as on the wire.
    pub span_id: Cow<'a, str>,
    /// The sampling decision, where one was made.
    pub sampled: Option<bool>,
}

/// A message's headers, read lazily from its raw bytes.
///
/// The defaults are those of a protocol without headers. Text that is not UTF-8 reads with replacement characters; the
/// bytes on the wire stay as they are unless that very header is set.
pub trait HeaderView {
    /// The value of the header `name`. Where a name occurs twice, the value a receiver would use.
    fn header(&self, _name: &str) -> Option<Cow<'_, str>> {
        None
    }

    /// Calls `each` with every name and value, in wire order.
    fn for_each_header(&self, _each: &mut dyn FnMut(&str, &str)) {}

    /// Sets `name` to `value`, replacing every earlier value of it.
    fn set_header(&mut self, _name: &str, _value: &str) -> Result<(), EditError> {
        Err(EditError::Unsupported("a header"))
    }

    /// Removes `name`, and says whether it was there.
    fn remove_header(&mut self, _name: &str) -> Result<bool, EditError> {
        Err(EditError::Unsupported("a header"))
    }

    /// The trace context that the message carries.
    fn trace(&self) -> Option<TraceContext<'_>> {
        None
    }

    /// Writes a trace context in the protocol's own form.
    fn set_trace(&mut self, _trace: &TraceContext<'_>) -> Result<(), EditError> {
        Err(EditError::Unsupported("a trace context"))
    }

    /// The calling application's name, where the protocol carries one.
    fn caller(&self) -> Option<Cow<'_, str>> {
        None
    }
}
