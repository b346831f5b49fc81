//! Which server takes writes, and which copies are in step: what they tell of themselves.
//!
//! | kind | endpoints of the configuration | asked |
//! |---|---|---|
//! | `replicated` | primary and replicas, in any order | whether they are read-only, and how replication stands, all of them |
//!
//! Options: `user` and `password`, the account that asks (`REPLICATION CLIENT`; in MariaDB `SLAVE MONITOR`); `max_lag`, the
//! most that a replica may be behind, in seconds, such as `5s`; 10 s unless it is said.

mod answer;
mod replicated;

use wiremesh::{
    OptionError, Password,
    topology::{Topology, TopologyError, TopologyOptions},
};

use self::replicated::Replicated;
use crate::Mysql;

/// How far replicas may be behind unless it is said, in seconds.
const MAX_LAG: u64 = 10;

/// A machine that learns the topology of this kind.
pub(crate) fn of(
    kind: &str,
    options: &TopologyOptions,
) -> Result<Box<dyn Topology<Mysql>>, TopologyError> {
    if kind != "replicated" {
        return Err(TopologyError::Kind(&["replicated"]));
    }
    let (mut user, mut password, mut max_lag) = (None, Password::default(), MAX_LAG);
    for (name, value) in options {
        let wrong = |error| TopologyError::Option(name.clone(), error);
        match name.as_str() {
            "user" if value.is_empty() => {
                return Err(wrong(OptionError::Value("a name cannot be empty".into())));
            }
            "user" => user = Some(value.clone()),
            "password" => password = Password::new(value.as_bytes()),
            "max_lag" => {
                let seconds = value.strip_suffix('s').unwrap_or(value).parse();
                let why = "it is a number of seconds, such as 5s";
                max_lag = seconds.map_err(|_| wrong(OptionError::Value(why.into())))?;
            }
            _ => {
                let known = "there are user, password and max_lag";
                return Err(wrong(OptionError::Unknown(known)));
            }
        }
    }
    let purpose =
        "the account that asks servers whether they are read-only, and how replication stands";
    let user = user.ok_or(TopologyError::Missing("user", purpose))?;
    Ok(Box::new(Replicated::new(user, password, max_lag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<(), TopologyError> {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        super::of("replicated", &options.collect()).map(drop)
    }

    #[test]
    fn kinds_and_their_options() {
        let kind = super::of("ring", &TopologyOptions::new()).err();
        assert_eq!(kind, Some(TopologyError::Kind(&["replicated"])));
        assert_eq!(of(&[("user", "mon")]), Ok(()));
        assert_eq!(of(&[("user", "mon"), ("password", "x"), ("max_lag", "5s")]), Ok(()));
        assert_eq!(of(&[("user", "mon"), ("max_lag", "0")]), Ok(()));
        assert!(matches!(of(&[]), Err(TopologyError::Missing("user", _))));
        for (name, value) in [("user", ""), ("max_lag", "soon"), ("max_lag", "-1s"), ("lag", "1")] {
            let wrong = of(&[("user", "mon"), (name, value)]);
            let wrong = if name == "user" { of(&[(name, value)]) } else { wrong };
            assert!(
                matches!(&wrong, Err(TopologyError::Option(told, _)) if told == name),
                "{name}: {wrong:?}"
            );
        }
    }
}
