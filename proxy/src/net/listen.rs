use std::{io, net::ToSocketAddrs, os::unix::net::UnixListener as StdUnixListener};

use tokio::net::{TcpListener, UnixListener};

use crate::{cluster::Address, config, worker::RawStream};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A listening socket of either kind.
pub enum Bound {
    /// TCP.
    Tcp(TcpListener),
    /// Unix; the file is removed when it is closed.
    Unix(UnixListener, std::path::PathBuf),
}

/// Binds and listens. A Unix socket's file that nobody listens on any more is replaced.
pub fn bind(address: &config::Address) -> io::Result<Bound> {
    match address {
        config::Address::Tcp { host, port } => {
            let mut found = (host.as_str(), *port).to_socket_addrs()?;
            let address = found.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let domain = socket2::Domain::for_address(address);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(Bound::Tcp(TcpListener::from_std(socket.into())?))
        }
        config::Address::Unix(path) => {
            if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            let listener = StdUnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(Bound::Unix(UnixListener::from_std(listener)?, path.clone()))
        }
    }
}

impl Bound {
    /// Where it listens; with the real port where 0 was asked for.
    pub fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(_, path) => Address::Unix(path.clone()),
        })
    }

    /// The next connection, ready to be handed to another thread.
    pub async fn accept(&self) -> io::Result<RawStream> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                RawStream::Tcp(stream.into_std()?)
            }
            Self::Unix(listener, _) => RawStream::Unix(listener.accept().await?.0.into_std()?),
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}
