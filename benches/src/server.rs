//! The echo server: one thread; all requests of one read are answered by one write.

use std::{io, rc::Rc};

use tokio::{net::TcpListener, task::spawn_local};

use crate::{
    socket::{Chunk, Socket},
    wire::Wire,
};

/// Serves for ever. Must run within a [`tokio::task::LocalSet`].
pub async fn serve(listener: TcpListener, wire: Rc<dyn Wire>) -> io::Result<()> {
    let chunk = Chunk::default();
    loop {
        let (stream, peer) = listener.accept().await?;
        let mut socket = Socket::new(stream, chunk.clone())?;
        let wire = wire.clone();
        spawn_local(async move {
            let ended = loop {
                match socket.turn(&*wire, |request, out| wire.put_reply(request, out)).await {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            // That a client leaves with answers unread is its business; bytes that are no request are not.
            if let Err(error) = ended
                && error.kind() == io::ErrorKind::Other
            {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
