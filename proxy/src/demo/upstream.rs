//! The demo's services, as servers that can be killed and started again.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};
use wiremesh::{Frame, Kind, Limits, Peer, Protocol, WriteBuf};
use wiremesh_bolt::{Bolt, BoltFrame, Progress};

use super::service::{self, Method};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A server on a port of its own.
pub(super) struct Endpoint {
    /// Its cluster.
    pub(super) cluster: &'static str,
    /// Its address.
    pub(super) address: SocketAddr,
    connections: Arc<AtomicU64>,
    state: State,
}

enum State {
    /// Bound, so that nobody else takes the port, but not listening: connections are refused.
    Down(TcpSocket),
    Up(JoinHandle<()>),
    /// Between the two.
    Changing,
}

impl Endpoint {
    /// One on a free port, down at first.
    pub(super) fn bind(cluster: &'static str) -> io::Result<Self> {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Self { cluster, address, connections: Arc::default(), state: State::Down(socket) })
    }

    /// Listens.
    pub(super) fn start(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Changing) {
            State::Down(socket) => {
                let listener = socket.listen(BACKLOG)?;
                let accept = accept(listener, self.connections.clone());
                self.state = State::Up(tokio::task::spawn_local(accept));
            }
            other => self.state = other,
        }
        Ok(())
    }

    /// Stops listening and resets every connection, whatever was in progress there; says how many there were.
    pub(super) async fn kill(&mut self) -> io::Result<u64> {
        let connections = self.connections.load(Relaxed);
        if let State::Up(server) = std::mem::replace(&mut self.state, State::Changing) {
            server.abort();
            let _ = server.await;
        }
        self.state = State::Down(bind(self.address)?);
        Ok(connections)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves until it is aborted, and all its connections with it.
async fn accept(listener: TcpListener, connections: Arc<AtomicU64>) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let open = Open::new(connections.clone());
                serving.spawn_local(async move {
                    // How a connection ends is the proxy's business.
                    let _ = serve(stream).await;
                    drop(open);
                });
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

/// Counts a connection for as long as it lives.
struct Open(Arc<AtomicU64>);

impl Open {
    fn new(count: Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Closing it is a reset.
    stream.set_zero_linger()?;
    let (mut read, mut write) = stream.split();
    let (mut input, mut decoder) = (BytesMut::new(), Progress::default());
    let mut output = WriteBuf::default();
    let mut rng = fastrand::Rng::new();
    let mut working = JoinSet::new();
    loop {
        tokio::select! {
            got = tokio_util::io::read_buf(&mut read, &mut input) => if got? == 0 {
                return Ok(());
            },
            Some(Ok(done)) = working.join_next() => {
                let more = std::iter::from_fn(|| working.try_join_next()?.ok());
                for reply in std::iter::once(done).chain(more).flatten() {
                    Bolt::default().encode(reply, &mut output);
                }
            }
        }
        while let Some(frame) = Bolt::default()
            .decode(Peer::Client, &mut decoder, &Limits::default(), &mut input)
            .map_err(io::Error::other)?
        {
            match frame.kind() {
                Kind::Request => {
                    let (takes, reply) = answer(&frame, &mut rng);
                    working.spawn_local(async move {
                        tokio::time::sleep(takes).await;
                        reply
                    });
                }
                Kind::Heartbeat => {
                    if let Some(reply) = Bolt::default().heartbeat_reply(&frame) {
                        Bolt::default().encode(reply, &mut output);
                    }
                }
                _ => {}
            }
        }
        write.write_all_buf(&mut output).await?;
    }
}

/// How long a request takes, and what its answer is then.
fn answer(request: &BoltFrame, rng: &mut fastrand::Rng) -> (Duration, Option<BoltFrame>) {
    let (version, id) = (request.version(), request.id());
    let (service, name) = (request.service(), request.method());
    let method = Method::of(service.as_deref().unwrap_or(""), name.as_deref().unwrap_or(""));
    let reply = method.and_then(|m| Some((m.takes(rng), m.answer(request.content())?)));
    match reply {
        Some((takes, reply)) => (takes, service::response(version, id, &reply)),
        None => (Duration::ZERO, service::refusal(version, id)),
    }
}
