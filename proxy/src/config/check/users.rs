use wiremesh::OptionError;

use super::{At, Check};
use crate::config::{
    model::{Listener, User},
    protocol::ProtocolInfo,
};

const ONE_OF: &str = "write one of password, password_file and hash";

impl<'a> Check<'a> {
    pub(super) fn users(&mut self, at: At<'a>, listener: &Listener, protocols: &[ProtocolInfo]) {
        let list = at.field("users");
        self.unique(list, "user", listener.users.iter().map(|user| user.name.as_str()));
        for (i, user) in listener.users.iter().enumerate() {
            let at = list.item(i);
            if !at.mended_below() {
                self.user(at, user);
            }
        }
        if list.mended_below() || at.field("options").mended_below() {
            return;
        }
        for protocol in protocols {
            self.users_of(at, listener, protocol);
        }
    }

    fn user(&mut self, at: At<'a>, user: &User) {
        let given = [
            ("password", user.password.is_some()),
            ("password_file", user.password_file.is_some()),
            ("hash", user.hash.is_some()),
        ];
        let none = || format!("user {:?} has no secret; {ONE_OF}", user.name);
        self.one_of(at, &given, none);
        let Some(upstream) = &user.upstream else {
            if user.hash.is_some() && user.password.is_none() && user.password_file.is_none() {
                let message = "by a hash the proxy knows who logs in, and cannot log in itself; add upstream: { user: ..., password_file: ... }";
                self.tell(at.field("hash"), message);
            }
            return;
        };
        let given = [
            ("password", upstream.password.is_some()),
            ("password_file", upstream.password_file.is_some()),
        ];
        let none = || {
            "upstream has no password; write password, or password_file, or password: \"\" for none"
                .to_owned()
        };
        self.one_of(at.field("upstream"), &given, none);
    }

    /// Tells of fields of which there is to be one, and none or several are.
    fn one_of(&mut self, at: At<'a>, given: &[(&str, bool)], none: impl Fn() -> String) {
        let mut seen: Option<&str> = None;
        for (name, _) in given.iter().filter(|field| field.1) {
            match seen {
                None => seen = Some(name),
                Some(other) => {
                    let message = format!("{other} is here, too; remove one of them");
                    self.tell(at.field(name), message);
                }
            }
        }
        if seen.is_none() {
            self.tell(at, none());
        }
    }

    /// What the protocol says of the users.
    fn users_of(&mut self, at: At<'a>, listener: &Listener, protocol: &ProtocolInfo) {
        let (name, list) = (protocol.name, at.field("users"));
        let options = listener.options.get(name).cloned().unwrap_or_default();
        let users: Vec<_> = listener.users.iter().map(User::unread).collect();
        let known: Vec<_> = users.iter().flatten().cloned().collect();
        match (protocol.check_users)(&options, &known) {
            Ok(()) => {}
            Err(OptionError::Unknown(_)) if listener.users.is_empty() => {}
            Err(OptionError::Unknown(why)) => {
                self.tell(list, format!("{name} takes no users here: {why}"));
            }
            Err(error) if listener.users.is_empty() => {
                self.tell(at, format!("{name} needs users: {error}"));
            }
            Err(error) => {
                let before = self.mistakes.len();
                for (i, user) in users.into_iter().enumerate() {
                    let Some(user) = user else { continue };
                    if let Err(error) = (protocol.check_users)(&options, &[user]) {
                        self.tell(list.item(i), format!("{name}: {error}"));
                    }
                }
                // It is not one of them alone; unless it is what was told.
                if self.mistakes.len() == before && known.len() == listener.users.len() {
                    self.tell(list, format!("{name}: {error}"));
                }
            }
        }
    }
}
