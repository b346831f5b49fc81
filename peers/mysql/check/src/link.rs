//! A connection: packets over a socket, with TLS and compression from where they begin.

use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use wiremesh_mysql::compress::{Algorithm, Compressor, Decompressor};
use wiremesh_mysql::wire::{HEAD, Head, put_packet};

const LONGEST: Duration = Duration::from_secs(20);

pub(crate) struct Link {
    stream: Stream,
    /// What has come and is not unpacked yet, where there is compression.
    wire: BytesMut,
    /// What has come of packets.
    plain: BytesMut,
    layer: Option<(Compressor, Decompressor)>,
    /// What was written, in bytes, as it went out.
    pub(crate) written: usize,
}

/// A socket is one file, since there may be ten thousand of them.
enum Stream {
    Plain(TcpStream),
    Layered(Box<dyn Duplex>),
}

pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// A socket some of whose bytes have been read.
struct Prefixed(Cursor<Vec<u8>>, TcpStream);

impl Link {
    pub(crate) fn new(socket: TcpStream) -> anyhow::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LONGEST))?;
        Ok(Self {
            stream: Stream::Plain(socket),
            wire: BytesMut::new(),
            plain: BytesMut::new(),
            layer: None,
            written: 0,
        })
    }

    pub(crate) fn start_tls_client(
        &mut self,
        config: Arc<rustls::ClientConfig>,
    ) -> anyhow::Result<()> {
        ensure!(self.plain.is_empty(), "the server says something before TLS");
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(config, name)?;
        self.stream = Stream::Layered(Box::new(StreamOwned::new(tls, self.socket()?)));
        Ok(())
    }

    pub(crate) fn start_tls_server(
        &mut self,
        config: Arc<rustls::ServerConfig>,
    ) -> anyhow::Result<()> {
        let seen = std::mem::take(&mut self.plain).to_vec();
        let socket = Prefixed(Cursor::new(seen), self.socket()?);
        let tls = StreamOwned::new(ServerConnection::new(config)?, socket);
        self.stream = Stream::Layered(Box::new(tls));
        Ok(())
    }

    fn socket(&self) -> anyhow::Result<TcpStream> {
        match &self.stream {
            Stream::Plain(socket) => Ok(socket.try_clone()?),
            Stream::Layered(_) => bail!("there is TLS already"),
        }
    }

    pub(crate) fn compress(&mut self, algorithm: Algorithm) {
        self.layer = Some((Compressor::new(algorithm, 3), Decompressor::new(algorithm)));
        self.wire = std::mem::take(&mut self.plain);
    }

    /// The next packet, with all that continues it; `None` where the peer has left instead.
    pub(crate) fn packet(&mut self) -> anyhow::Result<Option<(u8, BytesMut)>> {
        let mut whole = BytesMut::new();
        loop {
            if let Some(head) = Head::read(&self.plain)
                && self.plain.len() >= HEAD + head.len
            {
                self.plain.advance(HEAD);
                whole.unsplit(self.plain.split_to(head.len));
                if !head.is_continued() {
                    return Ok(Some((head.seq, whole)));
                }
                continue;
            }
            if !self.read()? {
                ensure!(self.plain.is_empty(), "it ends within a packet");
                return Ok(None);
            }
        }
    }

    /// Sends packets that continue what is being said.
    pub(crate) fn send(&mut self, packets: &[u8]) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        let bytes = match &mut self.layer {
            Some((pack, _)) => {
                pack.write(packets, &mut out);
                &out
            }
            None => packets,
        };
        self.written += bytes.len();
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(())
    }

    /// Sends packets that begin a command.
    pub(crate) fn ask(&mut self, packets: &[u8]) -> anyhow::Result<()> {
        if let Some((pack, _)) = &mut self.layer {
            pack.set_next(0);
        }
        self.send(packets)
    }

    /// Sends packets that begin a reply.
    pub(crate) fn reply(&mut self, packets: &[u8]) -> anyhow::Result<()> {
        if let Some((pack, unpack)) = &mut self.layer {
            pack.set_next(unpack.next());
        }
        self.send(packets)
    }

    /// Sends a command and answers its rows, each as it came; none where it has none.
    pub(crate) fn query(&mut self, text: &str) -> anyhow::Result<Vec<BytesMut>> {
        let mut out = BytesMut::new();
        put_packet(&mut out, 0, &[b"\x03", text.as_bytes()].concat());
        self.ask(&out)?;
        let columns = match self.body()? {
            ok if ok.first() == Some(&0) => return Ok(Vec::new()),
            columns => columns[0],
        };
        for _ in 0..columns {
            self.body()?;
        }
        let mut rows = Vec::new();
        loop {
            // Without EOF behind the columns, an OK that begins like one ends the rows.
            match self.body()? {
                end if end.first() == Some(&0xfe) && end.len() < 0xff_ffff => return Ok(rows),
                row => rows.push(row),
            }
        }
    }

    /// A packet of a reply that is not an error.
    fn body(&mut self) -> anyhow::Result<BytesMut> {
        match self.packet()? {
            Some((_, body)) if body.first() == Some(&0xff) => {
                bail!("{}", String::from_utf8_lossy(&body))
            }
            Some((_, body)) => Ok(body),
            None => bail!("it has left"),
        }
    }

    fn read(&mut self) -> anyhow::Result<bool> {
        let mut some = [0; 16 << 10];
        let len = match self.stream.read(&mut some) {
            Ok(len) => len,
            // A peer that does not say goodbye within TLS has left all the same.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => 0,
            Err(e) => return Err(e.into()),
        };
        match &mut self.layer {
            Some((_, unpack)) => {
                self.wire.extend_from_slice(&some[..len]);
                while unpack.read(&mut self.wire, &mut self.plain, usize::MAX)? {}
            }
            None => self.plain.extend_from_slice(&some[..len]),
        }
        Ok(len > 0)
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(out),
            Self::Layered(layer) => layer.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Layered(layer) => layer.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Layered(layer) => layer.flush(),
        }
    }
}

impl Read for Prefixed {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(out)? {
            0 => self.1.read(out),
            len => Ok(len),
        }
    }
}

impl Write for Prefixed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.1.flush()
    }
}
