//! A frame for tests: a service, a method, a timeout and headers.

use std::{borrow::Cow, time::Duration};

use wiremesh::{EditError, Frame, HeaderView, Kind};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Request {
    pub(super) service: Option<String>,
    pub(super) method: Option<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) headers: Vec<(String, String)>,
    /// How often `set_timeout` was called.
    pub(super) timeouts_set: u32,
    /// Refuses edits, as a protocol without headers does.
    pub(super) read_only: bool,
}

impl Request {
    pub(super) fn new(service: &str, method: &str) -> Self {
        Self { service: Some(service.into()), method: Some(method.into()), ..Self::default() }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn with_timeout(timeout: Option<Duration>) -> Self {
        Self { timeout, ..Self::default() }
    }
}

impl HeaderView for Request {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.into())
    }

    fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.remove_header(name)?;
        self.headers.push((name.into(), value.into()));
        Ok(())
    }

    fn remove_header(&mut self, name: &str) -> Result<bool, EditError> {
        if self.read_only {
            return Err(EditError::Unsupported("a header"));
        }
        let before = self.headers.len();
        self.headers.retain(|(n, _)| n != name);
        Ok(self.headers.len() < before)
    }
}

impl Frame for Request {
    fn kind(&self) -> Kind {
        Kind::Request
    }

    fn wire_len(&self) -> usize {
        0
    }

    fn service(&self) -> Option<Cow<'_, str>> {
        self.service.as_deref().map(Cow::Borrowed)
    }

    fn method(&self) -> Option<Cow<'_, str>> {
        self.method.as_deref().map(Cow::Borrowed)
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
        self.timeouts_set += 1;
    }
}
