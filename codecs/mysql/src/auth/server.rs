//! The server's side of every plugin that an account of ours may have.

use std::sync::Arc;

use wiremesh::Password;

use super::client::{ASK_KEY, FAST_OK, FULL};
use super::{Channel, NativeKey, Plugin, PrivateKey, SALT, Verifier};

/// One exchange of a plugin, as a server.
#[derive(Debug)]
pub struct ServerAuth {
    verifier: Verifier,
    salt: Vec<u8>,
    channel: Channel,
    key: Option<Arc<PrivateKey>>,
    awaits: Awaits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The answer to the salt.
    First,
    /// The password, or that our key is asked for.
    Password,
    /// The password, by that key.
    Cipher,
}

/// What a client's answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send this as more data, and wait for the client.
    More(Vec<u8>),
    /// It is who it says. Send the data, if any, as more data, before the OK.
    Accepted(Option<Vec<u8>>, Learnt),
    /// It is not.
    Denied,
}

/// What a login told that can be used to log in elsewhere, or to check the next login faster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Nothing.
    Nothing,
    /// Enough to answer other salts of `mysql_native_password`.
    NativeKey(NativeKey),
    /// The password.
    Password(Password),
}

impl ServerAuth {
    /// Begins: `salt` is what the client was sent. Without an RSA key, the full leg of `caching_sha2_password` is only for
    /// private channels.
    pub fn new(
        verifier: Verifier,
        salt: &[u8],
        channel: Channel,
        key: Option<Arc<PrivateKey>>,
    ) -> Self {
        Self { verifier, salt: salt.to_vec(), channel, key, awaits: Awaits::First }
    }

    /// The plugin.
    pub fn plugin(&self) -> Plugin {
        self.verifier.plugin()
    }

    /// What this answer of the client's comes to.
    pub fn on_answer(&mut self, answer: &[u8]) -> Verdict {
        match self.awaits {
            Awaits::First => self.first(answer),
            Awaits::Password => self.password(answer),
            Awaits::Cipher => self.cipher(answer),
        }
    }

    fn first(&mut self, answer: &[u8]) -> Verdict {
        let plugin = self.plugin();
        // Clients without a password say nothing, or a NUL.
        let empty = matches!(answer, [] | [0]);
        match &self.verifier {
            Verifier::Empty(_) if empty => Verdict::Accepted(None, Learnt::Nothing),
            Verifier::Empty(Plugin::ClientEd25519)
                if super::Ed25519Key::of(&[]).check(&self.salt, answer) =>
            {
                Verdict::Accepted(None, Learnt::Nothing)
            }
            Verifier::Empty(_) => Verdict::Denied,
            _ if empty => Verdict::Denied,
            Verifier::Native(hash) => match hash.check(&self.salt, answer) {
                Some(key) => Verdict::Accepted(None, Learnt::NativeKey(key)),
                None => Verdict::Denied,
            },
            Verifier::Ed25519(key) if key.check(&self.salt, answer) => {
                Verdict::Accepted(None, Learnt::Nothing)
            }
            Verifier::Sha2(digest) | Verifier::Sha2Stored(_, Some(digest))
                if digest.check(&self.salt, answer) =>
            {
                Verdict::Accepted(Some(vec![FAST_OK]), Learnt::Nothing)
            }
            _ if plugin == Plugin::CachingSha2 => {
                self.awaits = Awaits::Password;
                Verdict::More(vec![FULL])
            }
            _ => Verdict::Denied,
        }
    }

    fn password(&mut self, answer: &[u8]) -> Verdict {
        match (self.channel, &self.key, answer) {
            (Channel::Private, _, _) => match answer.strip_suffix(&[0]) {
                Some(password) => self.check(password),
                None => Verdict::Denied,
            },
            (Channel::Open, Some(key), [ASK_KEY]) => {
                self.awaits = Awaits::Cipher;
                Verdict::More(key.public_pem().to_vec())
            }
            (Channel::Open, Some(_), _) => self.cipher(answer),
            (Channel::Open, None, _) => Verdict::Denied,
        }
    }

    fn cipher(&mut self, cipher: &[u8]) -> Verdict {
        let password = self.key.as_ref().and_then(|key| key.decrypt(cipher, &self.salt));
        match password {
            Some(password) => self.check(password.bytes()),
            // The time tells no one whether it was the key or the password.
            None => {
                Verifier::Nobody(Plugin::CachingSha2).check_password(&[0; SALT]);
                Verdict::Denied
            }
        }
    }

    fn check(&self, password: &[u8]) -> Verdict {
        if !password.is_empty() && self.verifier.check_password(password) {
            return Verdict::Accepted(None, Learnt::Password(Password::new(password)));
        }
        Verdict::Denied
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::rsa::tests::key;
    use crate::auth::{AuthError, ClientAuth, FastDigest, KeySource, PublicKey, ShaCrypt};

    const PLAIN: &[u8; SALT] = b"01234567890123456789";
    const LONG: &[u8; 32] = b"01234567890123456789012345678901";

    /// One login, both sides. What the server made of it, and how many times the client spoke.
    struct Login {
        verifier: Verifier,
        channel: Channel,
        key: Option<Arc<PrivateKey>>,
        keys: KeySource,
    }

    impl Login {
        fn new(verifier: Verifier, channel: Channel) -> Self {
            Self { verifier, channel, key: None, keys: KeySource::None }
        }

        fn run(&self, password: &str) -> Result<(Verdict, usize), AuthError> {
            let plugin = self.verifier.plugin();
            let salt = if plugin == Plugin::ClientEd25519 { &LONG[..] } else { PLAIN };
            let password = Password::new(password);
            let mut server =
                ServerAuth::new(self.verifier.clone(), salt, self.channel, self.key.clone());
            let (mut client, mut answer) =
                ClientAuth::start(plugin, &password, salt, self.channel, &self.keys)?;
            for spoken in 1.. {
                let more = match server.on_answer(&answer) {
                    Verdict::More(more) => more,
                    Verdict::Accepted(Some(more), learnt) => {
                        assert_eq!(client.on_more(&more), Ok(None));
                        return Ok((Verdict::Accepted(Some(more), learnt), spoken));
                    }
                    end => return Ok((end, spoken)),
                };
                answer = client.on_more(&more)?.expect("a server that asks is answered");
            }
            unreachable!()
        }
    }

    fn learnt(password: &str) -> Verdict {
        Verdict::Accepted(None, Learnt::Password(Password::new(password)))
    }

    #[test]
    fn one_answer_is_enough_for_most() {
        for plugin in [Plugin::NativePassword, Plugin::CachingSha2, Plugin::ClientEd25519] {
            let verifier = Verifier::of(plugin, b"secret").expect("it keeps something");
            assert_eq!(verifier.plugin(), plugin);
            assert!(verifier.check_password(b"secret") && !verifier.check_password(b"Secret"));
            let login = Login::new(verifier, Channel::Private);
            let (verdict, spoken) = login.run("secret").expect("it is known");
            let say = (plugin == Plugin::CachingSha2).then(|| vec![FAST_OK]);
            let learnt = match plugin {
                Plugin::NativePassword => Learnt::NativeKey(NativeKey::of(b"secret")),
                _ => Learnt::Nothing,
            };
            assert_eq!((verdict, spoken), (Verdict::Accepted(say, learnt), 1));
            for wrong in ["Secret", "secret ", ""] {
                assert_eq!(login.run(wrong).map(|end| end.0), Ok(Verdict::Denied), "{wrong:?}");
            }
        }
    }

    #[test]
    fn accounts_without_a_password() {
        for plugin in [Plugin::NativePassword, Plugin::CachingSha2, Plugin::ClientEd25519] {
            let verifier = Verifier::of(plugin, b"").expect("there is nothing to keep");
            assert_eq!(Verifier::parse(plugin, b""), Ok(verifier.clone()));
            let login = Login::new(verifier, Channel::Open);
            assert_eq!(login.run(""), Ok((Verdict::Accepted(None, Learnt::Nothing), 1)));
            assert_eq!(login.run("secret").map(|end| end.0), Ok(Verdict::Denied));
        }
    }

    fn stored() -> Verifier {
        Verifier::Sha2Stored(ShaCrypt::of(b"secret", *PLAIN).expect("it is short"), None)
    }

    #[test]
    fn the_full_leg_over_a_private_channel() {
        let login = Login::new(stored(), Channel::Private);
        assert_eq!(login.run("secret"), Ok((learnt("secret"), 2)));
        assert_eq!(login.run("Secret"), Ok((Verdict::Denied, 2)));
        assert_eq!(login.run(""), Ok((Verdict::Denied, 1)), "an empty one is not asked for again");
    }

    #[test]
    fn the_full_leg_over_an_open_channel() {
        let key = Arc::new(key());
        let known = PublicKey::from_pem(key.public_pem()).expect("it is ours");
        let mut login = Login { key: Some(key), ..Login::new(stored(), Channel::Open) };
        assert_eq!(login.run("secret"), Err(AuthError::NeedsKey(Plugin::CachingSha2)));
        login.keys = KeySource::Asked;
        assert_eq!(login.run("secret"), Ok((learnt("secret"), 3)));
        assert_eq!(login.run("Secret"), Ok((Verdict::Denied, 3)));
        login.keys = KeySource::Known(Arc::new(known));
        assert_eq!(login.run("secret"), Ok((learnt("secret"), 2)));
        login.key = None;
        assert_eq!(login.run("secret"), Ok((Verdict::Denied, 2)), "it cannot be decrypted");
    }

    #[test]
    fn what_was_learnt_makes_the_next_login_fast() {
        let Verifier::Sha2Stored(hash, _) = stored() else { unreachable!() };
        let digest = FastDigest::of(b"secret");
        let login = Login::new(Verifier::Sha2Stored(hash, Some(digest)), Channel::Private);
        let fast = Verdict::Accepted(Some(vec![FAST_OK]), Learnt::Nothing);
        assert_eq!(login.run("secret"), Ok((fast, 1)));
        assert_eq!(login.run("Secret"), Ok((Verdict::Denied, 2)));
    }

    #[test]
    fn nobody_gets_in_and_does_not_see_why() {
        for (plugin, spoken) in
            [(Plugin::NativePassword, 1), (Plugin::CachingSha2, 2), (Plugin::ClientEd25519, 1)]
        {
            let login = Login::new(Verifier::Nobody(plugin), Channel::Private);
            assert_eq!(login.run("secret"), Ok((Verdict::Denied, spoken)));
        }
    }

    #[test]
    fn decoys_are_as_what_they_stand_for_and_let_nobody_in() {
        let Verifier::Sha2Stored(hash, _) = stored() else { unreachable!() };
        let learnt = Verifier::Sha2Stored(hash, Some(FastDigest::of(b"secret")));
        let of = |plugin| Verifier::of(plugin, b"secret").expect("it keeps something");
        let all = [
            of(Plugin::NativePassword),
            of(Plugin::CachingSha2),
            of(Plugin::ClientEd25519),
            stored(),
            learnt,
        ];
        for verifier in all {
            let decoy = verifier.decoy(b"unknown");
            assert_eq!(decoy.plugin(), verifier.plugin());
            assert_ne!(decoy, verifier);
            let decoy = Login::new(decoy, Channel::Private);
            let real = Login::new(verifier, Channel::Private);
            for wrong in ["Secret", ""] {
                assert_eq!(decoy.run(wrong), real.run(wrong), "{wrong:?}");
            }
            assert_eq!(decoy.run("secret").map(|end| end.0), Ok(Verdict::Denied));
        }
        let empty = Verifier::Empty(Plugin::NativePassword).decoy(b"unknown");
        let login = Login::new(empty, Channel::Open);
        assert_eq!(login.run("").map(|end| end.0), Ok(Verdict::Denied));
    }

    #[test]
    fn rubbish_is_denied() {
        let key = Arc::new(key());
        for channel in [Channel::Open, Channel::Private] {
            for answer in [&b""[..], b"\x02", b"secret", &[7; 256], &[7; 5000]] {
                let mut server = ServerAuth::new(stored(), PLAIN, channel, Some(Arc::clone(&key)));
                assert_eq!(server.on_answer(&[7; 32]), Verdict::More(vec![FULL]));
                match (channel, answer) {
                    (Channel::Open, [ASK_KEY]) => {
                        assert_eq!(
                            server.on_answer(answer),
                            Verdict::More(key.public_pem().to_vec())
                        );
                    }
                    _ => assert_eq!(server.on_answer(answer), Verdict::Denied),
                }
            }
        }
    }

    #[test]
    fn a_password_does_not_cross_an_open_channel() {
        let (password, keys) = (Password::new("secret"), KeySource::None);
        let start = |plugin, channel| ClientAuth::start(plugin, &password, PLAIN, channel, &keys);
        let error = start(Plugin::ClearPassword, Channel::Open).map(|begun| begun.1);
        assert_eq!(error, Err(AuthError::NeedsPrivacy(Plugin::ClearPassword)));
        let error = start(Plugin::Sha256, Channel::Open).map(|begun| begun.1);
        assert_eq!(error, Err(AuthError::NeedsKey(Plugin::Sha256)));
        for plugin in [Plugin::ClearPassword, Plugin::Sha256] {
            let (mut client, answer) = start(plugin, Channel::Private).expect("nobody listens");
            assert_eq!(answer, b"secret\0");
            assert_eq!(client.on_more(&[FULL]), Err(AuthError::Unexpected(plugin)));
        }
        let short =
            ClientAuth::start(Plugin::CachingSha2, &password, b"short", Channel::Open, &keys);
        let salt = AuthError::Salt { plugin: Plugin::CachingSha2, wanted: 20, seen: 5 };
        assert_eq!(short.map(|begun| begun.1), Err(salt));
    }
}
