use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    rc::Rc,
};

use tokio::{io::Interest, net::TcpStream};

use crate::wire::{Garbled, Wire};

const CHUNK: usize = 256 * 1024;

/// The buffer that all connections read into.
#[derive(Clone)]
pub(crate) struct Chunk(Rc<RefCell<Vec<u8>>>);

impl Default for Chunk {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; CHUNK])))
    }
}

/// A connection that reads all there is, and answers it with one write.
pub(crate) struct Socket {
    stream: TcpStream,
    chunk: Chunk,
    /// Half a message.
    rest: Vec<u8>,
    /// To be written.
    pub(crate) out: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, chunk: Chunk) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, chunk, rest: Vec::new(), out: Vec::new() })
    }

    /// Writes what it can, waits for what comes, and hands over each message with the buffer to answer into. False when
    /// the peer has closed.
    pub(crate) async fn turn(
        &mut self,
        wire: &dyn Wire,
        mut on_message: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Garbled>,
    ) -> io::Result<bool> {
        self.write()?;
        let interest = if self.out.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        self.stream.ready(interest).await?;
        let mut chunk = self.chunk.0.borrow_mut();
        match self.stream.try_read(&mut chunk[..]) {
            Ok(0) => return Ok(false),
            Ok(n) if self.rest.is_empty() => {
                let taken = messages(wire, &chunk[..n], &mut self.out, &mut on_message)?;
                self.rest.extend_from_slice(&chunk[taken..n]);
            }
            Ok(n) => {
                self.rest.extend_from_slice(&chunk[..n]);
                let taken = messages(wire, &self.rest, &mut self.out, &mut on_message)?;
                self.rest.drain(..taken);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        drop(chunk);
        self.write()?;
        Ok(true)
    }

    fn write(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        match self.stream.try_write(&self.out) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Hands over the whole messages at the front of `input`, and says how long they are together.
fn messages(
    wire: &dyn Wire,
    input: &[u8],
    out: &mut Vec<u8>,
    on_message: &mut impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Garbled>,
) -> io::Result<usize> {
    let mut taken = 0;
    while let Some(len) = wire.message_len(&input[taken..]).map_err(io::Error::other)? {
        let Some(message) = input.get(taken..taken + len) else { break };
        on_message(message, out).map_err(io::Error::other)?;
        taken += len;
    }
    Ok(taken)
}
