//! The users of listeners, with what is in the files that they name.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use wiremesh::{Credentials, Password, User, UserSecret};

use super::{
    model::{self, Config, Listener},
    secret::Secret,
};

/// The longest file with a password, in bytes.
const MAX_FILE: u64 = 4096;

/// What is wrong with the files that users name, in words that say where.
pub fn check_users(config: &Config) -> Vec<String> {
    let of = |listener: &Listener| {
        let errors = listener.users.iter().filter_map(|user| user.load().err());
        let errors = errors.map(|error| format!("listener {}: {error:#}", listener.name));
        errors.collect::<Vec<_>>()
    };
    config.listeners.iter().flat_map(of).collect()
}

impl Listener {
    /// Its users, as protocols take them. Reads the files that they name.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn load_users(&self) -> anyhow::Result<Vec<User>> {
        self.users.iter().map(model::User::load).collect()
    }
}

impl model::User {
    /// Reads its files.
    fn load(&self) -> anyhow::Result<User> {
        self.made(&read).with_context(|| format!("user {:?}", self.name))
    }

    /// What a protocol can be asked about before any file was read: passwords in files are taken to be short ones.
    pub(in crate::config) fn unread(&self) -> Option<User> {
        self.made(&|_, _| Ok(Password::new("unread"))).ok()
    }

    fn made(&self, read: &dyn Fn(&str, &Path) -> anyhow::Result<Password>) -> anyhow::Result<User> {
        let password = |field, text: &Option<Secret>, file: &Option<PathBuf>| match (text, file) {
            (Some(text), _) => Ok(Some(text.password())),
            (None, Some(file)) => read(field, file).map(Some),
            (None, None) => Ok(None),
        };
        let known = password("password_file", &self.password, &self.password_file)?;
        let secret = match (&known, &self.hash) {
            (Some(known), _) => UserSecret::Known(known.clone()),
            (None, Some(hash)) => UserSecret::Hash(hash.password()),
            (None, None) => bail!("it has no password and no hash"),
        };
        let upstream = match (&self.upstream, known) {
            (Some(at), _) => {
                let field = "upstream.password_file";
                let password = password(field, &at.password, &at.password_file)?;
                let password = password.context("upstream has no password")?;
                Credentials { user: at.user.clone(), password }
            }
            (None, Some(password)) => Credentials { user: self.name.clone(), password },
            (None, None) => bail!("by a hash nobody logs in at an upstream"),
        };
        Ok(User { name: self.name.clone(), secret, plugin: self.plugin.clone(), upstream })
    }
}

/// The password in a file. Nothing of it is told where it is wrong.
fn read(field: &str, path: &Path) -> anyhow::Result<Password> {
    let what = || format!("{field} {}", path.display());
    let file = File::open(path).with_context(what)?;
    // Of its full size at once: what grows leaves copies behind.
    let mut text = Vec::with_capacity(MAX_FILE as usize + 2);
    file.take(MAX_FILE + 1).read_to_end(&mut text).with_context(what)?;
    let text = Password::new(text);
    if text.bytes().len() as u64 > MAX_FILE {
        bail!("{}: a password of more than {MAX_FILE} bytes", what());
    }
    let line = text.bytes().strip_suffix(b"\n").unwrap_or_else(|| text.bytes());
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("{}: the file is empty; of a user without a password write password: \"\"", what());
    }
    Ok(Password::new(line))
}
