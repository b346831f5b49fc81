use std::{
    net::SocketAddr,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tracing::Subscriber;

use super::*;
use crate::telemetry::{MAX_NAMES, log};

/// The pages on a port of their own, and the ends of the state that the proxy would hold.
struct Fixture {
    address: SocketAddr,
    state: AdminState,
    phase: watch::Sender<Phase>,
    /// A closed log cannot be changed.
    _subscriber: Box<dyn Subscriber>,
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Fixture {
    async fn start() -> Self {
        let (subscriber, log) = log::build("info").unwrap();
        let (phase, phases) = watch::channel(Phase::Starting);
        let state = AdminState {
            metrics: Metrics::new(MAX_NAMES),
            phase: phases,
            drain: Arc::default(),
            config: Arc::new(ArcSwap::from_pointee(ConfigStatus {
                config: Arc::new(Config { log: "info".into(), ..Config::default() }),
                source: "mesh.yaml".into(),
                loaded: UNIX_EPOCH,
                rejected: None,
            })),
            clusters: Arc::new(Vec::new),
            log,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, state.clone()));
        Self { address, state, phase, _subscriber: Box::new(subscriber) }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let asked = async {
            let mut socket = TcpStream::connect(self.address).await?;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n",
                self.address
            );
            socket.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = timeout(Duration::from_secs(10), asked).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { code, head: head.to_lowercase(), body: body.to_owned() }
    }
}

#[tokio::test]
async fn ready_follows_the_phase() {
    let admin = Fixture::start().await;
    for (phase, code, word) in [
        (Phase::Starting, 503, "starting"),
        (Phase::Serving, 200, "serving"),
        (Phase::Draining, 503, "draining"),
    ] {
        admin.phase.send(phase).unwrap();
        let answer = admin.get("/ready").await;
        assert_eq!(answer.code, code);
        assert!(answer.body.starts_with(word), "{}", answer.body);
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_asked_for() {
    let admin = Fixture::start().await;
    admin.state.metrics.set_workers(3);
    let classic = admin.get("/metrics").await;
    assert_eq!(classic.code, 200);
    assert!(classic.head.contains("content-type: text/plain; version=0.0.4"), "{}", classic.head);
    assert!(classic.body.contains("\nwiremesh_workers 3\n"), "{}", classic.body);
    assert!(!classic.body.contains("# EOF"));
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let open_metrics = admin.ask("GET", "/metrics", accept).await;
    assert!(open_metrics.head.contains("content-type: application/openmetrics-text"));
    assert!(open_metrics.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn config_shows_what_is_in_force_and_what_was_refused() {
    let admin = Fixture::start().await;
    let yaml = admin.get("/config").await.body;
    let head = "# from mesh.yaml\n# in force since 1970-01-01T00:00:00.000000Z\n";
    assert!(yaml.starts_with(head), "{yaml}");
    assert!(yaml.contains("\ndrain_timeout: 10s\n"), "{yaml}");

    let status = ConfigStatus::clone(&admin.state.config.load());
    let report = "mesh.yaml:3:1: no such field\nmesh.yaml:4:1: nor this".to_owned();
    let rejected = Some(Rejected { time: UNIX_EPOCH, report });
    admin.state.config.store(Arc::new(ConfigStatus { rejected, ..status }));
    let yaml = admin.get("/config?format=yaml").await.body;
    assert!(yaml.contains("\n# refused at 1970-01-01T00:00:00.000000Z:\n# mesh.yaml:3:1: no such field\n# mesh.yaml:4:1: nor this\n"), "{yaml}");
    let json: Value = serde_json::from_str(&admin.get("/config?format=json").await.body).unwrap();
    assert_eq!(json["source"], "mesh.yaml");
    assert_eq!(json["config"]["drain_timeout"], "10s");
    assert!(json["rejected"]["report"].as_str().unwrap().starts_with("mesh.yaml:3:1"));
    assert_eq!(admin.get("/config?format=toml").await.code, 400);
}

#[tokio::test]
async fn clusters_come_as_json_or_text() {
    let admin = Fixture::start().await;
    let json = admin.get("/clusters").await;
    assert!(json.head.contains("content-type: application/json"));
    assert_eq!(json.body, "[]\n");
    assert_eq!(admin.get("/clusters?format=text").await.body, "");
    assert_eq!(admin.get("/clusters?format=xml").await.code, 400);
}

#[tokio::test]
async fn the_log_level_can_be_read_and_changed() {
    let admin = Fixture::start().await;
    assert_eq!(admin.get("/log?level=debug").await.body, "info\n");
    let answer = admin.ask("POST", "/log?level=warn,wiremesh_proxy=debug", "").await;
    assert_eq!((answer.code, &*answer.body), (200, "warn,wiremesh_proxy=debug\n"));
    assert_eq!(admin.get("/log").await.body, "warn,wiremesh_proxy=debug\n");
    for bad in ["/log?level=loud", "/log?level=", "/log"] {
        assert_eq!(admin.ask("POST", bad, "").await.code, 400, "{bad}");
    }
    assert_eq!(admin.get("/log").await.body, "warn,wiremesh_proxy=debug\n");
}

#[tokio::test]
async fn drain_is_a_post_and_not_from_a_web_page() {
    let admin = Fixture::start().await;
    let asked = |wait| timeout(wait, admin.state.drain.notified());
    let refused = admin.get("/drain").await;
    assert_eq!(refused.code, 405);
    assert!(refused.head.contains("allow: post"), "{}", refused.head);
    let origin = format!("origin: http://{}\r\n", admin.address);
    assert_eq!(admin.ask("POST", "/drain", &origin).await.code, 403);
    assert!(asked(Duration::ZERO).await.is_err());
    assert_eq!(admin.ask("POST", "/drain", "").await.code, 202);
    assert!(asked(Duration::from_secs(10)).await.is_ok());
}

#[tokio::test]
async fn the_index_lists_every_page() {
    let admin = Fixture::start().await;
    let index = admin.get("/").await;
    assert!(index.head.contains("content-type: text/html"));
    for page in ["/ready", "/metrics", "/clusters", "/config", "/log", "/drain"] {
        assert!(index.body.contains(page), "{page}");
    }
    assert_eq!(admin.get("/nothing").await.code, 404);
}
