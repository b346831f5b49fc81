//! Answers that the proxy gives itself.
//!
//! A Java client shows the text of an answer only where it is a SofaResponse, or an exception behind one of the
//! statuses 0x02, 0x11 and 0x12; behind every other status it makes up a text of its own. (SOFABolt
//! `RpcResponseResolver`, SOFARPC `BoltClientTransport`.) So a reason is told in one of those forms, except where the
//! status alone makes the client throw what its caller waits for, and nothing else does.

use wiremesh::{Failure, Frame, HeaderView, Kind, Status};

use crate::{
    BoltFrame, Builder, RequestHead, ResponseStatus,
    frame::{OUR_STATUS, RESPONSE_ERROR},
    head::Caller,
    hessian::{self, SofaThrowable},
    wire::{SOFA_RESPONSE, codec},
};

pub(crate) fn reply(request: &RequestHead, failure: &Failure) -> Option<BoltFrame> {
    if request.kind != Kind::Request {
        return None;
    }
    let mut reply = answer(request, failure)?;
    if reply.status() != failure.status {
        reply.set_header(OUR_STATUS, failure.status.as_str()).ok()?;
    }
    Some(reply)
}

fn answer(request: &RequestHead, failure: &Failure) -> Option<BoltFrame> {
    if failure.status == Status::Ok {
        return Answer { request, message: &failure.message }.result();
    }
    let answer = Answer { request, message: &failure.to_string() };
    let status = ResponseStatus::nearest(failure.status);
    match (status, request.caller) {
        (ResponseStatus::Timeout, Caller::JavaThread) => answer.thrown(SofaThrowable::Timeout),
        (ResponseStatus::ServerThreadPoolBusy, Caller::JavaThread) => {
            answer.thrown(SofaThrowable::ServerBusy)
        }
        // A callback is told of this status, too, as of an error without a type.
        (ResponseStatus::ServerThreadPoolBusy, Caller::JavaCallback) => answer.error(),
        (ResponseStatus::Timeout | ResponseStatus::ServerThreadPoolBusy, _) => {
            answer.exception(status)
        }
        (ResponseStatus::ServerDeserialException, Caller::Bolt) => answer.exception(status),
        (_, Caller::Bolt) => answer.exception(ResponseStatus::ServerException),
        // SOFARPC for Node reads no text in place of a message, but an exception behind any status.
        (_, Caller::Sofa) if request.codec != codec::HESSIAN2 => answer.exception(status),
        _ => answer.error(),
    }
}

struct Answer<'a> {
    request: &'a RequestHead,
    message: &'a str,
}

impl Answer<'_> {
    /// The message as the result of the call.
    fn result(&self) -> Option<BoltFrame> {
        match (self.request.caller, self.request.codec) {
            (Caller::Bolt, codec::HESSIAN2) => {
                self.success(b"java.lang.String", &[], &hessian::string(self.message))
            }
            (Caller::Bolt, _) => self.success(&[], &[], self.message.as_bytes()),
            (_, codec::HESSIAN2) => {
                self.success(SOFA_RESPONSE, &[], &hessian::sofa_result(self.message))
            }
            (_, codec::JSON) => self.success(SOFA_RESPONSE, &[], json(self.message).as_bytes()),
            (_, codec::PROTOBUF) => self.success(SOFA_RESPONSE, &[], &protobuf(self.message)),
            _ => self.success(SOFA_RESPONSE, &[], self.message.as_bytes()),
        }
    }

    /// An error of SOFARPC's framework.
    fn error(&self) -> Option<BoltFrame> {
        match self.request.codec {
            codec::HESSIAN2 => self.failed(&hessian::sofa_error(self.message)),
            codec::PROTOBUF => self.failed(self.message.as_bytes()),
            codec::JSON => self.failed(json(self.message).as_bytes()),
            // How another codec would put it is not known here.
            _ => self.exception(ResponseStatus::ServerException),
        }
    }

    /// An exception in place of the result.
    fn thrown(&self, throwable: SofaThrowable) -> Option<BoltFrame> {
        self.failed(&hessian::sofa_thrown(throwable, self.message))
    }

    fn failed(&self, content: &[u8]) -> Option<BoltFrame> {
        self.success(SOFA_RESPONSE, &[(RESPONSE_ERROR, "true")], content)
    }

    fn success(&self, class: &[u8], headers: &[(&str, &str)], content: &[u8]) -> Option<BoltFrame> {
        let RequestHead { version, id, codec, switch, .. } = *self.request;
        let kind = Kind::Response;
        Builder { version, kind, id, codec, switch, class, headers, content, ..Builder::default() }
            .build()
            .ok()
    }

    /// An error of SOFABolt's, in hessian2 and without CRC whatever the request had, as SOFABolt itself answers.
    fn exception(&self, status: ResponseStatus) -> Option<BoltFrame> {
        let RequestHead { version, id, .. } = *self.request;
        let content = hessian::server_exception(self.message);
        Builder {
            version,
            kind: Kind::Response,
            id,
            status: status.code(),
            class: hessian::SERVER_EXCEPTION,
            content: &content,
            ..Builder::default()
        }
        .build()
        .ok()
    }
}

/// A message whose first field is a string, such as `google.protobuf.StringValue`.
fn protobuf(text: &str) -> Vec<u8> {
    let (mut out, mut len) = (vec![0x0a], text.len());
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(text.as_bytes());
    out
}

/// A JSON string.
fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            // The rest would need escapes that nobody reads.
            char if char.is_control() => out.push(' '),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}
