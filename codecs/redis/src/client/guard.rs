//! Who a client is and what it may do, where the proxy's configuration names users. The server knows nothing of them: it
//! sees the proxy's own login.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Message, Redis, acl::User, command::Flags};

/// The users that the configuration names, by name. None: clients log in at the server.
pub(crate) type Users = BTreeMap<Box<[u8]>, Arc<User>>;

/// What the server says to a password that is wrong.
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NOAUTH: &str = "NOAUTH Authentication required.";
const HELLO_NOAUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";

/// As whom a client has logged in.
#[derive(Clone, Debug, Default)]
pub(super) enum Identity {
    /// It has not said anything yet.
    #[default]
    New,
    Nobody,
    User(Arc<User>),
}

/// What is to become of a request.
pub(super) enum Verdict {
    /// It may go on; a `HELLO` without the login that it came with.
    Pass(Message),
    /// It is answered by this.
    Answer(Message),
    /// It is refused.
    Refuse(Message),
}

impl Identity {
    /// Who a client is that has not logged in.
    fn of_new(users: &Users) -> Self {
        match users.get(&b"default"[..]) {
            Some(user) if user.is_on() && user.is_nopass() => Self::User(user.clone()),
            _ => Self::Nobody,
        }
    }

    /// Looks at a request: who sends it, and whether that user may.
    pub(super) fn judge(&mut self, users: &Users, request: Message) -> Verdict {
        if matches!(self, Self::New) {
            *self = Self::of_new(users);
        }
        let refuse = |text: &str| Verdict::Refuse(Message::error(text));
        let command = request.command();
        match command.map_or("", |command| command.name) {
            "auth" => {
                let (user, password): (&[u8], _) = match (request.argc(), request.arg(1)) {
                    (2, Some(password)) => (b"default", password),
                    (3, Some(user)) => (user, request.arg(2).unwrap_or_default()),
                    _ => return Verdict::Pass(request),
                };
                return if self.log_in(users, user, password) {
                    Verdict::Answer(Message::simple("OK"))
                } else {
                    refuse(WRONGPASS)
                };
            }
            "hello" => match self.hello(users, &request) {
                Ok(Some(request)) => return Verdict::Pass(request),
                Ok(None) => return Verdict::Pass(request),
                Err(text) => return refuse(text),
            },
            "reset" => {
                *self = Self::New;
                return Verdict::Pass(request);
            }
            _ => {}
        }
        let user = match self {
            Self::User(user) => user,
            Self::New | Self::Nobody => {
                return if command.is_some_and(|command| command.flags.contains(Flags::NO_AUTH)) {
                    Verdict::Pass(request)
                } else {
                    refuse(NOAUTH)
                };
            }
        };
        let Some(command) = command else {
            return if user.is_unrestricted() {
                Verdict::Pass(request)
            } else {
                refuse("NOPERM wiremesh: this user may only call commands that the proxy knows")
            };
        };
        if command.name == "acl|whoami" {
            return Verdict::Answer(Message::bulk(user.name().as_bytes()));
        }
        let checked = user.check(command, request.argc(), |n| request.arg(n));
        match checked {
            Ok(()) => Verdict::Pass(request),
            Err(denied) => refuse(&denied.to_string()),
        }
    }

    /// The login of a `HELLO`; answers the request without it, where it has one.
    fn hello(&mut self, users: &Users, request: &Message) -> Result<Option<Message>, &'static str> {
        let args: Vec<_> = request.args().collect();
        let auth = args.iter().skip(2).position(|arg| arg.eq_ignore_ascii_case(b"auth"));
        let auth = auth.map(|at| at.saturating_add(2));
        if let Some(at) = auth
            && let Some([_, user, password]) = args.get(at..).and_then(|rest| rest.first_chunk())
        {
            if !self.log_in(users, user, password) {
                return Err(WRONGPASS);
            }
            let end = at.saturating_add(3);
            let kept = args.iter().enumerate().filter(|(n, _)| !(at..end).contains(n));
            let mut without = Message::request(kept.map(|(_, arg)| arg));
            without.set_lane(request.lane());
            return Ok(Some(without));
        }
        match self {
            Self::User(_) => Ok(None),
            Self::New | Self::Nobody => Err(HELLO_NOAUTH),
        }
    }

    fn log_in(&mut self, users: &Users, name: &[u8], password: &[u8]) -> bool {
        let Some(user) = users.get(name).filter(|user| user.check_password(password)) else {
            return false;
        };
        *self = Self::User(user.clone());
        true
    }
}

impl super::Client {
    /// Where there are users: lets a request pass that its sender may make; else, what it is answered by.
    pub(super) fn guard(&mut self, redis: &Redis, request: Message) -> Result<Message, Message> {
        let open = self.attached.as_mut().filter(|attached| attached.in_multi());
        let ends = request.command().is_some_and(|command| command.name == "exec");
        let asked = (ends && open.is_some()).then(|| request.clone());
        match self.identity.judge(redis.users(), request) {
            Verdict::Pass(request) => Ok(request),
            Verdict::Answer(reply) => Err(reply),
            Verdict::Refuse(reply) => {
                if let Some(attached) = &mut self.attached {
                    attached.spoil();
                }
                // What was queued must be dropped, and the server is to be told.
                asked.ok_or(reply)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let user = |name: &str, rules| {
            (name.as_bytes().into(), Arc::new(User::parse(name, rules).unwrap()))
        };
        BTreeMap::from([
            user("ann", "on >secret ~app:* +@read +hello"),
            user("root", "on >toor ~* &* +@all"),
        ])
    }

    /// What is said to these, one after the other; what passes, as it passes.
    fn said(lines: &[&str]) -> Vec<String> {
        let mut identity = Identity::default();
        let judge = |line: &&str| {
            let request = Message::request(line.split(' '));
            match identity.judge(&users(), request) {
                Verdict::Pass(request) => {
                    let args = request.args().map(String::from_utf8_lossy);
                    args.collect::<Vec<_>>().join(" ")
                }
                Verdict::Answer(reply) | Verdict::Refuse(reply) => {
                    let text = String::from_utf8_lossy(reply.bytes()).into_owned();
                    text.split([' ', '\r']).next().unwrap().to_owned()
                }
            }
        };
        lines.iter().map(judge).collect()
    }

    #[test]
    fn nobody_does_anything_before_it_says_who_it_is() {
        let got = said(&["GET app:1", "NOSUCH", "HELLO 3", "ACL WHOAMI", "QUIT", "AUTH secret"]);
        assert_eq!(got, ["-NOAUTH", "-NOAUTH", "-NOAUTH", "-NOAUTH", "QUIT", "-WRONGPASS"]);
    }

    #[test]
    fn a_user_does_what_it_may() {
        let got =
            said(&["AUTH ann wrong", "AUTH ann secret", "GET app:1", "GET other", "SET app:1 x"]);
        assert_eq!(got, ["-WRONGPASS", "+OK", "GET app:1", "-NOPERM", "-NOPERM"]);
        let got = said(&["AUTH root toor", "SET other x", "NOSUCH", "AUTH ann secret", "NOSUCH"]);
        assert_eq!(got, ["+OK", "SET other x", "NOSUCH", "+OK", "-NOPERM"]);
    }

    #[test]
    fn the_login_of_a_hello_stays_here() {
        let got = said(&["HELLO 3 AUTH ann secret SETNAME x", "GET app:1", "RESET", "GET app:1"]);
        assert_eq!(got, ["HELLO 3 SETNAME x", "GET app:1", "RESET", "-NOAUTH"]);
        assert_eq!(said(&["HELLO 3 AUTH ann wrong"]), ["-WRONGPASS"]);
    }

    #[test]
    fn who_needs_no_password_is_there_at_once() {
        let mut identity = Identity::default();
        let default = User::parse("default", "on nopass ~* +get").unwrap();
        let users = BTreeMap::from([(b"default"[..].into(), Arc::new(default))]);
        let mut judge = |line: &str| identity.judge(&users, Message::request(line.split(' ')));
        assert!(matches!(judge("GET a"), Verdict::Pass(_)));
        assert!(matches!(judge("SET a 1"), Verdict::Refuse(_)));
    }
}
