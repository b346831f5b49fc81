//! Both ends of any protocol with ids: a server that answers by a function, a caller that sees every frame. Blocking, on
//! threads of their own, over TCP or Unix sockets.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::BytesMut;
use wiremesh::{Frame, Kind, Limits, Peer, Protocol, WriteBuf, correlation::Multiplexed};

/// How long a test waits for a frame before it calls it lost.
const LOST: Duration = Duration::from_secs(10);

/// A connected socket.
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects to `IP:PORT` or `unix:PATH`.
    pub fn connect(address: &str) -> io::Result<Self> {
        match address.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).map(Self::Unix),
            None => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    pub fn close(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    pub fn set_read_timeout(&self, timeout: Duration) {
        let set = match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        };
        set.expect("a timeout");
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn bind(address: &str) -> (Self, String) {
        match address.strip_prefix("unix:") {
            Some(path) => (
                Self::Unix(UnixListener::bind(path).expect("the path is free")),
                address.to_owned(),
            ),
            None => {
                let listener = TcpListener::bind(address).expect("the port is free");
                let address = listener.local_addr().expect("bound").to_string();
                (Self::Tcp(listener), address)
            }
        }
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Socket::Unix(listener.accept()?.0)),
        }
    }
}

/// A frame that a server has received.
#[derive(Clone, Debug)]
pub struct Seen<F> {
    /// Which of its connections, counted from 0.
    pub connection: usize,
    pub frame: F,
}

/// A server; dropping it closes every connection.
pub struct Server<P: Protocol> {
    pub address: String,
    shared: Arc<Shared<P>>,
    accepting: Option<JoinHandle<()>>,
}

type Answer<F> = dyn Fn(&Seen<F>) -> Vec<F> + Send + Sync;

struct Shared<P: Protocol> {
    protocol: P,
    answer: Box<Answer<P::Frame>>,
    seen: Mutex<Vec<Seen<P::Frame>>>,
    /// By connection; the second half says whether it is still open.
    sockets: Mutex<Vec<(Socket, bool)>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: AtomicBool,
}

impl<P> Server<P>
where
    P: Multiplexed + Default + Send + Sync,
    P::Frame: Send,
{
    /// A server at `IP:PORT` (0 for a free port) or `unix:PATH`. Heartbeats are answered without asking `answer`.
    pub fn start(
        address: &str,
        answer: impl Fn(&Seen<P::Frame>) -> Vec<P::Frame> + Send + Sync + 'static,
    ) -> Self {
        let (listening, address) = Listening::bind(address);
        let shared = Arc::new(Shared {
            protocol: P::default(),
            answer: Box::new(answer),
            seen: Mutex::default(),
            sockets: Mutex::default(),
            threads: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || {
                while let Ok(socket) = listening.accept() {
                    if shared.stop.load(SeqCst) {
                        return;
                    }
                    let mut sockets = shared.sockets.lock().expect("no panic");
                    let connection = sockets.len();
                    sockets.push((socket.try_clone().expect("a handle"), true));
                    drop(sockets);
                    let serving = shared.clone();
                    let thread = thread::spawn(move || serving.serve(connection, socket));
                    shared.threads.lock().expect("no panic").push(thread);
                }
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Everything received so far, heartbeats included.
    pub fn seen(&self) -> Vec<Seen<P::Frame>> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// Requests received so far.
    pub fn requests(&self) -> usize {
        self.of_kind(Kind::Request)
    }

    /// Frames of this kind received so far.
    pub fn of_kind(&self, kind: Kind) -> usize {
        let seen = self.shared.seen.lock().expect("no panic");
        seen.iter().filter(|seen| seen.frame.kind() == kind).count()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.sockets.lock().expect("no panic").len()
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.sockets.lock().expect("no panic").iter().filter(|(_, open)| *open).count()
    }

    /// Sends a frame unasked.
    pub fn send(&self, connection: usize, frame: P::Frame) {
        let sockets = self.shared.sockets.lock().expect("no panic");
        let mut socket = sockets[connection].0.try_clone().expect("a handle");
        drop(sockets);
        write(&self.shared.protocol, &mut socket, frame).expect("written");
    }
}

impl<P: Protocol> Drop for Server<P> {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        // Has the accepting thread look at the flag.
        drop(Socket::connect(&self.address));
        if let Some(thread) = self.accepting.take() {
            thread.join().expect("the server did not panic");
        }
        for (socket, _) in &*self.shared.sockets.lock().expect("no panic") {
            socket.close();
        }
        let threads = std::mem::take(&mut *self.shared.threads.lock().expect("no panic"));
        for thread in threads {
            thread.join().expect("the server did not panic");
        }
    }
}

impl<P: Multiplexed> Shared<P> {
    fn serve(&self, connection: usize, mut socket: Socket) {
        let (mut input, mut state) = (BytesMut::new(), P::State::default());
        let mut chunk = [0; 16 << 10];
        while let Ok(n @ 1..) = socket.read(&mut chunk) {
            input.extend_from_slice(&chunk[..n]);
            while let Some(frame) = self
                .protocol
                .decode(Peer::Client, &mut state, &Limits::default(), &mut input)
                .expect("the proxy sends well-formed frames")
            {
                let seen = Seen { connection, frame };
                self.seen.lock().expect("no panic").push(seen.clone());
                let answers = match self.protocol.heartbeat_reply(&seen.frame) {
                    Some(reply) if seen.frame.kind() == Kind::Heartbeat => vec![reply],
                    _ => (self.answer)(&seen),
                };
                for answer in answers {
                    // The proxy may have gone; the next read says so.
                    let _ = write(&self.protocol, &mut socket, answer);
                }
            }
        }
        self.sockets.lock().expect("no panic")[connection].1 = false;
        socket.close();
    }
}

/// A client connection whose frames all pass through the test's hands.
pub struct Caller<P: Protocol> {
    pub socket: Socket,
    protocol: P,
    state: P::State,
    input: BytesMut,
    next: u64,
}

impl<P: Multiplexed + Default> Caller<P> {
    /// Connects to `IP:PORT` or `unix:PATH`.
    pub fn connect(address: &str) -> Self {
        let socket = Socket::connect(address).expect("connect");
        socket.set_read_timeout(LOST);
        let (protocol, state) = (P::default(), P::State::default());
        Self { socket, protocol, state, input: BytesMut::new(), next: 1 }
    }

    /// Sends a frame as it is. That the proxy has closed the connection is for [`receive`](Self::receive) to say.
    pub fn send(&mut self, frame: P::Frame) {
        let _ = write(&self.protocol, &mut self.socket, frame);
    }

    /// Sends a request under an id of its own, and tells the id.
    pub fn ask(&mut self, mut request: P::Frame) -> u64 {
        let id = self.next;
        self.next += 1;
        self.protocol.set_id(&mut request, id);
        self.send(request);
        id
    }

    /// The next frame; `None` when the proxy has closed the connection. Fails the test when there is neither.
    pub fn receive(&mut self) -> Option<P::Frame> {
        let mut chunk = [0; 16 << 10];
        loop {
            let limits = Limits::default();
            let frame =
                self.protocol.decode(Peer::Upstream, &mut self.state, &limits, &mut self.input);
            if let Some(frame) = frame.expect("the proxy sends well-formed frames") {
                return Some(frame);
            }
            match self.socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return None,
                Err(_) => panic!("nothing within {LOST:?}"),
            }
        }
    }

    /// Asks, and waits for the answer, which must be the next frame.
    pub fn call(&mut self, request: P::Frame) -> P::Frame {
        let id = self.ask(request);
        let reply = self.receive().expect("connected");
        assert_eq!((reply.kind(), self.protocol.id(&reply)), (Kind::Response, id));
        reply
    }
}

fn write<P: Protocol>(protocol: &P, socket: &mut Socket, frame: P::Frame) -> io::Result<()> {
    let mut out = WriteBuf::default();
    protocol.encode(frame, &mut out);
    socket.write_all(&out.to_bytes())
}

/// A count that a server's answer function can share with its test.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    /// Counts one more, and tells how many there were before.
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, SeqCst)
    }

    pub fn get(&self) -> usize {
        self.0.load(SeqCst)
    }

    pub fn set(&self, value: usize) {
        self.0.store(value, SeqCst);
    }
}
