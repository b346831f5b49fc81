//! What the control thread asks endpoints of session protocols: whether they are well, and who serves what.

use wiremesh::{
    Frame, Status,
    correlation::Sessioned,
    topology::{Shards, Topology},
};

use crate::{
    cluster::discover::{Asking, Learner},
    net::Dial,
    talk::Talk,
};

/// Connects and speaks the handshake; says what went wrong, if anything did.
pub async fn probe<P: Sessioned>(protocol: P, dial: Dial) -> Result<(), String> {
    let talk = Talk::connect(&protocol, dial).await?;
    let mut handshake = protocol.probe_handshake(talk.departure());
    let mut talk = talk.greet(&mut handshake).await?;
    let Some(question) = protocol.probe_question() else { return Ok(()) };
    talk.say([question]).await?;
    let answer = talk.answer().await?;
    // Whether it hears that is its own matter.
    let _ = talk.say(protocol.goodbye()).await;
    match answer.status() {
        Status::Ok => Ok(()),
        _ => Err(answer.error_class().unwrap_or("it answered by an error").into()),
    }
}

/// Learns a topology over connections that are made for it.
pub struct SessionAsker<P: Sessioned> {
    protocol: P,
    topology: Box<dyn Topology<P>>,
}

impl<P: Sessioned> SessionAsker<P> {
    /// One that has not asked anybody.
    pub fn new(protocol: P, topology: Box<dyn Topology<P>>) -> Self {
        Self { protocol, topology }
    }

    async fn replies(&self, asked: &str, dial: Dial) -> Result<Vec<P::Frame>, String> {
        let talk = Talk::connect(&self.protocol, dial).await?;
        let departure = talk.departure();
        let hail = self.topology.hail(&departure);
        let goodbye = self.protocol.goodbye().filter(|_| hail.is_some());
        let mut talk = match hail {
            Some(mut hail) => talk.greet(&mut *hail).await?,
            None => talk.greet(&mut self.protocol.probe_handshake(departure)).await?,
        };
        let mut replies = Vec::new();
        for question in self.topology.questions(asked) {
            talk.say([question]).await?;
            let begin = replies.len();
            while replies.len() == begin || !self.topology.is_answered(&replies[begin..]) {
                replies.push(talk.answer().await?);
            }
        }
        // Whether it hears that is its own matter.
        let _ = talk.say(goodbye).await;
        Ok(replies)
    }
}

impl<P: Sessioned> Learner for SessionAsker<P> {
    fn ask<'a>(&'a mut self, asked: &'a str, dial: Dial) -> Asking<'a> {
        Box::pin(async move {
            let replies = self.replies(asked, dial).await?;
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
