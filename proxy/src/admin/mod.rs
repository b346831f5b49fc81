//! The admin pages: what the proxy is doing, over HTTP, for people, probes and Prometheus.
//!
//! Nobody is authenticated, so it belongs on loopback. What changes anything is a POST, and refused to web pages: a
//! browser on the same machine could otherwise be made to drain the proxy.

mod clusters;
mod digests;
mod firewall;
mod keys;
mod slow;
mod text;

use std::{
    fmt, io,
    sync::Arc,
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::spawn_blocking,
};

use crate::{
    cluster::ClusterStatus,
    config::Config,
    telemetry::{Format, LogControl, Metrics, rfc3339, watch::Order},
};

/// What the admin pages show and change.
#[derive(Clone)]
pub struct AdminState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the proxy takes traffic.
    pub phase: watch::Receiver<Phase>,
    /// Told once when somebody wants the proxy to drain and stop.
    pub drain: Arc<Notify>,
    /// The configuration in force.
    pub config: Arc<ArcSwap<ConfigStatus>>,
    /// Tells the clusters' state.
    pub clusters: Arc<dyn Fn() -> Vec<ClusterStatus> + Send + Sync>,
    /// The proxy's own log.
    pub log: LogControl,
}

/// Where the proxy is between its start and its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all listeners are open.
    #[default]
    Starting,
    /// Traffic is taken.
    Serving,
    /// Requests in flight are finished, new connections are not taken.
    Draining,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting: not all listeners are open",
            Self::Serving => "serving",
            Self::Draining => "draining: no new connections are taken",
        })
    }
}

/// The configuration in force, and how it came to be.
#[derive(Clone, Debug)]
pub struct ConfigStatus {
    /// The configuration.
    pub config: Arc<Config>,
    /// Where it is from: a file's path, or a command line.
    pub source: String,
    /// When it was put in force.
    pub loaded: SystemTime,
    /// The last change that was refused after that.
    pub rejected: Option<Rejected>,
}

/// A configuration that was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// When.
    pub time: SystemTime,
    /// What is wrong with it.
    pub report: String,
}

/// Serves the pages until the future is dropped.
pub async fn serve(listener: TcpListener, state: AdminState) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            "admin pages on {address} can be read, and the proxy stopped, by all who reach it"
        );
    }
    axum::serve(listener, router(state)).await
}

/// The pages.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/config", get(config))
        .route("/clusters", get(clusters))
        .route("/slow", get(slow))
        .route("/keys", get(keys))
        .route("/digests", get(digests))
        .route("/firewall", get(firewall))
        .route("/log", get(log).post(set_log))
        .route("/drain", post(drain))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page; / lists them\n") })
        .layer(middleware::from_fn(refuse_web_pages))
        .with_state(state)
}

const INDEX: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>wiremesh</title>
<h1>wiremesh</h1>
<dl>
<dt><a href="/ready">GET /ready</a><dd>200 while traffic is taken, 503 before and after
<dt><a href="/metrics">GET /metrics</a><dd>for Prometheus
<dt><a href="/clusters?format=text">GET /clusters?format=text</a><dd>clusters and their endpoints; <a href="/clusters">as JSON</a>
<dt><a href="/slow?format=text">GET /slow?format=text</a><dd>requests that took long; <a href="/slow">as JSON</a>
<dt><a href="/keys?format=text">GET /keys?format=text</a><dd>what is asked for most, and what is largest; <a href="/keys">as JSON</a>
<dt><a href="/digests?format=text">GET /digests?format=text</a><dd>statistics by digest; <a href="/digests">as JSON</a>; &amp;sort=time, count, mean, p99, failed, items, bytes, last; &amp;limit=20
<dt><a href="/firewall?format=text">GET /firewall?format=text</a><dd>rules of firewalls and what they have decided; <a href="/firewall">as JSON</a>
<dt><a href="/config">GET /config</a><dd>the configuration in force, defaults spelt out; <a href="/config?format=json">as JSON</a>
<dt><a href="/log">GET /log</a><dd>what is logged
<dt>POST /log?level=debug<dd>log this from now on: error, warn, info, debug, trace, off; module=level, separated by commas
<dt>POST /drain<dd>finish requests in flight, then stop
</dl>
"#;

/// Browsers name the page that a POST comes from; nobody else does.
async fn refuse_web_pages(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "not from a web page\n").into_response();
    }
    next.run(request).await
}

async fn ready(State(state): State<AdminState>) -> impl IntoResponse {
    let phase = *state.phase.borrow();
    let code = match phase {
        Phase::Serving => StatusCode::OK,
        Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{phase}\n"))
}

async fn metrics(State(state): State<AdminState>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    // Thousands of methods take milliseconds to write, in which this thread could not accept connections.
    let text = spawn_blocking(move || state.metrics.encode(format, &(state.clusters)())).await;
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    format: String,
}

async fn config(State(state): State<AdminState>, Query(shown): Query<Shown>) -> Response {
    let status = state.config.load();
    match &*shown.format {
        "json" => {
            let rejected = status.rejected.as_ref();
            json_page(&json!({
                "source": status.source,
                "loaded": rfc3339(status.loaded),
                "rejected": rejected.map(|it| json!({ "time": rfc3339(it.time), "report": it.report })),
                "config": *status.config,
            }))
        }
        "" | "yaml" => {
            let mut text =
                format!("from {}\nin force since {}\n", status.source, rfc3339(status.loaded));
            if let Some(it) = &status.rejected {
                text += &format!("refused at {}:\n{}\n", rfc3339(it.time), it.report);
            }
            let head: String = text.lines().map(|line| format!("# {line}\n")).collect();
            let page = head + &status.config.to_yaml();
            ([(header::CONTENT_TYPE, "text/yaml; charset=utf-8")], page).into_response()
        }
        _ => bad_format("yaml, json"),
    }
}

async fn clusters(State(state): State<AdminState>, Query(shown): Query<Shown>) -> Response {
    let (clusters, counts) = ((state.clusters)(), state.metrics.snapshot());
    match &*shown.format {
        "" | "json" => json_page(&clusters::to_json(&clusters, &counts)),
        "text" => clusters::to_text(&clusters, &counts).into_response(),
        _ => bad_format("json, text"),
    }
}

async fn slow(State(state): State<AdminState>, Query(shown): Query<Shown>) -> Response {
    let listeners = state.metrics.slow();
    match &*shown.format {
        "" | "json" => json_page(&json!(listeners)),
        "text" => slow::to_text(&listeners).into_response(),
        _ => bad_format("json, text"),
    }
}

async fn keys(State(state): State<AdminState>, Query(shown): Query<Shown>) -> Response {
    let listeners = state.metrics.keys(Instant::now());
    match &*shown.format {
        "" | "json" => json_page(&json!(listeners)),
        "text" => keys::to_text(&listeners).into_response(),
        _ => bad_format("json, text"),
    }
}

/// How many digests of each listener are shown, unless said otherwise.
const DIGESTS_SHOWN: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShownDigests {
    format: String,
    sort: Order,
    limit: Option<usize>,
}

async fn digests(State(state): State<AdminState>, Query(shown): Query<ShownDigests>) -> Response {
    let ShownDigests { format, sort, limit } = shown;
    let to_text = match &*format {
        "" | "json" => None,
        "text" => Some(digests::to_text as fn(&[_]) -> String),
        "rules" => Some(firewall::to_rules as fn(&[_]) -> String),
        _ => return bad_format("json, text, rules"),
    };
    let all = if format == "rules" { usize::MAX } else { DIGESTS_SHOWN };
    // Thousands of them take milliseconds, in which this thread could not accept connections.
    let page = spawn_blocking(move || {
        let mut listeners = state.metrics.digests();
        listeners.iter_mut().for_each(|it| it.sort(sort, limit.unwrap_or(all)));
        match to_text {
            Some(to_text) => to_text(&listeners).into_response(),
            None => json_page(&json!(listeners)),
        }
    });
    page.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn firewall(State(state): State<AdminState>, Query(shown): Query<Shown>) -> Response {
    let listeners = firewall::of(&state.config.load().config, &state.metrics.snapshot());
    match &*shown.format {
        "" | "json" => json_page(&json!(listeners)),
        "text" => firewall::to_text(&listeners).into_response(),
        _ => bad_format("json, text"),
    }
}

async fn log(State(state): State<AdminState>) -> String {
    format!("{}\n", state.log.filter())
}

#[derive(Debug, Deserialize)]
struct Level {
    level: String,
}

async fn set_log(State(state): State<AdminState>, Query(wanted): Query<Level>) -> Response {
    match state.log.set(&wanted.level) {
        Ok(()) => {
            tracing::info!("log level set to {}", wanted.level);
            format!("{}\n", wanted.level).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

async fn drain(State(state): State<AdminState>) -> impl IntoResponse {
    tracing::info!("drain asked for on the admin page");
    state.drain.notify_one();
    (StatusCode::ACCEPTED, "draining\n")
}

fn json_page(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value:#}\n")).into_response()
}

fn bad_format(formats: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("format is one of: {formats}\n")).into_response()
}

#[cfg(test)]
mod tests;
