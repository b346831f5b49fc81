use std::{borrow::Cow, sync::Arc};

use bytes::{Buf, BytesMut};
use wiremesh::{
    DecodeError, Detection, Failure, HeaderSupport, Lane, Limits, OptionError, Peer, Piece,
    Protocol, Status, Subject, Summary, WriteBuf,
    correlation::{Expect, Handshake, InOrder, Pipelined, Purpose, Step, Target, View},
    topology::{Redirect, Topology, TopologyError, TopologyOptions},
};

use crate::{
    acl::User,
    client::{Client, MOVED, Users},
    command::{COMMANDS, Command, find},
    face::{Face, NOT_LEARNT},
    lane::{Greeting, Lanes, Login},
    learnt::{Inquiry, Learnt},
    message::{Message, method},
    resp::{Reply, Request, RequestScan, Rest, Scan, complaint},
    roster::Roster,
    scripts::Scripts,
    show, spread, status, topology,
};

/// The protocol.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// How the proxy itself logs in at servers.
    own: Option<Login>,
    users: Arc<Users>,
    lanes: Arc<Lanes>,
    face: Face,
    roster: Arc<Roster>,
    learnt: Arc<Learnt>,
    scripts: Arc<Scripts>,
}

impl Redis {
    pub(crate) fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn face(&self) -> &Face {
        &self.face
    }
}

/// What one direction of a connection keeps of a message that is not complete.
#[derive(Debug, Default)]
pub struct Progress {
    request: RequestScan,
    reply: Scan,
    /// Of one that is passed on as it comes.
    rest: Rest,
}

impl Protocol for Redis {
    type Frame = Message;
    type State = Progress;
    /// Its command.
    type Head = Option<&'static Command>;
    type Correlation = InOrder;

    const NAME: &'static str = "redis";
    const HEADERS: HeaderSupport = HeaderSupport::Read;

    /// An array of bulks, or a line whose first word is a command that there is. A request of HTTP is neither: `GET` with
    /// a path is a mismatch.
    fn detect(prefix: &[u8]) -> Detection {
        match prefix {
            [] => Detection::NeedMore(1),
            [b'*'] => Detection::NeedMore(2),
            [b'*', b'0'..=b'9' | b'-', ..] => Detection::Match,
            _ => line(prefix),
        }
    }

    #[inline]
    fn decode(
        &self,
        from: Peer,
        state: &mut Progress,
        limits: &Limits,
        input: &mut BytesMut,
    ) -> Result<Option<Message>, DecodeError> {
        if from == Peer::Upstream {
            let Some(found) = state.reply.run(limits, input)? else { return Ok(None) };
            return Ok(Some(Message::received_reply(input.split_to(found.end), found)));
        }
        loop {
            let Some(found) = state.request.run(limits, input)? else { return Ok(None) };
            match found {
                Request::Empty(len) => input.advance(len),
                Request::Array { end, .. } | Request::Line { end, .. } => {
                    let bytes = input.split_to(end);
                    let request = Message::received_request(bytes, found, &self.learnt);
                    // The commands that there are have been ruled out by one look.
                    if request.command().is_none() && is_http(request.command_name()) {
                        return Err(DecodeError::Malformed { what: HTTP });
                    }
                    return Ok(Some(request));
                }
            }
        }
    }

    /// Replies that are one bulk of [`LONG`](crate::resp::LONG) or more.
    fn begin(&self, from: Peer, state: &mut Progress, input: &mut BytesMut) -> Option<Message> {
        if from == Peer::Client {
            return None;
        }
        let (mut rest, body) = Rest::of_reply(input)?;
        let taken = rest.take(input.get(body..)?).ok()?;
        let end = body.saturating_add(taken);
        *state = Progress { rest, ..Progress::default() };
        Some(Message::received_reply(input.split_to(end), Reply { start: 0, end }))
    }

    fn rest(
        &self,
        _from: Peer,
        state: &mut Progress,
        input: &mut BytesMut,
    ) -> Result<Piece, DecodeError> {
        let taken = state.rest.take(input)?;
        Ok(Piece { bytes: input.split_to(taken), last: state.rest.is_over() })
    }

    #[inline]
    fn encode(&self, frame: Message, out: &mut WriteBuf) {
        frame.encode(out);
    }

    #[inline]
    fn head(&self, request: &Message) -> Self::Head {
        request.command()
    }

    fn method_of<'a>(&self, request: &'a Self::Head) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(method(*request)))
    }

    /// Its keys.
    fn subjects(&self, request: &Message, visit: &mut dyn FnMut(Subject<'_>)) {
        show::subjects(request, visit);
    }

    /// Its arguments, but for those that are secret.
    fn summarize(&self, request: &Message, summary: &mut Summary) {
        show::summarize(request, summary);
    }

    /// An error whose first word clients know: `NOPERM`, `NOAUTH`, `BUSY` where capacity is lacking, else `ERR`. Behind it
    /// stand `wiremesh`, the reason's flag and the message. A failure that is none is a simple string.
    fn reply(&self, _request: &Self::Head, failure: &Failure) -> Option<Message> {
        Some(if failure.status == Status::Ok {
            Message::simple(&failure.message)
        } else {
            Message::error(&status::text(failure))
        })
    }

    /// In the server's own words. HTTP is told nothing.
    fn refuse(&self, error: &DecodeError) -> Option<Message> {
        let http = matches!(error, DecodeError::Malformed { what: HTTP });
        (!http).then(|| Message::error(&format!("ERR {}", complaint(error))))
    }

    #[inline]
    fn lane(&self, request: &Message) -> u32 {
        request.lane()
    }

    /// `PING`, which is a command like any other.
    fn heartbeat(&self, lane: u32) -> Option<Message> {
        let mut ping = Message::request(["PING"]);
        ping.set_lane(lane);
        Some(ping)
    }

    /// `username` and `password`: how the proxy logs in at servers, for clients that don't. `user NAME`: a user whom
    /// clients log in as at the proxy, its rules as `ACL SETUSER` takes them; where there is one, servers see none of
    /// the clients' logins. `face`: `hidden`, clients are shown one server, or `transparent`, a cluster whose only node is
    /// the proxy, at `announce` or else where they have connected to.
    fn set_option(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        if let Some(user) = name.strip_prefix("user ") {
            let user = User::parse(user.trim(), value);
            let user = user.map_err(|error| OptionError::Value(error.to_string().into()))?;
            let name = user.name().as_bytes().into();
            Arc::make_mut(&mut self.users).insert(name, Arc::new(user));
            return Ok(());
        }
        let own = || Login { user: None, password: Box::default() };
        let wrong = |why: &'static str| OptionError::Value(why.into());
        match name {
            "face" => return self.face.set(value).map_err(wrong),
            "announce" => return self.face.announce(value).map_err(wrong),
            "username" => self.own.get_or_insert_with(own).user = Some(value.as_bytes().into()),
            "password" => self.own.get_or_insert_with(own).password = value.as_bytes().into(),
            _ => {
                return Err(OptionError::Unknown(
                    "there are username, password, user NAME, face and announce",
                ));
            }
        }
        Ok(())
    }
}

impl Pipelined for Redis {
    type Client = Client;
    const STATEFUL: bool = true;
    const SUBJECT: &'static str = "key";

    #[inline]
    fn expects(&self, request: &Message) -> Expect {
        request.expect()
    }

    #[inline]
    fn is_last(&self, reply: &Message) -> bool {
        !reply.has_more()
    }

    /// Its keys.
    fn each_subject(&self, request: &Message, visit: &mut dyn FnMut(&Message)) {
        let Some(command) = request.command() else { return };
        if command.has_one_key() && command.takes(request.argc()) {
            return visit(request);
        }
        let args: Vec<_> = request.args().collect();
        let Ok(keys) = command.keys(&args) else { return };
        let Some((_, others)) = keys.split_first() else { return };
        visit(request);
        if others.is_empty() {
            return;
        }
        let mut shown = request.clone();
        for key in others {
            shown.set_focus(*key);
            visit(&shown);
        }
    }

    fn greet(&self, lane: Lane, purpose: Purpose) -> Option<Box<dyn Handshake<Self>>> {
        let setting = self.lanes.setting(lane).unwrap_or_default();
        Some(Box::new(Greeting::new(&setting, self.own.as_ref(), purpose)?))
    }

    /// For its commands, of which those are of interest that this crate does not know.
    fn inquire(&self, cluster: &str) -> Option<Box<dyn Handshake<Self>>> {
        Some(Box::new(Inquiry::new(cluster)))
    }

    /// `cluster`, `replicated` or `sentinel`: see [`topology`](crate::topology).
    fn topology(
        &self,
        kind: &str,
        options: &TopologyOptions,
    ) -> Result<Box<dyn Topology<Self>>, TopologyError> {
        topology::of(kind, options)
    }

    #[inline]
    fn redirect(&self, reply: &Message) -> Option<Redirect<Self>> {
        topology::redirect(reply.error_text()?)
    }

    /// A script, of which the server has not heard, and a client has brought it to another.
    fn lacks(&self, request: &Message, reply: &Message) -> Option<Message> {
        (reply.error_code() == Some(b"NOSCRIPT")).then(|| self.scripts.load(request))?
    }

    fn replan(&self, view: &View<'_>, request: Message, target: Target) -> Step<Self> {
        let version = self.lanes.setting(request.lane()).unwrap_or_default().version;
        spread::replan(view, version, request, target)
    }

    /// Clients do not know, or should not, where servers are: they are told to try again.
    fn unfollowed(&self, reply: &mut Message, learnt: bool) {
        if !matches!(reply.error_code(), Some(b"MOVED" | b"ASK")) {
            return;
        }
        if learnt {
            *reply = Message::error(MOVED);
        } else if self.face.is_transparent() {
            *reply = Message::error(NOT_LEARNT);
        }
    }
}

/// What a web browser can be made to say to a server of Redis. The server closes the connection, which others may share.
fn is_http(word: &[u8]) -> bool {
    [&b"post"[..], b"host:"].iter().any(|http| word.eq_ignore_ascii_case(http))
}

const HTTP: &str = "request: it is one of HTTP";

/// What the beginning of a line says.
fn line(prefix: &[u8]) -> Detection {
    let more = Detection::NeedMore(prefix.len().saturating_add(1));
    let Some(end) = prefix.iter().position(|byte| !byte.is_ascii_alphabetic()) else {
        return if COMMANDS.iter().any(|command| starts(command, prefix)) {
            more
        } else {
            Detection::Mismatch
        };
    };
    let (word, rest) = prefix.split_at_checked(end).unwrap_or((prefix, &[]));
    if find(word, None).is_none() {
        return Detection::Mismatch;
    }
    match rest {
        [b' ', b'/', ..] => Detection::Mismatch,
        [b' ' | b'\r' | b'\n' | b'\t', ..] => match rest.iter().position(|byte| *byte == b'\n') {
            None => more,
            Some(end) => {
                let line = rest.get(..end).unwrap_or_default();
                if line.windows(6).any(|part| part == b" HTTP/") {
                    Detection::Mismatch
                } else {
                    Detection::Match
                }
            }
        },
        _ => Detection::Mismatch,
    }
}

fn starts(command: &Command, prefix: &[u8]) -> bool {
    let start = command.name.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
