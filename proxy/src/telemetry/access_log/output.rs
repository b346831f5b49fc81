use std::{
    fmt,
    fs::File,
    io::{self, Write},
};

use crate::config::LogPath;

/// Where lines go.
pub(super) struct Output {
    sink: Box<dyn Write + Send>,
    path: Option<LogPath>,
}

impl Output {
    pub(super) fn open(path: &LogPath) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match path {
            LogPath::Stdout => Box::new(io::stdout()),
            LogPath::Stderr => Box::new(io::stderr()),
            LogPath::File(file) => Box::new(File::options().append(true).create(true).open(file)?),
        };
        Ok(Self { sink, path: Some(path.clone()) })
    }

    #[cfg(test)]
    pub(super) fn new(sink: Box<dyn Write + Send>) -> Self {
        Self { sink, path: None }
    }

    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.sink.write_all(text)?;
        self.sink.flush()
    }

    /// Opens a file anew; on failure the old one stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path @ LogPath::File(_)) = &self.path {
            *self = Self::open(path)?;
        }
        Ok(())
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => path.fmt(f),
            None => f.write_str("(unnamed)"),
        }
    }
}
