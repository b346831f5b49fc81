//! One connection: what is remembered of its client, and what stands before every command.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use wiremesh::{Limits, Peer, Protocol};
use wiremesh_redis::{
    Message, Progress,
    command::{Command, Flags},
    resp::Version,
    slot::slot,
};

use super::{
    hub::Mailbox,
    keys, lists,
    out::{Fault, Out, is},
    server::{Open, Server},
    strings, tables,
    transaction::Transaction,
};

/// How much of what a client sends is read ahead while it waits.
const READ_AHEAD: usize = 1 << 20;

/// So much is written before the next command is carried out.
const WRITE_AT: usize = 256 << 10;

/// One connection, and what is remembered of its client.
pub(super) struct Session {
    pub(super) server: Rc<Server>,
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) mailbox: Rc<Mailbox>,
    pub(super) db: usize,
    pub(super) name: Vec<u8>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) transaction: Transaction,
    pub(super) channels: BTreeSet<Vec<u8>>,
    pub(super) patterns: BTreeSet<Vec<u8>>,
    pub(super) shard_channels: BTreeSet<Vec<u8>>,
    pub(super) silent: Silent,
    /// The next command may be for a slot that is another node's.
    pub(super) asking: bool,
    /// What a client waits for ends then.
    pub(super) until: Option<(Instant, Late)>,
    /// A transaction is being executed: nobody waits.
    pub(super) executing: bool,
    /// Nothing is answered any more.
    muted: bool,
    /// The connection is to be closed when all is written.
    pub(super) over: bool,
}

/// Which replies are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    No,
    /// That of the next command.
    Next,
    Yes,
}

/// What is answered when a client has waited in vain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    Nothing,
    Zero,
}

/// A command on its way.
pub(super) struct Call<'a> {
    pub(super) server: &'a Server,
    pub(super) name: &'static str,
    pub(super) args: &'a [&'a [u8]],
    pub(super) db: usize,
    pub(super) out: &'a mut Out,
}

impl Session {
    pub(super) fn new(server: Rc<Server>, id: u64, peer: SocketAddr) -> Self {
        Self {
            server,
            id,
            peer,
            mailbox: Rc::new(Mailbox::new(id)),
            db: 0,
            name: Vec::new(),
            user: None,
            transaction: Transaction::default(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            silent: Silent::No,
            asking: false,
            until: None,
            executing: false,
            muted: false,
            over: false,
        }
    }

    /// Serves the client until it leaves.
    pub(super) async fn converse(mut self, mut stream: TcpStream) {
        let _open = Open::new(self.server.habits.clone());
        // How a connection ends is the client's business.
        let _ = self.exchange(&mut stream).await;
    }

    async fn exchange(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let server = self.server.clone();
        let mailbox = self.mailbox.clone();
        let (mut input, mut progress) = (BytesMut::new(), Progress::default());
        let limits = Limits::default();
        loop {
            while !mailbox.blocked.get() && !self.over {
                let decoded =
                    server.protocol.decode(Peer::Client, &mut progress, &limits, &mut input);
                let request = match decoded {
                    Ok(Some(request)) => request,
                    Ok(None) => break,
                    Err(error) => {
                        if let Some(refusal) = server.protocol.refuse(&error) {
                            mailbox.out.borrow_mut().bytes.extend_from_slice(refusal.bytes());
                        }
                        self.over = true;
                        break;
                    }
                };
                if server.habits.note(self.id, request.args()) {
                    self.flush(stream).await?;
                    return stream.set_zero_linger();
                }
                if let Some(delay) = server.habits.delay() {
                    self.flush(stream).await?;
                    tokio::time::sleep(delay).await;
                }
                self.handle(&request);
                if mailbox.out.borrow().bytes.len() > WRITE_AT {
                    self.flush(stream).await?;
                }
            }
            self.flush(stream).await?;
            if self.over {
                return stream.shutdown().await;
            }
            let late = async {
                match self.until {
                    Some((until, _)) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                got = tokio_util::io::read_buf(stream, &mut input),
                    if input.len() < READ_AHEAD || !mailbox.blocked.get() =>
                {
                    if got? == 0 {
                        return Ok(());
                    }
                }
                () = mailbox.wake.notified() => {
                    self.over |= mailbox.is_overrun();
                    if !mailbox.blocked.get() {
                        self.until = None;
                    }
                }
                () = late => self.waited_in_vain(),
            }
        }
    }

    async fn flush(&self, stream: &mut TcpStream) -> io::Result<()> {
        loop {
            let mut bytes = self.mailbox.out.borrow_mut().bytes.split();
            if bytes.is_empty() {
                return Ok(());
            }
            stream.write_all_buf(&mut bytes).await?;
        }
    }

    /// One request: its answer is appended to what goes out, or the client waits.
    fn handle(&mut self, request: &Message) {
        let habits = self.server.habits.clone();
        let version = self.version();
        let mut out = Out { version, ..Out::default() };
        let before = self.silent;
        if before == Silent::Next {
            self.silent = Silent::No;
        }
        if let Err(fault) = self.answer(request, &mut out) {
            out.bytes.clear();
            out.error(&fault);
        }
        let quiet = before == Silent::Next || self.silent == Silent::Yes;
        self.muted |= habits.mute.load(Relaxed);
        if !quiet && !self.muted && !out.bytes.is_empty() {
            let mut answer = out.bytes;
            if habits.garbage.load(Relaxed) {
                answer = BytesMut::from(&b"\xee\xeegarbage\r\n"[..]);
            }
            if habits.half.load(Relaxed) {
                answer.truncate(answer.len() / 2);
                self.over = true;
            }
            self.mailbox.out.borrow_mut().bytes.unsplit(answer);
        }
        lists::serve(&self.server);
    }

    pub(super) fn version(&self) -> Version {
        self.mailbox.out.borrow().version
    }

    /// Everything that may be wrong with a command before it is carried out.
    fn answer(&mut self, request: &Message, out: &mut Out) -> Result<(), Fault> {
        let args: Vec<&[u8]> = request.args().collect();
        let asking = std::mem::take(&mut self.asking);
        if request.command().is_none()
            && let (Some((name, _)), [called, key]) = (self.server.habits.module(), &args[..])
            && is(called, &name)
        {
            self.place_of([slot(key)].into_iter(), asking)?;
            out.bulk(key);
            return Ok(());
        }
        let command = match self.admit(request, &args, asking) {
            Ok(command) => command,
            Err(fault) => {
                self.transaction.spoil();
                return Err(fault);
            }
        };
        let at_once =
            ["exec", "discard", "multi", "watch", "quit", "reset"].contains(&command.name);
        if self.transaction.is_open() && !at_once {
            self.transaction.queue(request.clone());
            out.simple("QUEUED");
            return Ok(());
        }
        match self.server.habits.script(&args) {
            None => self.run(command, &args, out),
            Some(Ok(answer)) => {
                out.bulk(answer.as_bytes());
                Ok(())
            }
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn admit(
        &self,
        request: &Message,
        args: &[&[u8]],
        asking: bool,
    ) -> Result<&'static Command, Fault> {
        let command = request.command().ok_or_else(|| unknown(args))?;
        if !command.takes(args.len()) {
            let name = command.name;
            return Err(format!("ERR wrong number of arguments for '{name}' command").into());
        }
        let open_to_all = command.flags.contains(Flags::NO_AUTH);
        if self.user.is_none() && self.server.habits.is_guarded() && !open_to_all {
            return Err("NOAUTH Authentication required.".into());
        }
        self.place(command, args, asking)?;
        let max = self.server.habits.max_memory.load(Relaxed);
        let bytes = args.iter().map(|arg| arg.len() + 16).sum();
        if command.flags.contains(Flags::DENYOOM)
            && !self.server.store.borrow_mut().charge(bytes, max)
        {
            return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
        }
        const AMONG: [&str; 9] = [
            "subscribe",
            "unsubscribe",
            "psubscribe",
            "punsubscribe",
            "ssubscribe",
            "sunsubscribe",
            "ping",
            "quit",
            "reset",
        ];
        if self.version() == Version::Resp2
            && self.subscriptions() + self.shard_channels.len() > 0
            && !AMONG.contains(&command.name)
        {
            return Err(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            )
            .into());
        }
        Ok(command)
    }

    /// Whether the keys are of this node.
    fn place(&self, command: &Command, args: &[&[u8]], asking: bool) -> Result<(), Fault> {
        let keys = command.keys(args).unwrap_or_default();
        let all = keys.into_iter().chain(command.shard_channels(args.len()));
        self.place_of(all.filter_map(|at| args.get(at)).map(|key| slot(key)), asking)
    }

    fn place_of(&self, mut slots: impl Iterator<Item = u16>, asking: bool) -> Result<(), Fault> {
        let habits = &self.server.habits;
        let Some(first) = slots.next() else { return Ok(()) };
        let cluster = habits.cluster();
        if cluster.is_some() && slots.any(|other| other != first) {
            return Err("CROSSSLOT Keys in request don't hash to the same slot".into());
        }
        if let Some(said) = habits.said(first) {
            return Err(said.text(first).into());
        }
        match cluster {
            Some((cluster, number)) if cluster.owner(first) != number && !asking => {
                Err(cluster.moved(first).map_or_else(String::new, |moved| moved.text(first)).into())
            }
            _ => Ok(()),
        }
    }

    /// Carries out a command.
    pub(super) fn run(
        &mut self,
        command: &'static Command,
        args: &[&[u8]],
        out: &mut Out,
    ) -> Result<(), Fault> {
        if !["auth", "hello", "monitor", "exec"].contains(&command.name) {
            self.server.hub.borrow().show(self.db, self.peer, args);
        }
        let server = self.server.clone();
        let mut call = Call { server: &server, name: command.name, args, db: self.db, out };
        let known = strings::run(&mut call)?
            || keys::run(&mut call)?
            || tables::run(&mut call)?
            || lists::run(&mut call)?
            || self.on_connection(command.name, args, out)?
            || self.on_subscription(command.name, args, out)
            || self.on_transaction(command.name, args, out)?
            || self.on_blocking(command.name, args, out)?;
        if known { Ok(()) } else { Err(unknown(args)) }
    }

    /// Has the client wait; for ever where `timeout` is zero.
    pub(super) fn wait(&mut self, timeout: Duration, late: Late) {
        self.mailbox.blocked.set(true);
        self.until = (!timeout.is_zero()).then(|| (Instant::now() + timeout, late));
    }

    fn waited_in_vain(&mut self) {
        let Some((_, late)) = self.until.take() else { return };
        self.server.waiting.borrow_mut().retain(|waiting| waiting.mailbox.id != self.id);
        self.mailbox.blocked.set(false);
        let mut out = self.mailbox.out.borrow_mut();
        match late {
            Late::Nothing => out.null_array(),
            Late::Zero => out.integer(0),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.waiting.borrow_mut().retain(|waiting| waiting.mailbox.id != self.id);
        self.server.hub.borrow_mut().forget(self.id);
    }
}

fn unknown(args: &[&[u8]]) -> Fault {
    let text = |arg: &[u8]| String::from_utf8_lossy(arg).into_owned();
    let (name, rest) = args.split_first().map_or((String::new(), &[][..]), |(n, r)| (text(n), r));
    let mut begin = String::new();
    for arg in rest {
        if begin.len() >= 128 {
            break;
        }
        begin.push_str(&format!("'{}' ", text(arg)));
    }
    format!("ERR unknown command '{name}', with args beginning with: {begin}").into()
}
