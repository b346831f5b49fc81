//! An upstream server that does what the method of a request says.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncWriteExt, BufWriter},
    net::{TcpListener, TcpSocket, TcpStream, tcp::OwnedWriteHalf},
    sync::{Mutex, oneshot},
    task::LocalSet,
};
use wiremesh::{Frame, Kind, Limits, Peer, Protocol, Status, WriteBuf};
use wiremesh_toys::{Mx, multiplexed::Message};

/// An upstream on a thread of its own; dropping it closes every connection at once.
pub struct Upstream {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What an upstream has seen.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicU64,
    pub requests: AtomicU64,
    pub one_way: AtomicU64,
    pub heartbeats: AtomicU64,
    pub go_aways: AtomicU64,
}

impl Upstream {
    /// One on a free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    /// One on this port: where another one was before, say.
    pub fn start_at(address: SocketAddr) -> Self {
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let (bound, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let seen = seen.clone();
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("rt");
                LocalSet::new().block_on(&runtime, async {
                    let socket = TcpSocket::new_v4().expect("a socket");
                    socket.set_reuseaddr(true).expect("reuse");
                    socket.bind(address).expect("the port is free");
                    let listener = socket.listen(1024).expect("listen");
                    bound.send(listener.local_addr().expect("bound")).expect("asked for");
                    tokio::select! {
                        () = accept(listener, seen) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        let address = ready.recv().expect("it binds");
        Self { address, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// Requests seen so far.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the upstream did not panic");
        }
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        seen.connections.fetch_add(1, Relaxed);
        tokio::task::spawn_local(serve(stream, seen.clone()));
    }
}

type Out = Rc<Mutex<BufWriter<OwnedWriteHalf>>>;

async fn serve(stream: TcpStream, seen: Arc<Seen>) {
    let _ = stream.set_zero_linger();
    let (mut read, write) = stream.into_split();
    let out: Out = Rc::new(Mutex::new(BufWriter::new(write)));
    let mut input = BytesMut::new();
    loop {
        while let Some(frame) = Mx
            .decode(Peer::Client, &mut (), &Limits::default(), &mut input)
            .expect("the proxy sends well-formed frames")
        {
            let counter = match frame.kind() {
                Kind::Request => &seen.requests,
                Kind::OneWay => &seen.one_way,
                Kind::Heartbeat => &seen.heartbeats,
                Kind::GoAway => &seen.go_aways,
                other => panic!("the proxy sent a {other:?}"),
            };
            counter.fetch_add(1, Relaxed);
            match frame.kind() {
                Kind::Request => {
                    if matches!(frame.method().as_deref(), Some("reset" | "half" | "garbage")) {
                        end_badly(&frame, &out).await;
                        return;
                    }
                    tokio::task::spawn_local(answer(frame, out.clone()));
                }
                Kind::Heartbeat => {
                    let reply = Mx.heartbeat_reply(&frame).expect("it has one");
                    send(&out, &[reply]).await;
                }
                _ => {}
            }
        }
        match tokio_util::io::read_buf(&mut read, &mut input).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}

/// A response to `request` with this id and payload.
fn response(id: u64, status: Status, payload: &[u8]) -> Message {
    Message::new(Kind::Response, status, id, ["", ""], payload)
}

async fn answer(request: Message, out: Out) {
    use wiremesh::correlation::Multiplexed;
    let id = Mx.id(&request);
    let method = request.method().unwrap_or_default().into_owned();
    let (verb, argument) = method.split_once(':').unwrap_or((&method, ""));
    let number = || argument.parse::<u64>().expect("a number");
    let echo = response(id, Status::Ok, request.payload());
    match verb {
        "echo" => send(&out, &[echo]).await,
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number())).await;
            send(&out, &[echo]).await;
        }
        "never" => {}
        "twice" => send(&out, &[echo.clone(), echo]).await,
        // An id that is not in flight, then the real one.
        "unknown" => {
            send(&out, &[response(id ^ 0x0055_0000, Status::Ok, b"stray"), echo]).await;
        }
        "big" => {
            // One at a time, so that what waits to be written does not count as the proxy's memory.
            let mut out = out.lock().await;
            let mut payload = request.payload().to_vec();
            payload.resize(usize::try_from(number()).expect("fits"), b'.');
            let mut bytes = WriteBuf::default();
            Mx.encode(response(id, Status::Ok, &payload), &mut bytes);
            drop(payload);
            let _ = out.write_all_buf(&mut bytes).await;
            let _ = out.flush().await;
        }
        "status" => {
            let status = Status::ALL.into_iter().find(|s| s.as_str() == argument);
            send(&out, &[response(id, status.expect("a status"), request.payload())]).await;
        }
        // The time that the caller says it will wait.
        "timeout" => {
            let ms = request.timeout().map_or(0, |t| t.as_millis());
            send(&out, &[response(id, Status::Ok, ms.to_string().as_bytes())]).await;
        }
        // Answers, and asks to be left alone.
        "goaway" => {
            let bye = Mx.go_away(0).expect("it has one");
            send(&out, &[bye, echo]).await;
        }
        other => panic!("no such method: {other}"),
    }
}

async fn end_badly(request: &Message, out: &Out) {
    use wiremesh::correlation::Multiplexed;
    let mut bytes = WriteBuf::default();
    Mx.encode(response(Mx.id(request), Status::Ok, request.payload()), &mut bytes);
    let bytes = bytes.to_bytes();
    let mut out = out.lock().await;
    match request.method().as_deref() {
        Some("half") => {
            let _ = out.write_all(&bytes[..bytes.len() / 2]).await;
            let _ = out.flush().await;
            let _ = out.shutdown().await;
        }
        Some("garbage") => {
            let _ = out.write_all(&[0xEE; 64]).await;
            let _ = out.flush().await;
            // Wait for the proxy to close: it must not need our end.
            std::future::pending::<()>().await;
        }
        _ => {}
    }
}

async fn send(out: &Out, frames: &[Message]) {
    let mut bytes = WriteBuf::default();
    for frame in frames {
        Mx.encode(frame.clone(), &mut bytes);
    }
    let mut out = out.lock().await;
    let _ = out.write_all(&bytes.to_bytes()).await;
    let _ = out.flush().await;
}
