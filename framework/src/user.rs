//! Who may log in at a listener, as the configuration has it, for protocols whose clients the proxy authenticates itself.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use zeroize::Zeroizing;

/// Somebody who may log in at a listener. A protocol makes accounts of its own of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name; unique among those of a listener, never empty.
    pub name: String,
    /// What proves who it is.
    pub secret: UserSecret,
    /// The way to prove it, by the protocol's name for it; `None`: by the secret's form, or else the protocol's usual.
    pub plugin: Option<String>,
    /// As whom the proxy logs in at an upstream for this user.
    pub upstream: Credentials,
}

/// What is known of a user's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSecret {
    /// The password; empty where the user has none.
    Known(Password),
    /// What a server keeps of it, in the form in which it shows that.
    Hash(Password),
}

/// By which the proxy logs in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password; empty where there is none.
    pub password: Password,
}

/// A password, or what is as good as one. Never shown, and gone from memory when dropped.
#[derive(Clone, Default, Eq)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Keeps these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Takes a time that does not tell where two of one length differ.
impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        let differ = self.0.iter().zip(other.0.iter()).fold(0, |differ, (a, b)| differ | a ^ b);
        self.0.len() == other.0.len() && differ == 0
    }
}

impl Hash for Password {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let upstream = Credentials { user: "app".into(), password: Password::new("upstream-pw") };
        let user = |secret| User {
            name: "alice".into(),
            secret,
            plugin: Some("ed25519".into()),
            upstream: upstream.clone(),
        };
        let known = user(UserSecret::Known(Password::new("listener-pw")));
        let hash = user(UserSecret::Hash(Password::new("*1374ED")));
        for shown in [format!("{known:?}"), format!("{hash:#?}")] {
            assert!(shown.contains("alice") && shown.contains("app"), "{shown}");
            assert!(!shown.contains("pw") && !shown.contains("1374"), "{shown}");
        }
        assert!(Password::new("").is_empty() && !upstream.password.is_empty());
        assert_eq!(upstream.password.bytes(), b"upstream-pw");
        let same = |password| upstream.password == Password::new(password);
        assert!(same("upstream-pw") && !same("upstream-pW") && !same("upstream-p") && !same(""));
    }
}
