//! What is asked of a server about its commands.

use wiremesh::correlation::{Handshake, Progress};

use super::reply::definitions;
use crate::{Message, Redis};

/// Asks a server for its commands; not again as long as it has as many, and the same modules.
#[derive(Debug)]
pub(crate) struct Inquiry {
    cluster: String,
    /// The answers so far, `None` before the first.
    state: Vec<u8>,
    /// What was asked last.
    asked: Question,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Count,
    Modules,
    Commands,
}

/// No longer is the answer of which it is remembered that it was given.
const STATE_MAX: usize = 64 << 10;

const SILENT: &str = "the server does not tell what commands it has";

impl Inquiry {
    /// Of a server of this cluster.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), state: Vec::new(), asked: Question::Count }
    }

    fn ask(&mut self, question: Question) -> Progress<Redis> {
        self.asked = question;
        Progress::Continue(Some(match question {
            Question::Count => Message::request(["COMMAND", "COUNT"]),
            Question::Modules => Message::request(["MODULE", "LIST"]),
            Question::Commands => Message::request(["COMMAND"]),
        }))
    }
}

impl Handshake<Redis> for Inquiry {
    fn start(&mut self, _protocol: &Redis) -> Progress<Redis> {
        self.ask(Question::Count)
    }

    fn on_frame(&mut self, protocol: &Redis, frame: Message) -> Progress<Redis> {
        // The proxy's user may not be permitted to list modules.
        if frame.is_error() && self.asked != Question::Modules {
            return Progress::Refused(None, SILENT);
        }
        let bytes = frame.bytes();
        match self.asked {
            Question::Count => {
                self.state.extend_from_slice(bytes.get(..STATE_MAX).unwrap_or(bytes));
                self.ask(Question::Modules)
            }
            Question::Modules => {
                self.state.extend_from_slice(bytes.get(..STATE_MAX).unwrap_or(bytes));
                if protocol.learnt().is_known(&self.cluster, &self.state) {
                    return Progress::Done(None);
                }
                self.ask(Question::Commands)
            }
            Question::Commands => {
                let state = std::mem::take(&mut self.state);
                protocol.learnt().learn(&self.cluster, state, definitions(&frame));
                Progress::Done(None)
            }
        }
    }
}
