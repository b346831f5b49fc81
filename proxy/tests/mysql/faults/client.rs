//! A client that says what it is told to, and may be killed anywhere in it.

use bytes::BytesMut;
use tokio::net::TcpStream;
use wiremesh_mysql::{
    Capabilities, Command,
    reply::{Shape, Tracker},
    wire::put_packet,
};
use wiremesh_proxy::server::Handle;

use crate::{
    common::address,
    peers::{LOST, Talk, login},
};

/// What a client does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// It logs in as this user.
    LogIn(&'static str),
    Query(&'static str),
    Command(Command, &'static str),
    /// The statement that was prepared last: executed with these flags.
    Execute(u8),
    /// So many rows of its cursor.
    Fetch(u8),
    /// So much of its first parameter.
    Long(usize),
    ResetStatement,
    Close,
    /// A statement that asks for a file, which is sent in pieces of these lengths.
    File(&'static str, &'static [usize]),
    /// `COM_CHANGE_USER`, to the same.
    ChangeUser,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All was answered: these packets.
    Answered(Vec<Vec<u8>>),
    /// In place of a packet, the first of the reply or a later one, came this error.
    Error(u16, String),
    /// The connection was closed.
    Closed,
    /// The client was killed.
    Killed,
}

/// A client of the proxy.
pub struct Client {
    talk: Talk,
    caps: u64,
    /// So many more bytes are sent or received before it is killed.
    left: Option<usize>,
    /// The lengths of what was sent and received since it was counted.
    pub lengths: Vec<usize>,
    statement: u32,
    parameters: u16,
}

/// What is no right answer has to be an error.
fn error_in(step: &Step, packet: &[u8], after: &[Vec<u8>]) -> End {
    assert_eq!(packet[0], 0xff, "{step:?}: {packet:?} after {after:?}");
    let text = String::from_utf8_lossy(&packet[3..]).into_owned();
    End::Error(u16::from_le_bytes([packet[1], packet[2]]), text)
}

const CAPS: u64 = Capabilities::PROTOCOL_41.0
    | Capabilities::SECURE_CONNECTION.0
    | Capabilities::PLUGIN_AUTH.0
    | Capabilities::MULTI_RESULTS.0
    | Capabilities::PS_MULTI_RESULTS.0
    | Capabilities::LOCAL_FILES.0;

impl Client {
    /// Logs in, with or without `DEPRECATE_EOF`.
    pub async fn connect(proxy: &Handle, eof: bool) -> Self {
        let caps = if eof { CAPS } else { CAPS | Capabilities::DEPRECATE_EOF.0 };
        let talk = Talk::logged_in(address(proxy), caps).await;
        Self { talk, caps, left: None, lengths: Vec::new(), statement: 0, parameters: 0 }
    }

    /// Connects, and has said nothing yet.
    pub async fn open(proxy: &Handle, eof: bool) -> Self {
        let caps = if eof { CAPS } else { CAPS | Capabilities::DEPRECATE_EOF.0 };
        let stream = TcpStream::connect(address(proxy)).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let talk = Talk::new(stream);
        Self { talk, caps, left: None, lengths: Vec::new(), statement: 0, parameters: 0 }
    }

    /// Nothing more comes, and the connection is closed.
    pub async fn closed(&mut self) -> bool {
        self.receive().await.is_none()
    }

    /// From now on lengths are counted.
    pub fn count(&mut self) {
        self.lengths.clear();
    }

    /// After so many more bytes it does nothing any more.
    pub fn kill_after(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }

    /// Does a step. What `right` has are the packets that have to come; without, whatever is a reply.
    pub async fn step(&mut self, step: &Step, right: Option<&[Vec<u8>]>) -> End {
        if let Step::LogIn(user) = step {
            return self.log_in(step, user, right).await;
        }
        let (command, body) = self.packet(step);
        let shape = Shape::of(Some(command));
        let Some(seq) = self.send(0, &[&[command as u8], &body[..]].concat()).await else {
            return self.ended();
        };
        if shape == Shape::None {
            return End::Answered(Vec::new());
        }
        let end = self.hear(step, shape, seq, Vec::new(), right).await;
        if let (Command::StmtPrepare, End::Answered(answer)) = (command, &end)
            && let Some(head) = answer.first().filter(|head| head[0] == 0)
        {
            self.statement = u32::from_le_bytes(head[1..5].try_into().expect("an id"));
            self.parameters = u16::from_le_bytes([head[7], head[8]]);
        }
        end
    }

    async fn log_in(&mut self, step: &Step, user: &str, right: Option<&[Vec<u8>]>) -> End {
        let Some((0, greeting)) = self.receive().await else { return self.ended() };
        if greeting[0] == 0xff || right.is_some_and(|right| right[0] != greeting) {
            return error_in(step, &greeting, &[]);
        }
        let mut login = login(self.caps);
        // Of those before, the user's name is the last.
        login.splice(32..36, user.bytes().chain([0]));
        let Some(seq) = self.send(1, &login).await else { return self.ended() };
        self.hear(step, Shape::Login, seq, vec![greeting], right).await
    }

    /// The rest of an answer, whose next packet has this number.
    async fn hear(
        &mut self,
        step: &Step,
        shape: Shape,
        mut seq: u8,
        mut answer: Vec<Vec<u8>>,
        right: Option<&[Vec<u8>]>,
    ) -> End {
        let mut tracker = Tracker::new(Capabilities(self.caps));
        tracker.begin(shape, Some(seq));
        while right.map_or_else(|| !tracker.is_done(), |right| answer.len() < right.len()) {
            let Some((came, packet)) = self.receive().await else { return self.ended() };
            assert_eq!(came, seq, "{step:?}: {packet:?}");
            seq = seq.wrapping_add(1);
            // What is said in a login is random.
            let random = tracker.is_login() && packet[0] == 0xfe;
            if right.is_some_and(|right| right[answer.len()] != packet) && !random {
                return error_in(step, &packet, &answer);
            }
            let mut bytes = BytesMut::new();
            put_packet(&mut bytes, came, &packet);
            assert_eq!(tracker.feed(&bytes), Ok(bytes.len()), "{step:?}: {packet:?}");
            answer.push(packet);
            let said = answer.last().filter(|_| tracker.is_login());
            if let Some(answer) = said.and_then(|said| match said[0] {
                // No password is an empty answer to any salt.
                0xfe => Some(&b""[..]),
                // The server's key is asked for, and then the password sent.
                1 if said.len() == 2 => Some(b"\x02"),
                1 => Some(b"in secret"),
                _ => None,
            }) {
                match self.send(seq, answer).await {
                    Some(next) => seq = next,
                    None => return self.ended(),
                }
                tracker.expect(Some(seq));
            }
            if tracker.wants_file()
                && let Step::File(_, pieces) = step
            {
                for piece in pieces.iter().chain([&0]) {
                    match self.send(seq, &vec![b'f'; *piece]).await {
                        Some(next) => seq = next,
                        None => return self.ended(),
                    }
                }
                tracker.expect(Some(seq));
            }
        }
        assert!(tracker.is_done(), "{step:?}: {answer:?}");
        End::Answered(answer)
    }

    /// One row of one column, or the number of the error; `None`: the connection was closed.
    pub async fn ask(&mut self, text: &'static str) -> Option<Result<String, u16>> {
        let packets = match self.step(&Step::Query(text), None).await {
            End::Answered(packets) => packets,
            End::Closed => return None,
            end => panic!("{text}: {end:?}"),
        };
        if packets[0][0] == 0xff {
            return Some(Err(u16::from_le_bytes([packets[0][1], packets[0][2]])));
        }
        let row = packets.len() - 2;
        Some(Ok(String::from_utf8_lossy(&packets[row][1..]).into_owned()))
    }

    fn packet(&self, step: &Step) -> (Command, Vec<u8>) {
        let id = self.statement.to_le_bytes();
        match step {
            Step::LogIn(_) => panic!("it is no command"),
            Step::Query(text) | Step::File(text, _) => (Command::Query, text.as_bytes().to_vec()),
            Step::Command(command, text) => (*command, text.as_bytes().to_vec()),
            Step::Execute(flags) => {
                let mut body = [&id[..], &[*flags, 1, 0, 0, 0]].concat();
                if self.parameters > 0 {
                    let count = usize::from(self.parameters);
                    body.extend([0, 1]);
                    body.extend([0xfd, 0].repeat(count));
                    body.extend(b"\x05value".repeat(count));
                }
                (Command::StmtExecute, body)
            }
            Step::Fetch(rows) => (Command::StmtFetch, [&id[..], &[*rows, 0, 0, 0]].concat()),
            Step::Long(len) => {
                let body = [&id[..], &[0, 0], &vec![b'v'; *len]].concat();
                (Command::StmtSendLongData, body)
            }
            Step::ResetStatement => (Command::StmtReset, id.to_vec()),
            Step::Close => (Command::StmtClose, id.to_vec()),
            Step::ChangeUser => {
                let body = b"joe\0\0\0\x2d\0mysql_native_password\0";
                (Command::ChangeUser, body.to_vec())
            }
        }
    }

    /// Sends a packet, or as much of it as it may; answers the next number.
    async fn send(&mut self, seq: u8, body: &[u8]) -> Option<u8> {
        let mut packet = BytesMut::new();
        let next = put_packet(&mut packet, seq, body);
        let len = self.may(packet.len());
        self.talk.write(&packet[..len]).await?;
        (self.left != Some(0)).then_some(next)
    }

    async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        if self.left == Some(0) {
            return None;
        }
        let (seq, packet) =
            tokio::time::timeout(LOST, self.talk.receive()).await.expect("nothing is answered")?;
        self.may(packet.len() + 4);
        Some((seq, packet))
    }

    /// How much of so many bytes it lives for.
    fn may(&mut self, len: usize) -> usize {
        self.lengths.push(len);
        let Some(left) = &mut self.left else { return len };
        let may = len.min(*left);
        *left -= may;
        may
    }

    fn ended(&self) -> End {
        if self.left == Some(0) { End::Killed } else { End::Closed }
    }
}
