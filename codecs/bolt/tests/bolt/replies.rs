//! The proxy's own answers. What the clients of each kind show of them is in `docs/protocols/bolt.md`.

use wiremesh::{Failure, Frame, HeaderView, Kind, Protocol, Reason, Status};
use wiremesh_bolt::{Bolt, BoltFrame, Builder, ResponseStatus, Version, codec};

use crate::common::{hex, sent};

const SOFA_REQUEST: &[u8] = b"com.alipay.sofa.rpc.core.request.SofaRequest";
const SOFA_RESPONSE: &str = "com.alipay.sofa.rpc.core.response.SofaResponse";
const SERVER_EXCEPTION: &str = "com.alipay.remoting.rpc.exception.RpcServerException";

fn answer(request: &Builder<'_>, reason: Reason, message: &'static str) -> Option<BoltFrame> {
    let (bolt, request) = (Bolt::default(), request.build().unwrap());
    let reply = bolt.reply(&bolt.head(&request), &Failure::new(reason, message))?;
    Some(sent(&reply))
}

fn java<'a>(codec: u8, headers: &'a [(&'a str, &'a str)]) -> Builder<'a> {
    Builder { id: 5, codec, class: SOFA_REQUEST, headers, ..Builder::default() }
}

#[track_caller]
fn check(reply: &BoltFrame, status: ResponseStatus, class: &str, content: &[u8]) {
    assert_eq!((reply.kind(), reply.id()), (Kind::Response, 5));
    assert_eq!(reply.response_status(), Some(status));
    assert_eq!(reply.class_name(), class);
    assert_eq!(reply.content(), content, "{}", String::from_utf8_lossy(reply.content()));
}

/// SofaResponse as the sofa-hessian classes write it, up to its first field.
fn sofa_response() -> String {
    format!(
        r#"4fbe "{SOFA_RESPONSE}" 94 07 "isError" 08 "errorMsg" 0b "appResponse" 0d "responseProps" 6f90"#
    )
}

fn thrown(class: &str, class_len: &str, error_type: &str, message: &str) -> Vec<u8> {
    let head = sofa_response();
    hex(&format!(
        r#"{head} 46 4e 4f {class_len} "{class}" 94 09 "errorType" 0d "detailMessage" 05 "cause" 0a "stackTrace"
        6f91 {error_type} {message} 4e 56 74 001c "[java.lang.StackTraceElement" 6e00 7a 4e"#
    ))
}

fn server_exception(message: &str) -> Vec<u8> {
    hex(&format!(
        r#"4f c834 "{SERVER_EXCEPTION}" 93 0d "detailMessage" 05 "cause" 0a "stackTrace" 6f90 {message}
        4e 56 74 001c "[java.lang.StackTraceElement" 6e00 7a"#
    ))
}

#[test]
fn sofarpc_is_told_in_a_response_of_its_own() {
    let reply = answer(&java(codec::HESSIAN2, &[]), Reason::NoRoute, "boom").unwrap();
    let body = hex(&format!(r#"{} 54 11 "wiremesh NR: boom" 4e4e"#, sofa_response()));
    check(&reply, ResponseStatus::Success, SOFA_RESPONSE, &body);
    assert_eq!(reply.header("sofa_head_response_error").as_deref(), Some("true"));
}

#[test]
fn the_next_wiremesh_knows_the_status() {
    let own = Builder { class: b"a.B", ..Builder::default() };
    for request in [java(codec::HESSIAN2, &[]), java(codec::JSON, &[("type", "sync")]), own] {
        let bolt = Bolt::default();
        let head = bolt.head(&request.build().unwrap());
        for status in Status::ALL {
            let failure = Failure { status, ..Failure::new(Reason::Direct, "why") };
            let reply = sent(&bolt.reply(&head, &failure).unwrap());
            assert_eq!(reply.status(), status);
            // Said only where Bolt itself does not.
            if matches!(status, Status::Ok | Status::AppError) {
                assert_eq!(reply.header("wiremesh_status"), None);
            }
        }
    }
}

#[test]
fn a_waiting_java_thread_is_thrown_what_it_knows() {
    for invoke in ["sync", "future"] {
        let headers = [("type", invoke), ("sofa_head_generic_type", "0")];
        for headers in [&headers[..], &headers[..1]] {
            let request = java(codec::HESSIAN2, headers);
            let reply = answer(&request, Reason::Timeout, "slow").unwrap();
            let class = "com.alipay.sofa.rpc.core.exception.SofaTimeOutException";
            let body = thrown(class, "c837", "c8c8", r#"11 "wiremesh UT: slow""#);
            check(&reply, ResponseStatus::Success, SOFA_RESPONSE, &body);
            for (reason, text) in [(Reason::Overloaded, "UO"), (Reason::RateLimited, "RL")] {
                let reply = answer(&request, reason, "full").unwrap();
                let class = "com.alipay.sofa.rpc.core.exception.SofaRpcException";
                let text = format!(r#"11 "wiremesh {text}: full""#);
                let body = thrown(class, "c833", "c864", &text);
                check(&reply, ResponseStatus::Success, SOFA_RESPONSE, &body);
                assert_eq!(reply.header("sofa_head_response_error").as_deref(), Some("true"));
            }
        }
    }
}

#[test]
fn other_callers_learn_of_a_timeout_by_the_status() {
    let callback = [("type", "callback")];
    let generic = [("type", "sync"), ("sofa_head_generic_type", "2")];
    let own = Builder { id: 5, class: b"a.B", ..Builder::default() };
    for request in [
        java(codec::HESSIAN2, &callback),
        java(codec::HESSIAN2, &generic),
        java(codec::HESSIAN2, &[]),
        java(codec::PROTOBUF, &callback),
        java(codec::JSON, &[("type", "sync")]),
        own,
    ] {
        let reply = answer(&request, Reason::Timeout, "slow").unwrap();
        let body = server_exception(r#"11 "wiremesh UT: slow""#);
        check(&reply, ResponseStatus::Timeout, SERVER_EXCEPTION, &body);
        assert_eq!((reply.codec(), reply.status()), (codec::HESSIAN2, Status::Timeout));
    }
}

#[test]
fn busy_is_a_status_except_for_a_callback() {
    for headers in [&[][..], &[("type", "sync"), ("sofa_head_generic_type", "2")]] {
        let reply = answer(&java(codec::HESSIAN2, headers), Reason::Overloaded, "full").unwrap();
        let body = server_exception(r#"11 "wiremesh UO: full""#);
        check(&reply, ResponseStatus::ServerThreadPoolBusy, SERVER_EXCEPTION, &body);
    }
    let callback = java(codec::HESSIAN2, &[("type", "callback")]);
    let reply = answer(&callback, Reason::Overloaded, "full").unwrap();
    let body = hex(&format!(r#"{} 54 11 "wiremesh UO: full" 4e4e"#, sofa_response()));
    check(&reply, ResponseStatus::Success, SOFA_RESPONSE, &body);
}

#[test]
fn text_codecs_carry_the_text() {
    let headers = [("type", "sync")];
    let reply = answer(&java(codec::PROTOBUF, &headers), Reason::NoEndpoint, "no one").unwrap();
    check(&reply, ResponseStatus::Success, SOFA_RESPONSE, b"wiremesh UH: no one");
    assert_eq!(reply.codec(), codec::PROTOBUF);
    assert_eq!(reply.header("sofa_head_response_error").as_deref(), Some("true"));
    let reply =
        answer(&java(codec::JSON, &headers), Reason::NoEndpoint, "\"no\"\\\n\tone").unwrap();
    check(&reply, ResponseStatus::Success, SOFA_RESPONSE, br#""wiremesh UH: \"no\"\\\n one""#);
    let reply = answer(&java(13, &headers), Reason::NoEndpoint, "no one").unwrap();
    let body = server_exception(r#"13 "wiremesh UH: no one""#);
    check(&reply, ResponseStatus::ServerException, SERVER_EXCEPTION, &body);
    assert_eq!(reply.codec(), codec::HESSIAN2);
}

#[test]
fn other_languages_than_java_get_the_nearest_status() {
    for (reason, status) in [
        (Reason::NoRoute, ResponseStatus::NoProcessor),
        (Reason::NoEndpoint, ResponseStatus::ErrorComm),
        (Reason::BadReply, ResponseStatus::Error),
        (Reason::Denied, ResponseStatus::ServerException),
        (Reason::BadRequest, ResponseStatus::ServerDeserialException),
    ] {
        let reply = answer(&java(codec::PROTOBUF, &[]), reason, "why").unwrap();
        assert_eq!(reply.response_status(), Some(status));
        assert_eq!(reply.class_name(), SERVER_EXCEPTION);
    }
}

#[test]
fn plain_bolt_is_told_by_an_exception() {
    let request = Builder { id: 5, class: b"a.B", ..Builder::default() };
    for reason in Reason::ALL {
        let reply = answer(&request, reason, "why").unwrap();
        let status = match reason {
            Reason::Direct => ResponseStatus::Success,
            Reason::Timeout => ResponseStatus::Timeout,
            Reason::Overloaded | Reason::RateLimited => ResponseStatus::ServerThreadPoolBusy,
            Reason::BadRequest => ResponseStatus::ServerDeserialException,
            _ => ResponseStatus::ServerException,
        };
        assert_eq!(reply.response_status(), Some(status), "{reason:?}");
        if reason != Reason::Direct {
            let text = format!("wiremesh {}: why", reason.flag());
            let len = text.len();
            check(
                &reply,
                status,
                SERVER_EXCEPTION,
                &server_exception(&format!(r#"{len:02x} "{text}""#)),
            );
        }
    }
}

#[test]
fn a_direct_answer_is_the_result() {
    let gone = |request| answer(&request, Reason::Direct, "gone").unwrap();
    let ok = ResponseStatus::Success;
    let body = hex(&format!(r#"{} 46 4e 04 "gone" 4e"#, sofa_response()));
    check(&gone(java(codec::HESSIAN2, &[])), ok, SOFA_RESPONSE, &body);
    check(&gone(java(codec::JSON, &[])), ok, SOFA_RESPONSE, b"\"gone\"");
    check(&gone(java(codec::PROTOBUF, &[])), ok, SOFA_RESPONSE, b"\x0a\x04gone");
    let own = Builder { id: 5, class: b"a.B", ..Builder::default() };
    check(&gone(own.clone()), ok, "java.lang.String", b"\x04gone");
    check(&gone(Builder { codec: 9, ..own }), ok, "", b"gone");
    assert_eq!(gone(java(codec::HESSIAN2, &[])).status(), Status::Ok);
    // 200 bytes: the length takes two.
    let long = Box::leak("x".repeat(200).into_boxed_str());
    let reply = answer(&java(codec::PROTOBUF, &[]), Reason::Direct, long).unwrap();
    assert_eq!(reply.content()[..3], [0x0a, 0xc8, 0x01]);
    assert_eq!(reply.content().len(), 203);
}

#[test]
fn the_requests_version_and_switch() {
    for version in Version::ALL {
        for switch in [0, 1] {
            let request = Builder { version, switch, ..java(codec::HESSIAN2, &[]) };
            let reply = answer(&request, Reason::NoRoute, "why").unwrap();
            assert_eq!(reply.version(), version);
            assert_eq!(reply.switch(), (version != Version::V1).then_some(switch));
            assert_eq!(reply.has_crc(), version == Version::V2Crc && switch == 1);
            // An exception of SOFABolt's is without a CRC, as SOFABolt itself sends it.
            let reply = answer(&request, Reason::Timeout, "why").unwrap();
            assert_eq!((reply.version(), reply.has_crc()), (version, false));
        }
    }
}

#[test]
fn nothing_but_a_request_is_answered() {
    for kind in [Kind::OneWay, Kind::Response, Kind::Heartbeat, Kind::HeartbeatReply, Kind::GoAway]
    {
        let frame = Builder { kind, ..java(codec::HESSIAN2, &[]) };
        assert!(answer(&frame, Reason::NoRoute, "why").is_none(), "{kind:?}");
    }
}

#[test]
fn long_and_wide_texts() {
    let text = |message: &'static str| {
        let own = Builder { id: 5, class: b"a.B", ..Builder::default() };
        answer(&own, Reason::Direct, message).unwrap().content().to_vec()
    };
    assert_eq!(text("\u{e9}\u{4e2d}"), hex("02 c3a9 e4b8ad"));
    // Each half of a surrogate pair by itself, and counted as one.
    assert_eq!(text("\u{1f600}"), hex("02 eda0bd edb880"));
    assert_eq!(text(Box::leak("x".repeat(31).into_boxed_str()))[0], 0x1f);
    assert_eq!(text(Box::leak("x".repeat(32).into_boxed_str()))[..3], hex("53 0020"));
    let long = text(Box::leak("\u{1f600}".repeat(20_000).into_boxed_str()));
    // Cut between two characters: 16,383 of them.
    assert_eq!(long[..3], hex("53 7ffe"));
    assert_eq!(long.len(), 3 + 16_383 * 6);
}
