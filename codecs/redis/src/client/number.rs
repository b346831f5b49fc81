//! Requests that name another client by its number: the proxy's, which the server does not know.

use wiremesh::correlation::View;

use super::{Client, info::rewrite_integer, is_one_server};
use crate::{Message, Redis, resp::Value};

/// How a client is numbered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// By the proxy.
    ours: u64,
    /// By the server.
    theirs: u64,
}

/// What the server calls no connection.
const NOBODY: u64 = i64::MAX.unsigned_abs();

const SEVERAL: &str =
    "ERR wiremesh: the number is of one server's client, and there are several servers";

impl Client {
    /// Puts the server's number of a client in the place of the proxy's, where there is one. A client that has no
    /// connection of its own is nobody to the server.
    pub(super) fn translate(
        &mut self,
        redis: &Redis,
        view: &View<'_>,
        request: Message,
    ) -> Result<Message, Message> {
        let at = match request.command().map(|command| command.name) {
            Some("client|unblock") => 2,
            Some("client|tracking") => {
                let word = |arg: &[u8]| arg.eq_ignore_ascii_case(b"redirect");
                match request.args().position(word) {
                    Some(word) => word.saturating_add(1),
                    None => return Ok(request),
                }
            }
            _ => return Ok(request),
        };
        let number = request.arg(at).and_then(|arg| std::str::from_utf8(arg).ok()?.parse().ok());
        let Some(ours) = number.filter(|number| *number > 0) else { return Ok(request) };
        if !is_one_server(view) || view.nodes != 1 {
            return Err(Message::error(SEVERAL));
        }
        let theirs = redis.roster().claim(ours, view.cluster).unwrap_or(NOBODY);
        if let Some(attached) = &mut self.attached {
            attached.ask_redirect(Some(Numbers { ours, theirs }));
        } else {
            self.redirect = Some(Numbers { ours, theirs });
        }
        let theirs = theirs.to_string();
        let args = request.args().enumerate();
        let mut sent =
            Message::request(args.map(|(n, arg)| if n == at { theirs.as_bytes() } else { arg }));
        sent.set_lane(request.lane());
        Ok(sent)
    }
}

/// Puts the proxy's number in the place of the server's, in a reply that has it.
pub(super) fn show(reply: &mut Message, numbers: Numbers) {
    let Numbers { ours, theirs } = numbers;
    let to = |number| if number == theirs { ours } else { number };
    if let Value::Integer(number) = reply.value() {
        let number = u64::try_from(number).map_or(number, |it| to(it).try_into().unwrap_or(number));
        *reply = Message::integer(number);
        return;
    }
    for key in ["$8\r\nredirect\r\n:", "$21\r\ntracking-redir-broken\r\n:"] {
        rewrite_integer(reply, key.as_bytes(), to);
    }
}
