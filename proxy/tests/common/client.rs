//! A client that checks every answer against its request.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::{Mutex, oneshot},
    task::JoinHandle,
};
use wiremesh::{Frame, Kind, Limits, Peer, Protocol, Status, WriteBuf, correlation::Multiplexed};
use wiremesh_toys::{Mx, multiplexed::Message};

/// How long a test waits for an answer before it calls it lost.
const LOST: Duration = Duration::from_secs(20);

/// A connection that many calls may share.
pub struct Client {
    write: Mutex<Option<OwnedWriteHalf>>,
    shared: Rc<Shared>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    waiting: RefCell<HashMap<u64, oneshot::Sender<Reply>>>,
    next: Cell<u64>,
    go_away: Cell<bool>,
    /// Replies that nobody waits for: a fault of the proxy's.
    stray: Cell<u64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: Status,
    pub payload: Vec<u8>,
}

impl Reply {
    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut read, write) = stream.into_split();
        let shared = Rc::new(Shared::default());
        let reader = tokio::task::spawn_local({
            let shared = shared.clone();
            async move {
                let mut input = BytesMut::new();
                while matches!(tokio_util::io::read_buf(&mut read, &mut input).await, Ok(n) if n > 0)
                {
                    while let Some(frame) = Mx
                        .decode(Peer::Upstream, &mut (), &Limits::default(), &mut input)
                        .expect("the proxy sends well-formed frames")
                    {
                        shared.on_frame(&frame);
                    }
                }
                // Everybody who still waits learns that the connection is gone.
                shared.waiting.take();
            }
        });
        Ok(Self { write: Mutex::new(Some(write)), shared, reader })
    }

    /// Calls, and fails the test when there is no answer at all. `None`: the connection was closed.
    pub async fn call(&self, method: &str, payload: &[u8]) -> Option<Reply> {
        self.call_with("svc", method, payload, None).await
    }

    /// The same with a service and a timeout of the caller's.
    pub async fn call_with(
        &self,
        service: &str,
        method: &str,
        payload: &[u8],
        timeout: Option<Duration>,
    ) -> Option<Reply> {
        let answer = self.send(Kind::Request, service, method, payload, timeout).await;
        tokio::time::timeout(LOST, answer).await.expect("an answer is lost").ok()
    }

    /// Calls `echo`-like methods with a payload that no other call has, and checks that it comes back.
    pub async fn check(&self, method: &str, nonce: &str) {
        let reply = self.call(method, nonce.as_bytes()).await.expect("connected");
        assert_eq!((reply.status, reply.text()), (Status::Ok, nonce.to_owned()));
    }

    /// Sends a one-way request.
    pub async fn one_way(&self, method: &str, payload: &[u8]) {
        drop(self.send(Kind::OneWay, "svc", method, payload, None).await);
    }

    async fn send(
        &self,
        kind: Kind,
        service: &str,
        method: &str,
        payload: &[u8],
        timeout: Option<Duration>,
    ) -> oneshot::Receiver<Reply> {
        let id = self.shared.next.get();
        self.shared.next.set(id + 1);
        let mut frame = Message::new(kind, Status::Ok, id, [service, method], payload);
        if let Some(timeout) = timeout {
            frame.set_timeout(timeout);
        }
        let (tell, answer) = oneshot::channel();
        if kind == Kind::Request {
            self.shared.waiting.borrow_mut().insert(id, tell);
        }
        let mut out = WriteBuf::default();
        Mx.encode(frame, &mut out);
        let mut write = self.write.lock().await;
        let written = match &mut *write {
            Some(write) => write.write_all_buf(&mut out).await.is_ok(),
            None => false,
        };
        if !written || self.is_closed() {
            self.shared.waiting.borrow_mut().remove(&id);
        }
        answer
    }

    /// Closes the connection under the calls that still wait.
    pub fn abandon(&self) {
        self.reader.abort();
        self.shared.waiting.take();
        // The reading half went with its task; this is the writing half.
        if let Ok(mut write) = self.write.try_lock() {
            let _ = write.take();
        }
    }

    /// Whether the proxy has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.reader.is_finished()
    }

    /// Whether the proxy has asked to be left alone.
    pub fn told_to_go(&self) -> bool {
        self.shared.go_away.get()
    }

    /// Replies that answer nothing.
    pub fn strays(&self) -> u64 {
        self.shared.stray.get()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn on_frame(&self, frame: &Message) {
        match frame.kind() {
            Kind::Response => match self.waiting.borrow_mut().remove(&Mx.id(frame)) {
                Some(waiter) => {
                    let reply = Reply { status: frame.status(), payload: frame.payload().to_vec() };
                    let _ = waiter.send(reply);
                }
                None => self.stray.set(self.stray.get() + 1),
            },
            Kind::GoAway => self.go_away.set(true),
            other => panic!("the proxy sent a {other:?}"),
        }
    }
}
