use wiremesh::{Frame, Kind};

use crate::{BoltFrame, Version, header::Invoke, wire::codec};

/// What an answer needs to know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub(crate) id: u32,
    pub(crate) version: Version,
    pub(crate) kind: Kind,
    pub(crate) codec: u8,
    pub(crate) switch: u8,
    pub(crate) caller: Caller,
}

/// What awaits the answer, as far as the form of an error depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Something that uses SOFABolt by itself, with classes of its own.
    Bolt,
    /// SOFARPC in another language than Java.
    Sofa,
    /// SOFARPC for Java, not known more closely.
    Java,
    /// SOFARPC for Java, with a thread that waits or will, and objects of their own classes in the answer: an exception
    /// in place of the result is thrown there.
    JavaThread,
    /// SOFARPC for Java, with a callback, which takes errors of the framework apart from exceptions of the service.
    JavaCallback,
}

impl RequestHead {
    #[inline]
    pub(crate) fn of(request: &BoltFrame) -> Self {
        Self {
            id: request.id(),
            version: request.version(),
            kind: request.kind(),
            codec: request.codec(),
            switch: request.switch().unwrap_or_default(),
            caller: Caller::of(request),
        }
    }
}

impl Caller {
    #[inline]
    fn of(request: &BoltFrame) -> Self {
        if !request.is_sofa_request() {
            return Self::Bolt;
        }
        match request.invoke() {
            Invoke::Unsaid => Self::Sofa,
            _ if request.codec() != codec::HESSIAN2 => Self::Java,
            Invoke::Callback => Self::JavaCallback,
            Invoke::Wait => Self::JavaThread,
            Invoke::Other => Self::Java,
        }
    }
}
