//! One message: a request as a client sends it, or a reply.

use std::borrow::Cow;

use bytes::BytesMut;
use wiremesh::{Frame, HeaderView, Kind, Status, WriteBuf, correlation::Expect};

use crate::{
    command::{Begin, Command, Find, KeyFlags, find_exactly},
    learnt::Learnt,
    resp::{Items, Reply, Request, Shape, Value, Version, items, translate, write},
    status,
};

/// One request or reply.
///
/// Holds the bytes as they came. What is asked of it is read from them each time, but for the [`Command`], which is looked
/// up once.
#[derive(Clone, Debug)]
pub struct Message {
    raw: BytesMut,
    /// The arguments of a request that came as a line.
    array: Option<Box<BytesMut>>,
    command: Option<&'static Command>,
    /// Where the value begins: behind its attributes, or behind empty requests.
    start: u32,
    argc: u32,
    /// The argument that the header `key` is to show, where it is not the first key.
    focus: u32,
    lane: u32,
    expect: Expect,
    role: Role,
    more: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Request,
    Reply,
    Push,
}

/// Requests.
impl Message {
    /// A request of these arguments, the command's name first.
    pub fn request<I>(args: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut argc = 0usize;
        let raw = write::collection(b'*', |out| {
            for arg in args {
                write::bulk(out, arg.as_ref());
                argc = argc.saturating_add(1);
            }
            argc
        });
        Self::array_request(raw, 0, argc, None)
    }

    #[inline]
    fn array_request(raw: BytesMut, start: usize, argc: usize, learnt: Option<&Learnt>) -> Self {
        let mut args = Args::of(raw.get(start..).unwrap_or_default(), argc);
        let command =
            args.next().and_then(|name| match find_exactly(name, || args.clone().next()) {
                Ok(command) => Some(command),
                Err(container) => learnt.and_then(|it| it.find(name, args.next())).or(container),
            });
        let argc = u32::try_from(argc).unwrap_or(u32::MAX);
        Self { command, argc, ..Self::new(raw, start, Role::Request) }
    }

    /// What was found at the front of `raw`, and is all of it.
    #[inline]
    pub(crate) fn received_request(raw: BytesMut, found: Request, learnt: &Learnt) -> Self {
        let learnt = Some(learnt);
        match found {
            Request::Array { start, argc, .. } => Self::array_request(raw, start, argc, learnt),
            Request::Line { mut array, argc, .. } => {
                let mut message = Self::array_request(std::mem::take(&mut *array), 0, argc, learnt);
                *array = std::mem::replace(&mut message.raw, raw);
                message.array = Some(array);
                message
            }
            Request::Empty(_) => Self::array_request(raw, 0, 0, learnt),
        }
    }

    /// How many arguments a request has, the command's name included. 0 for replies.
    #[inline]
    pub fn argc(&self) -> usize {
        self.argc as usize
    }

    /// The arguments of a request, the command's name first.
    #[inline]
    pub fn args(&self) -> Args<'_> {
        let bytes = match &self.array {
            Some(array) => &array[..],
            None => self.bytes(),
        };
        match self.role {
            Role::Request => Args::of(bytes, self.argc()),
            Role::Reply | Role::Push => Args { rest: &[], left: 0 },
        }
    }

    /// The n-th argument; 0 is the command's name. Walks over those before it: use [`args`](Self::args) for many.
    #[inline]
    pub fn arg(&self, n: usize) -> Option<&[u8]> {
        self.args().nth(n)
    }

    /// What is known of the command; of the subcommand, where it has one.
    #[inline]
    pub fn command(&self) -> Option<&'static Command> {
        self.command
    }

    /// The command's name, as the client wrote it.
    pub fn command_name(&self) -> &[u8] {
        self.arg(0).unwrap_or_default()
    }

    /// The arguments, each to be found by its number without walking over the others.
    pub fn indexed(&self) -> Indexed<'_> {
        if self.argc() <= FEW {
            Indexed::Few(self.args())
        } else {
            Indexed::Many(self.args().collect())
        }
    }

    /// The first key; `None` where there is none, or where it cannot be told.
    #[inline]
    pub fn first_key(&self) -> Option<&[u8]> {
        let command = self.command?;
        let spec = command.keys.first()?;
        if let (Begin::Index(at), Find::Range { .. }) = (spec.begin, spec.find)
            && !spec.flags.intersects(KeyFlags::NOT_KEY.or(KeyFlags::INCOMPLETE))
        {
            return self.arg(at);
        }
        let args = self.indexed();
        args.get(command.first_key(self.argc(), |n| args.get(n))?)
    }

    /// Has the header `key` show this argument.
    pub(crate) fn set_focus(&mut self, arg: usize) {
        self.focus = u32::try_from(arg).unwrap_or(0);
    }

    /// The lane that the request belongs to; 0 unless it was [set](Self::set_lane).
    #[inline]
    pub fn lane(&self) -> u32 {
        self.lane
    }

    /// Sets the [lane](Self::lane).
    pub fn set_lane(&mut self, lane: u32) {
        self.lane = lane;
    }

    /// How many replies the request will have; one unless it was [set](Self::set_expect).
    #[inline]
    pub fn expect(&self) -> Expect {
        self.expect
    }

    /// Sets [how many replies](Self::expect) the request will have.
    pub fn set_expect(&mut self, expect: Expect) {
        self.expect = expect;
    }

    /// Whether the request came as a line.
    pub fn is_inline(&self) -> bool {
        self.array.is_some()
    }

    /// Makes an array of bulks of a request that came as a line, and drops empty requests before it.
    pub fn normalize(&mut self) {
        if let Some(array) = self.array.take() {
            self.raw = *array;
        } else {
            let _ = self.raw.split_to((self.start as usize).min(self.raw.len()));
        }
        self.start = 0;
    }
}

/// Replies.
impl Message {
    #[inline]
    fn new(raw: BytesMut, start: usize, role: Role) -> Self {
        Self {
            raw,
            array: None,
            command: None,
            start: u32::try_from(start).unwrap_or(u32::MAX),
            argc: 0,
            focus: 0,
            lane: 0,
            expect: Expect::One,
            role,
            more: false,
        }
    }

    /// What was found at the front of `raw`, and is all of it.
    #[inline]
    pub(crate) fn received_reply(raw: BytesMut, found: Reply) -> Self {
        let role = if raw.get(found.start) == Some(&b'>') { Role::Push } else { Role::Reply };
        Self::new(raw, found.start, role)
    }

    fn built(build: impl FnOnce(&mut BytesMut)) -> Self {
        let mut raw = BytesMut::new();
        build(&mut raw);
        Self::new(raw, 0, Role::Reply)
    }

    /// A simple string; CR and LF become spaces.
    pub fn simple(text: &str) -> Self {
        Self::built(|out| write::simple(out, text.as_bytes()))
    }

    /// An error, its code first; CR and LF become spaces.
    pub fn error(text: &str) -> Self {
        Self::built(|out| write::error(out, text.as_bytes()))
    }

    /// An integer.
    pub fn integer(value: i64) -> Self {
        Self::built(|out| write::integer(out, value))
    }

    /// A bulk string.
    pub fn bulk(bytes: &[u8]) -> Self {
        Self::built(|out| write::bulk(out, bytes))
    }

    /// A text for people: a bulk string in RESP2.
    pub fn verbatim(text: &str, version: Version) -> Self {
        Self::built(|out| write::verbatim(out, text.as_bytes(), version))
    }

    /// No value.
    pub fn null(version: Version) -> Self {
        Self::built(|out| write::null(out, version))
    }

    /// No value where an array was wanted.
    pub fn null_array(version: Version) -> Self {
        Self::built(|out| write::null_array(out, version))
    }

    /// An array of the values of these replies.
    pub fn array(values: impl IntoIterator<Item = Self>) -> Self {
        let raw = write::collection(b'*', |out| {
            let append = |count: usize, value: Self| {
                out.extend_from_slice(&value.raw);
                count.saturating_add(1)
            };
            values.into_iter().fold(0, append)
        });
        Self::new(raw, 0, Role::Reply)
    }

    /// A map of the values of these replies; a flat array in RESP2.
    pub fn map(pairs: impl IntoIterator<Item = (Self, Self)>, version: Version) -> Self {
        let (kind, each) = if version == Version::Resp2 { (b'*', 2) } else { (b'%', 1) };
        let raw = write::collection(kind, |out| {
            let append = |count: usize, (key, value): (Self, Self)| {
                out.extend_from_slice(&key.raw);
                out.extend_from_slice(&value.raw);
                count.saturating_add(each)
            };
            pairs.into_iter().fold(0, append)
        });
        Self::new(raw, 0, Role::Reply)
    }

    /// A reply of these bytes, which must be one whole value.
    pub fn raw(bytes: BytesMut) -> Self {
        let value = crate::resp::value_at(&bytes);
        Self::received_reply(bytes, Reply { start: value, end: 0 })
    }

    /// The bytes of the value itself, attributes or empty requests before it left out.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.raw.get(self.start as usize..).unwrap_or_default()
    }

    /// The value, taken apart. Bytes that are none, as only [`raw`](Self::raw) can bring them in, read as an error.
    pub fn value(&self) -> Value<'_> {
        Value::parse(self.bytes()).unwrap_or(Value::Error(b"ERR not a value"))
    }

    /// The elements of a collection as they stand, keys and values of a map in turn.
    pub fn items(&self) -> Items<'_> {
        items(self.bytes())
    }

    /// Carries a reply into this version of the protocol, from the other one; see [`translate`]. One that is the same in
    /// both stays as it is.
    pub fn translate(&mut self, to: Version, shape: &Shape) {
        let bytes = self.bytes();
        let both = match bytes {
            [b'+' | b'-' | b':', ..] => true,
            [b'$', next, ..] => *next != b'-',
            _ => false,
        };
        if !both || self.start > 0 {
            self.raw = match to {
                Version::Resp2 => translate::to_resp2(bytes, shape),
                Version::Resp3 => translate::to_resp3(bytes),
            };
            self.start = 0;
        }
    }

    /// The shape of the reply that a request will have.
    pub fn reply_shape(&self) -> Shape {
        self.command.map_or(Shape::Plain, |command| Shape::of(command.name, self.argc()))
    }

    /// Whether it is an error.
    #[inline]
    pub fn is_error(&self) -> bool {
        self.role != Role::Request && matches!(self.bytes().first(), Some(b'-' | b'!'))
    }

    /// The text of an error.
    pub fn error_text(&self) -> Option<&[u8]> {
        if !self.is_error() {
            return None;
        }
        match self.value() {
            Value::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The first word of an error.
    pub fn error_code(&self) -> Option<&[u8]> {
        self.error_text().and_then(|text| text.split(|byte| *byte == b' ').next())
    }

    /// Says that nobody has asked for this.
    pub fn set_push(&mut self) {
        self.role = Role::Push;
    }

    /// Says that this answers a request.
    pub fn set_reply(&mut self) {
        self.role = Role::Reply;
    }

    /// Whether further replies to the same request will come; see [`Expect::Stream`].
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Says whether further replies to the same request will come.
    pub fn set_more(&mut self, more: bool) {
        self.more = more;
    }

    #[inline]
    pub(crate) fn encode(self, out: &mut WriteBuf) {
        out.put(self.raw);
    }
}

/// What a request of this command is counted as: its title, `other` where there is no such command.
pub(crate) fn method(command: Option<&'static Command>) -> &'static str {
    command.map_or("other", |command| command.title)
}

impl Frame for Message {
    #[inline]
    fn kind(&self) -> Kind {
        match self.role {
            Role::Request => Kind::Request,
            Role::Reply => Kind::Response,
            Role::Push => Kind::Push,
        }
    }

    #[inline]
    fn wire_len(&self) -> usize {
        self.raw.len()
    }

    #[inline]
    fn status(&self) -> Status {
        match self.error_text() {
            Some(text) if self.role == Role::Reply => status::of(text),
            _ => Status::Ok,
        }
    }

    /// Whether it says that writes are refused while reads are served, or that one slot is not.
    fn is_partial_fault(&self) -> bool {
        self.error_text().is_some_and(status::is_partial)
    }

    #[inline]
    fn error_class(&self) -> Option<&'static str> {
        self.error_code().map(status::class)
    }

    /// The command in upper case, `CONFIG GET` for a subcommand; `other` where there is no such command.
    #[inline]
    fn method(&self) -> Option<Cow<'_, str>> {
        match self.role {
            Role::Request => Some(Cow::Borrowed(method(self.command))),
            Role::Reply | Role::Push => None,
        }
    }
}

/// `key` is the first key, `command` the name of the command in lower case, as [`Command::name`] has it.
impl HeaderView for Message {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "key" if self.focus > 0 => self.arg(self.focus as usize).map(String::from_utf8_lossy),
            "key" => self.first_key().map(String::from_utf8_lossy),
            "command" => self.command.map(|command| Cow::Borrowed(command.name)),
            _ => None,
        }
    }

    fn for_each_header(&self, each: &mut dyn FnMut(&str, &str)) {
        for name in ["key", "command"] {
            if let Some(value) = self.header(name) {
                each(name, &value);
            }
        }
    }
}

/// The arguments of a request, in order.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Args<'a> {
    #[inline]
    fn of(array: &'a [u8], left: usize) -> Self {
        let head = array.iter().position(|byte| *byte == b'\n').unwrap_or(array.len());
        Args { rest: array.get(head.saturating_add(1)..).unwrap_or_default(), left }
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (arg, rest) = crate::resp::bulk_of(self.rest)?;
        self.left = self.left.checked_sub(1)?;
        self.rest = rest;
        Some(arg)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Args<'_> {}

/// So many arguments are found by walking over them.
const FEW: usize = 16;

/// See [`Message::indexed`].
#[derive(Clone, Debug)]
pub enum Indexed<'a> {
    /// To be walked over.
    Few(Args<'a>),
    /// One after the other.
    Many(Vec<&'a [u8]>),
}

impl<'a> Indexed<'a> {
    /// The n-th argument; 0 is the command's name.
    #[inline]
    pub fn get(&self, n: usize) -> Option<&'a [u8]> {
        match self {
            Self::Few(args) => args.clone().nth(n),
            Self::Many(args) => args.get(n).copied(),
        }
    }
}
