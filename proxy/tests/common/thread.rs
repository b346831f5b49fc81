//! A server on a thread of its own.

use std::{net::SocketAddr, thread::JoinHandle};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::{LocalSet, spawn_local},
};

/// A server on a thread of its own; dropping it closes every connection at once.
pub struct ServerThread {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Runs `serve` on each connection to a free port.
    pub fn each<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self::start(any, move |listener: TcpListener| async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                spawn_local(serve(stream));
            }
        })
    }

    /// Runs `serve` on a socket bound to `address`.
    pub fn start<F>(
        address: SocketAddr,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let (bound, ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("rt");
            LocalSet::new().block_on(&runtime, async {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.set_reuseaddr(true).expect("reuse");
                socket.bind(address).expect("the port is free");
                let listener = socket.listen(1024).expect("listen");
                bound.send(listener.local_addr().expect("bound")).expect("asked for");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = ready.recv().expect("it binds");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server has not failed");
        }
    }
}
