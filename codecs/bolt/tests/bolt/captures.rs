//! Recorded connections of real peers.

use crate::common::{capture, connections, encoded, pieces};
use wiremesh::{Frame, HeaderView, Kind, Peer, Protocol, Status};
use wiremesh_bolt::{Bolt, BoltFrame, ResponseStatus, Version, codec};

fn kinds(frames: &[BoltFrame]) -> Vec<Kind> {
    frames.iter().map(Frame::kind).collect()
}

fn requests(connection: &str) -> Vec<BoltFrame> {
    capture(connection, Peer::Client).into_iter().filter(|f| f.kind() == Kind::Request).collect()
}

#[test]
fn every_frame_encodes_to_its_own_bytes() {
    let connections = connections();
    assert_eq!(connections.len(), 15);
    for connection in connections {
        for direction in [Peer::Client, Peer::Upstream] {
            let frames = capture(&connection, direction);
            assert!(!frames.is_empty(), "{connection}, {direction:?}");
            for frame in &frames {
                assert_eq!(encoded(frame).len(), frame.wire_len());
            }
            let again: Vec<u8> = frames.iter().flat_map(encoded).collect();
            assert!(
                again == pieces(&connection, direction).concat(),
                "{connection}, {direction:?}"
            );
        }
    }
}

#[test]
fn every_crc_is_made_again_as_the_peer_made_it() {
    let mut seen = 0;
    for connection in connections() {
        for direction in [Peer::Client, Peer::Upstream] {
            for frame in capture(&connection, direction) {
                let mut edited = frame.clone();
                edited.set_id(frame.id().wrapping_add(1));
                edited.set_id(frame.id());
                assert_eq!(encoded(&edited), encoded(&frame));
                seen += usize::from(frame.has_crc());
            }
        }
    }
    assert!(seen > 40, "{seen} frames with a CRC");
}

#[test]
fn every_request_names_service_and_method() {
    for connection in connections() {
        for request in requests(&connection).iter().filter(|r| r.is_sofa_request()) {
            let service = request.service().expect("a service");
            assert!(service.ends_with(":1.0") || service.contains(":1.0:"), "{service}");
            assert!(request.method().is_some(), "{connection}: {service}");
        }
    }
}

#[test]
fn node_hessian_has_the_method_in_the_body_only() {
    for (name, version) in [
        ("hessian2-v1-crc0", Version::V1),
        ("hessian2-v2-crc0", Version::V2Crc),
        ("hessian2-v2-crc1", Version::V2Crc),
    ] {
        let requests = requests(name);
        let methods: Vec<_> = requests.iter().map(|r| r.method().unwrap()).collect();
        assert_eq!(methods, ["plus", "echoObj", "fail", "big", "nosuch"], "{name}");
        for request in &requests {
            assert_eq!(request.header("sofa_head_method_name"), None);
            assert_eq!(request.service().as_deref(), Some("com.nodejs.test.TestService:1.0"));
            assert_eq!((request.version(), request.codec()), (version, codec::HESSIAN2));
            assert_eq!(request.has_crc(), name.ends_with("crc1"));
            assert_eq!(request.timeout().map(|t| t.as_millis()), Some(3000));
        }

        let responses = capture(name, Peer::Upstream);
        let statuses: Vec<_> = responses.iter().map(Frame::status).collect();
        use Status::{AppError, Ok};
        assert_eq!(statuses, [Ok, Ok, AppError, Ok, AppError], "{name}");
        let ids = |frames: &[BoltFrame]| frames.iter().map(BoltFrame::id).collect::<Vec<_>>();
        assert_eq!(ids(&responses), ids(&requests));
        assert_eq!(responses[2].response_status(), Some(ResponseStatus::ServerException));
        assert_eq!(responses[3].content().len(), 100_109);
    }
}

#[test]
fn node_answers_a_oneway_request() {
    for name in ["hessian2-v1-crc0.1", "hessian2-v2-crc0.1", "hessian2-v2-crc1.1"] {
        let (sent, answered) = (capture(name, Peer::Client), capture(name, Peer::Upstream));
        assert_eq!(kinds(&sent), [Kind::Heartbeat, Kind::OneWay], "{name}");
        assert_eq!(kinds(&answered), [Kind::HeartbeatReply, Kind::Response], "{name}");
        assert_eq!(answered[1].id(), sent[1].id());
    }
}

#[test]
fn protobuf_has_everything_in_the_header() {
    for name in ["protobuf-v1-crc0", "protobuf-v2-crc1"] {
        let request = &requests(name)[0];
        assert_eq!(request.codec(), codec::PROTOBUF);
        assert_eq!(request.class_name(), "com.alipay.sofa.rpc.core.request.SofaRequest");
        assert_eq!(request.service().as_deref(), Some("com.alipay.sofa.rpc.test.ProtoService:1.0"));
        assert_eq!(request.method().as_deref(), Some("echoObj"));
        assert_eq!(request.header("sofa_head_target_app").as_deref(), Some(""));
        assert_eq!(request.content(), b"\n\x04mesh\x10\x01");
    }
}

#[test]
fn java_sofarpc() {
    for (name, version) in
        [("java-sofarpc-v1", Version::V1), ("java-sofarpc-v2-crc1", Version::V2Crc)]
    {
        let requests = requests(name);
        let plus = &requests[0];
        assert_eq!(plus.version(), version);
        assert_eq!(plus.has_crc(), version == Version::V2Crc);
        assert_eq!(plus.service().as_deref(), Some("wm.sofa.Api$Hello:1.0"));
        assert_eq!(plus.method().as_deref(), Some("plus"));
        assert_eq!(plus.caller().as_deref(), Some("wm-client"));
        let trace = plus.trace().expect("a trace");
        assert_eq!((&*trace.span_id, trace.sampled), ("0", Some(true)));
        assert!(trace.trace_id.starts_with("c0000202"), "{}", trace.trace_id);

        let services: Vec<_> = requests.iter().filter_map(Frame::service).collect();
        assert!(services.iter().any(|s| s == "wm.sofa.Api$Hello:1.0:blue"));
        let short = requests.iter().find(|r| r.timeout().is_some_and(|t| t.as_millis() == 300));
        assert_eq!(short.and_then(Frame::method).as_deref(), Some("slow"));

        // An exception of the service, one at run time, and a service that is not there: all of status 0.
        let responses = capture(name, Peer::Upstream);
        assert!(responses.iter().all(|r| r.response_status() == Some(ResponseStatus::Success)));
        let failed = responses.iter().filter(|r| r.status() == Status::AppError).count();
        assert_eq!(failed, 3);
    }
}

#[test]
fn java_heartbeats() {
    let sent = capture("java-sofarpc-idle-v1", Peer::Client);
    let answered = capture("java-sofarpc-idle-v1", Peer::Upstream);
    let beats: Vec<_> = sent.iter().filter(|f| f.kind() == Kind::Heartbeat).collect();
    assert!(beats.len() > 1);
    for beat in beats {
        let bolt = Bolt::default();
        let ours = bolt.heartbeat_reply(beat).unwrap();
        let theirs = answered.iter().find(|f| f.id() == beat.id()).unwrap();
        assert_eq!(encoded(&ours), encoded(theirs));
        let mut ours = bolt.heartbeat(bolt.lane(beat)).unwrap();
        ours.set_id(beat.id());
        assert_eq!(encoded(&ours), encoded(beat));
    }
}

#[test]
fn plain_bolt_has_classes_of_its_own_and_requests_both_ways() {
    for (name, version) in [("java-raw-v1", Version::V1), ("java-raw-v2-crc0", Version::V2)] {
        let requests = requests(name);
        assert!(requests.iter().any(|r| r.class_name() == "wm.sofa.Api$Req"));
        assert!(requests.iter().all(|r| r.service().is_none() && r.method().is_none()));
        // ver1 = 1: the switch asks for a CRC on most of them, and there is none.
        assert!(requests.iter().all(|r| !r.has_crc()));
        let asking = requests.iter().filter(|r| r.switch() == Some(1)).count();
        assert_eq!(asking > 5, version == Version::V2, "{asking}");

        let pushed = capture(name, Peer::Upstream);
        assert!(pushed.iter().all(|f| f.version() == version));
        assert!(pushed.iter().any(|f| f.kind() == Kind::Request));
        assert!(pushed.iter().any(|f| f.kind() == Kind::OneWay));
        let failed: Vec<_> = pushed
            .iter()
            .filter(|f| f.status() == Status::AppError)
            .map(|f| f.class_name())
            .collect();
        assert_eq!(failed, ["com.alipay.remoting.rpc.exception.RpcServerException"; 2]);
    }
}
