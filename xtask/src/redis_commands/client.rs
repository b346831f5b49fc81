//! A RESP3 client of a few lines, for asking a server about itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// A value as the server sent it; sets are lists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Error(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Value {
    pub(crate) fn text(&self) -> anyhow::Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            other => bail!("no text: {other:?}"),
        }
    }

    pub(crate) fn int(&self) -> anyhow::Result<i64> {
        match self {
            Self::Int(number) => Ok(*number),
            other => bail!("no number: {other:?}"),
        }
    }

    pub(crate) fn list(&self) -> anyhow::Result<&[Self]> {
        match self {
            Self::List(list) => Ok(list),
            other => bail!("no list: {other:?}"),
        }
    }

    pub(crate) fn texts(&self) -> anyhow::Result<Vec<&str>> {
        self.list()?.iter().map(Self::text).collect()
    }

    pub(crate) fn map(&self) -> anyhow::Result<&[(Self, Self)]> {
        match self {
            Self::Map(map) => Ok(map),
            other => bail!("no map: {other:?}"),
        }
    }

    /// The value of this key of a map.
    pub(crate) fn get(&self, key: &str) -> anyhow::Result<&Self> {
        let found = self.map()?.iter().find(|(name, _)| name.text().is_ok_and(|name| name == key));
        Ok(&found.with_context(|| format!("no {key}"))?.1)
    }
}

/// One connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and switches to RESP3.
    pub(crate) fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let mut client = Self(BufReader::new(stream));
        client.call(&["HELLO", "3"])?;
        Ok(client)
    }

    /// Sends a command and reads its reply, which may be an error.
    pub(crate) fn call(&mut self, args: &[&str]) -> anyhow::Result<Value> {
        let mut request = format!("*{}\r\n", args.len());
        for arg in args {
            request.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        self.value().with_context(|| args.join(" "))
    }

    fn value(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let Some(rest) = line.strip_suffix("\r\n") else { bail!("the server has left") };
        let (kind, rest) = rest.split_at(1);
        let count = || rest.parse::<usize>().with_context(|| line.clone());
        Ok(match kind {
            "+" | "," => Value::Text(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Int(rest.parse()?),
            "_" => Value::Null,
            "$" | "=" => {
                let mut bytes = vec![0; count()? + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                // A verbatim string says first what it is: `txt:`.
                let text = String::from_utf8(bytes)?;
                Value::Text(if kind == "=" { text[4..].to_owned() } else { text })
            }
            "*" | "~" => {
                Value::List((0..count()?).map(|_| self.value()).collect::<Result<_, _>>()?)
            }
            "%" => {
                let pairs = (0..count()?).map(|_| Ok((self.value()?, self.value()?)));
                Value::Map(pairs.collect::<anyhow::Result<_>>()?)
            }
            _ => bail!("what is {line:?}?"),
        })
    }
}
