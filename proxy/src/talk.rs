//! A connection of the control thread's own, for a few questions.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use wiremesh::{
    Frame, Kind, Limits, Peer, Protocol, WriteBuf,
    correlation::{
        Departure, Handshake, InOrder, Pipelined, Progress, Purpose, Session, Sessioned,
    },
    topology::{Shards, Topology},
};

use crate::{
    cluster::discover::{Asking, Learner},
    net::{
        Dial, Stream,
        tls::{self, Connecting},
    },
};

/// A connection to an endpoint. Errors are for the log.
pub struct Talk<'a, P: Protocol> {
    protocol: &'a P,
    stream: Stream,
    /// For TLS that the handshake begins.
    tls: Option<Connecting>,
    input: BytesMut,
    decoder: P::State,
}

impl<'a, P: Protocol> Talk<'a, P> {
    /// Connects.
    pub async fn connect(protocol: &'a P, mut dial: Dial) -> Result<Self, String> {
        let tls = if P::STARTS_TLS { dial.tls.take() } else { None };
        let stream = Stream::connect(dial).await.map_err(|e| format!("cannot connect: {e}"))?;
        Ok(Self { protocol, stream, tls, input: BytesMut::new(), decoder: P::State::default() })
    }

    /// What a session's handshake must know.
    pub fn departure(&self) -> Departure {
        let private = self.stream.is_private();
        Departure { random: tls::random(), tls: self.tls.is_some(), private }
    }

    /// Sends frames.
    pub async fn say(&mut self, frames: impl IntoIterator<Item = P::Frame>) -> Result<(), String> {
        let mut out = WriteBuf::default();
        frames.into_iter().for_each(|frame| self.protocol.encode(frame, &mut out));
        self.stream.write_all_buf(&mut out).await.map_err(|e| e.to_string())?;
        self.stream.flush().await.map_err(|e| e.to_string())
    }

    /// The next frame.
    pub async fn hear(&mut self) -> Result<P::Frame, String> {
        loop {
            let (protocol, limits) = (self.protocol, Limits::default());
            let frame =
                protocol.decode(Peer::Upstream, &mut self.decoder, &limits, &mut self.input);
            if let Some(frame) = frame.map_err(|e| e.to_string())? {
                return Ok(frame);
            }
            let read = tokio_util::io::read_buf(&mut self.stream, &mut self.input).await;
            if read.map_err(|e| e.to_string())? == 0 {
                return Err("closed without an answer".into());
            }
        }
    }

    /// The next frame that answers something.
    pub async fn answer(&mut self) -> Result<P::Frame, String> {
        loop {
            let frame = self.hear().await?;
            if matches!(frame.kind(), Kind::Response | Kind::HeartbeatReply) {
                return Ok(frame);
            }
        }
    }

    /// Goes through a handshake.
    pub async fn greet(
        mut self,
        handshake: &mut (impl Handshake<P> + ?Sized),
    ) -> Result<Self, String> {
        let mut progress = handshake.start(self.protocol);
        loop {
            match progress {
                Progress::Continue(frame) => self.say(frame).await?,
                Progress::Done(frame) => {
                    self.say(frame).await?;
                    return Ok(self);
                }
                Progress::StartTls(frame) => {
                    self.say(frame).await?;
                    if !self.input.is_empty() {
                        return Err("it spoke before TLS began".into());
                    }
                    let tls = self.tls.take().ok_or("TLS is not configured")?;
                    self.stream = self.stream.start_tls(tls).await.map_err(|e| e.to_string())?;
                    progress = handshake.on_secured(self.protocol);
                    continue;
                }
                Progress::Refused(_, why) => return Err(why.into()),
            }
            let frame = self.hear().await?;
            progress = handshake.on_frame(self.protocol, frame);
        }
    }
}

/// How endpoints of protocols of one correlation are asked for their topology.
pub trait Ask<P: Protocol> {
    /// What `asked` has replied to the topology's questions.
    async fn replies(
        protocol: &P,
        topology: &dyn Topology<P>,
        asked: &str,
        dial: Dial,
    ) -> Result<Vec<P::Frame>, String>;
}

impl<P: Pipelined> Ask<P> for InOrder {
    async fn replies(
        protocol: &P,
        topology: &dyn Topology<P>,
        asked: &str,
        dial: Dial,
    ) -> Result<Vec<P::Frame>, String> {
        let mut talk = Talk::connect(protocol, dial).await?;
        if topology.greets(asked)
            && let Some(mut handshake) = protocol.greet(0, Purpose::default())
        {
            talk = talk.greet(&mut *handshake).await?;
        }
        let questions = topology.questions(asked);
        let mut replies = Vec::with_capacity(questions.len());
        let count = questions.len();
        talk.say(questions).await?;
        while replies.len() < count {
            replies.push(talk.answer().await?);
        }
        Ok(replies)
    }
}

impl<P: Sessioned> Ask<P> for Session {
    async fn replies(
        protocol: &P,
        topology: &dyn Topology<P>,
        asked: &str,
        dial: Dial,
    ) -> Result<Vec<P::Frame>, String> {
        let talk = Talk::connect(protocol, dial).await?;
        let departure = talk.departure();
        let hail = topology.hail(&departure);
        let goodbye = protocol.goodbye().filter(|_| hail.is_some());
        let mut talk = match hail {
            Some(mut hail) => talk.greet(&mut *hail).await?,
            None => talk.greet(&mut protocol.probe_handshake(departure)).await?,
        };
        let mut replies = Vec::new();
        for question in topology.questions(asked) {
            talk.say([question]).await?;
            let begin = replies.len();
            while replies.len() == begin || !topology.is_answered(&replies[begin..]) {
                replies.push(talk.answer().await?);
            }
        }
        // Whether it hears that is its own matter.
        let _ = talk.say(goodbye).await;
        Ok(replies)
    }
}

/// Learns a topology over connections that are made for it.
pub struct Asker<P: Protocol> {
    protocol: P,
    topology: Box<dyn Topology<P>>,
}

impl<P: Protocol> Asker<P> {
    /// One that has not asked anybody.
    pub fn new(protocol: P, topology: Box<dyn Topology<P>>) -> Self {
        Self { protocol, topology }
    }
}

impl<P: Protocol<Correlation: Ask<P>>> Learner for Asker<P> {
    fn ask<'a>(&'a mut self, asked: &'a str, dial: Dial) -> Asking<'a> {
        Box::pin(async move {
            let topology = &*self.topology;
            let replies = P::Correlation::replies(&self.protocol, topology, asked, dial).await?;
            self.topology.learn(asked, &replies)
        })
    }

    fn unanswered(&mut self, asked: &str) {
        self.topology.unanswered(asked);
    }

    fn conclude(&mut self) -> Option<Result<Shards, String>> {
        self.topology.conclude()
    }

    fn configured_only(&self) -> bool {
        self.topology.configured_only()
    }
}
