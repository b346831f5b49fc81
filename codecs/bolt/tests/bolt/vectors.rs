//! Frames whose bytes are known from SOFABolt, and every field of them.

use std::time::Duration;

use crate::common::{encoded, frame, hex};
use wiremesh::{Frame, HeaderView, Kind, Protocol, Status, correlation::Multiplexed};
use wiremesh_bolt::{Bolt, Builder, ResponseStatus, Version, codec};

const V1_HEARTBEAT: &str = "01 01 0000 01 00000001 01 ffffffff 0000 0000 00000000";
const V1_ACK: &str = "01 00 0000 01 00000001 01 0000 0000 0000 00000000";
const V2_HEARTBEAT: &str = "02 01 01 0000 01 00000001 01 00 ffffffff 0000 0000 00000000";
const V2_ACK: &str = "02 01 00 0000 01 00000001 01 00 0000 0000 0000 00000000";
/// As Node sends it; Java leaves the switch at 0 even where its other frames have a CRC.
const V2_HEARTBEAT_CRC: &str =
    "02 02 01 0000 01 00000001 01 01 ffffffff 0000 0000 00000000 2aeeebd5";
const REQUEST: &str = r#"02 02 01 0001 01 00000007 01 01 00000bb8 002c 0025 00000002
    "com.alipay.sofa.rpc.core.request.SofaRequest"
    00000007 "service" 00000016 "com.x.HelloService:1.0" 1020 fd449e10"#;

#[test]
fn heartbeats() {
    for (text, version, kind, crc) in [
        (V1_HEARTBEAT, Version::V1, Kind::Heartbeat, false),
        (V1_ACK, Version::V1, Kind::HeartbeatReply, false),
        (V2_HEARTBEAT, Version::V2, Kind::Heartbeat, false),
        (V2_ACK, Version::V2, Kind::HeartbeatReply, false),
        (V2_HEARTBEAT_CRC, Version::V2Crc, Kind::Heartbeat, true),
    ] {
        let frame = frame(&hex(text));
        assert_eq!((frame.version(), frame.kind(), frame.has_crc()), (version, kind, crc));
        assert_eq!((frame.id(), frame.codec(), frame.content()), (1, codec::HESSIAN2, &[][..]));
        assert_eq!(frame.timeout(), None);
        assert_eq!(frame.status(), Status::Ok);
        assert_eq!(encoded(&frame), hex(text));
    }
}

#[test]
fn our_heartbeats_are_the_ones_that_java_sends() {
    let bolt = Bolt::default();
    for (lane, probe, ack) in [(0, V1_HEARTBEAT, V1_ACK), (1, V2_HEARTBEAT, V2_ACK)] {
        let mut ours = bolt.heartbeat(lane).unwrap();
        bolt.set_id(&mut ours, 1);
        assert_eq!(encoded(&ours), hex(probe));
        assert_eq!(bolt.lane(&ours), lane);
        assert_eq!(encoded(&bolt.heartbeat_reply(&ours).unwrap()), hex(ack));
    }
    // With ver1 = 2 a switch of 0: 24 bytes, and the answer 22.
    let probe = bolt.heartbeat(2).unwrap();
    assert_eq!((probe.wire_len(), probe.switch(), probe.has_crc()), (24, Some(0), false));
    assert_eq!(bolt.lane(&probe), 2);
    let ack = bolt.heartbeat_reply(&frame(&hex(V2_HEARTBEAT_CRC))).unwrap();
    assert_eq!((ack.version(), ack.wire_len(), ack.switch()), (Version::V2Crc, 22, Some(0)));
    assert!(bolt.heartbeat(3).is_none());
}

#[test]
fn a_request_with_a_crc() {
    let request = frame(&hex(REQUEST));
    assert_eq!(
        (request.version(), request.kind(), request.id()),
        (Version::V2Crc, Kind::Request, 7)
    );
    assert_eq!((request.codec(), request.switch(), request.has_crc()), (1, Some(1), true));
    assert_eq!(request.timeout(), Some(Duration::from_secs(3)));
    assert_eq!((request.timeout_ms(), request.response_status()), (Some(3000), None));
    assert_eq!(request.class_name(), "com.alipay.sofa.rpc.core.request.SofaRequest");
    assert_eq!(request.service().as_deref(), Some("com.x.HelloService:1.0"));
    assert_eq!(request.content(), [0x10, 0x20]);
    let mut headers = Vec::new();
    request.for_each_header(&mut |name, value| headers.push(format!("{name}={value}")));
    assert_eq!(headers, ["service=com.x.HelloService:1.0"]);

    let built = Builder {
        version: Version::V2Crc,
        id: 7,
        switch: 1,
        timeout: 3000,
        class: b"com.alipay.sofa.rpc.core.request.SofaRequest",
        headers: &[("service", "com.x.HelloService:1.0")],
        content: &[0x10, 0x20],
        ..Builder::default()
    };
    assert_eq!(encoded(&built.build().unwrap()), hex(REQUEST));
}

#[test]
fn a_timeout_that_is_not_positive_is_none() {
    for (ms, timeout) in
        [(-1, None), (0, None), (i32::MIN, None), (1, Some(1)), (i32::MAX, Some(i32::MAX as u64))]
    {
        let request = Builder { timeout: ms, ..Builder::default() }.build().unwrap();
        assert_eq!(request.timeout_ms(), Some(ms));
        assert_eq!(request.timeout(), timeout.map(Duration::from_millis), "{ms}");
    }
}

#[test]
fn every_status() {
    use ResponseStatus as R;
    for (code, status, neutral) in [
        (0x00, R::Success, Status::Ok),
        (0x01, R::Error, Status::Internal),
        (0x02, R::ServerException, Status::AppError),
        (0x03, R::Unknown, Status::Unknown),
        (0x04, R::ServerThreadPoolBusy, Status::Overloaded),
        (0x05, R::ErrorComm, Status::Unavailable),
        (0x06, R::NoProcessor, Status::NotFound),
        (0x07, R::Timeout, Status::Timeout),
        (0x08, R::ClientSendError, Status::Unavailable),
        (0x09, R::CodecException, Status::BadRequest),
        (0x0a, R::Other(0x0a), Status::Unknown),
        (0x10, R::ConnectionClosed, Status::Unavailable),
        (0x11, R::ServerSerialException, Status::Internal),
        (0x12, R::ServerDeserialException, Status::BadRequest),
        (0xffff, R::Other(0xffff), Status::Unknown),
    ] {
        for version in Version::ALL {
            let kind = Kind::Response;
            let response =
                Builder { version, kind, status: code, ..Builder::default() }.build().unwrap();
            let response = crate::common::sent(&response);
            assert_eq!(response.response_status(), Some(status));
            assert_eq!(response.status(), neutral, "{code:#x}");
            assert_eq!((status.code(), R::from(code)), (code, status));
            assert_eq!((response.timeout_ms(), response.timeout()), (None, None));
        }
    }
}

#[test]
fn a_status_of_ours_reads_as_what_was_meant() {
    for status in Status::ALL {
        let want = match status {
            Status::Denied | Status::Unauthenticated => Status::AppError,
            status => status,
        };
        assert_eq!(ResponseStatus::nearest(status).neutral(), want);
    }
}

#[test]
fn an_error_behind_status_0_is_the_applications() {
    for (value, status) in [("true", Status::AppError), ("false", Status::Ok)] {
        let response = Builder {
            kind: Kind::Response,
            headers: &[("sofa_head_response_error", value)],
            ..Builder::default()
        };
        assert_eq!(response.build().unwrap().status(), status);
    }
    for (name, status) in [("overloaded", Status::Overloaded), ("nosuch", Status::AppError)] {
        let headers = [("sofa_head_response_error", "true"), ("wiremesh_status", name)];
        let response = Builder { kind: Kind::Response, headers: &headers, ..Builder::default() };
        assert_eq!(response.build().unwrap().status(), status);
    }
}

#[test]
fn go_away_is_sent_only_where_it_was_asked_for() {
    let mut bolt = Bolt::default();
    assert!(bolt.go_away(0).is_none());
    bolt.set_option("go_away", "true").unwrap();
    let frame = bolt.go_away(0).unwrap();
    assert_eq!(encoded(&frame), hex("01 01 0064 01 00000000 01 00000000 0000 0000 00000000"));
    assert_eq!(crate::common::sent(&frame).kind(), Kind::GoAway);
    assert_eq!(bolt.go_away(2).unwrap().version(), Version::V2Crc);
    bolt.set_option("go_away", "false").unwrap();
    assert!(bolt.go_away(0).is_none());
    assert!(bolt.set_option("go_away", "yes").is_err());
    assert!(bolt.set_option("goaway", "true").is_err());
}

#[test]
fn service_comes_from_either_header_and_the_method_too() {
    let names = [("sofa_head_target_service", "b:1.0"), ("sofa_head_method_name", "m")];
    let request = Builder { headers: &names, ..Builder::default() }.build().unwrap();
    assert_eq!(request.service().as_deref(), Some("b:1.0"));
    assert_eq!(request.method().as_deref(), Some("m"));
    let names = [names[0], ("service", "a:1.0")];
    let request = Builder { headers: &names, ..Builder::default() }.build().unwrap();
    assert_eq!(request.service().as_deref(), Some("a:1.0"));
    assert_eq!(request.method(), None);
}

#[test]
fn the_caller_is_app_or_the_tracers_word_for_it() {
    let names = [("rpc_trace_context.sofaCallerApp", "tracer"), ("app", "shop")];
    let request = Builder { headers: &names, ..Builder::default() }.build().unwrap();
    assert_eq!(request.caller().as_deref(), Some("shop"));
    let request = Builder { headers: &names[..1], ..Builder::default() }.build().unwrap();
    assert_eq!(request.caller().as_deref(), Some("tracer"));
}
