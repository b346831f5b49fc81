//! A primary and its replicas, as Sentinel knows them.

use wiremesh::{
    OptionError,
    topology::{Found, Shard, Shards, Topology, TopologyError, TopologyOptions},
};

use super::{
    info::{Replication, question},
    join, value,
};
use crate::{Message, Redis, resp::Value};

/// Asks a sentinel, and then the primary that it names whether it is one: a sentinel may be the last to hear of a
/// failover.
pub(super) struct Sentinel {
    master: String,
    user: Option<String>,
    password: Option<String>,
    /// What a sentinel said, and nobody has confirmed.
    named: Option<Shard>,
}

impl Sentinel {
    pub(super) fn new(options: &TopologyOptions) -> Result<Self, TopologyError> {
        let mut machine = Self { master: String::new(), user: None, password: None, named: None };
        for (name, value) in options {
            match name.as_str() {
                "master" if value.is_empty() => {
                    let error = OptionError::Value("a name cannot be empty".into());
                    return Err(TopologyError::Option(name.clone(), error));
                }
                "master" => machine.master.clone_from(value),
                "user" => machine.user = Some(value.clone()),
                "password" => machine.password = Some(value.clone()),
                _ => {
                    let error = OptionError::Unknown("there are master, user and password");
                    return Err(TopologyError::Option(name.clone(), error));
                }
            }
        }
        if machine.master.is_empty() {
            let purpose = "the name that the sentinels know the primary by";
            return Err(TopologyError::Missing("master", purpose));
        }
        if machine.user.is_some() && machine.password.is_none() {
            return Err(TopologyError::Missing("password", "the user's"));
        }
        Ok(machine)
    }

    fn is_named(&self, asked: &str) -> bool {
        self.named.as_ref().is_some_and(|it| it.primary.as_deref() == Some(asked))
    }

    fn confirm(&mut self, reply: Option<&Message>) -> Result<Found, String> {
        let shard = self.named.take().unwrap_or_default();
        match Replication::parse(reply)? {
            Replication::Primary { .. } => {
                Ok(Found::Shards(Shards { shards: vec![shard], slots: Vec::new() }))
            }
            Replication::Replica { of, .. } => {
                Err(format!("a sentinel calls it the primary, but it follows {of}"))
            }
        }
    }
}

impl Topology<Redis> for Sentinel {
    fn questions(&self, asked: &str) -> Vec<Message> {
        if self.is_named(asked) {
            return vec![question()];
        }
        let login = self.password.as_ref().map(|password| match &self.user {
            Some(user) => Message::request(["AUTH", user, password]),
            None => Message::request(["AUTH", password]),
        });
        let primary = Message::request(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.master]);
        let replicas = Message::request(["SENTINEL", "REPLICAS", &self.master]);
        login.into_iter().chain([primary, replicas]).collect()
    }

    fn learn(&mut self, asked: &str, replies: &[Message]) -> Result<Found, String> {
        if self.is_named(asked) {
            return self.confirm(replies.first());
        }
        let replies = match replies {
            [login, rest @ ..] if self.password.is_some() => {
                value(Some(login))?;
                rest
            }
            all => all,
        };
        let primary = value(replies.first())?;
        let Some([host, port]) = primary.as_array() else {
            return Err(format!("it knows no primary {:?}", self.master));
        };
        let primary = host.as_str().zip(port.as_integer()).map(|(host, port)| join(host, port));
        let primary = primary.ok_or("its answer is not understood")?;
        let replicas = value(replies.get(1))?;
        let replicas = replicas.as_array().unwrap_or_default();
        let mut replicas: Vec<String> = replicas.iter().filter_map(replica).collect();
        replicas.sort_unstable();
        self.named = Some(Shard { primary: Some(primary.clone()), replicas });
        Ok(Found::Ask(vec![primary]))
    }

    /// Sentinels have users and passwords of their own.
    fn greets(&self, asked: &str) -> bool {
        self.is_named(asked)
    }

    fn configured_only(&self) -> bool {
        true
    }
}

/// Where a replica is, if it is up and in step.
fn replica(about: &Value<'_>) -> Option<String> {
    let field = |name| about.get(name).and_then(Value::as_str);
    let flags = field("flags").unwrap_or_default();
    let down = flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"));
    let linked = field("master-link-status").is_none_or(|status| status == "ok");
    if down || !linked { None } else { Some(join(field("ip")?, field("port")?)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{decoded, recorded};

    fn machine(options: &[(&str, &str)]) -> Result<Sentinel, TopologyError> {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Sentinel::new(&options.collect())
    }

    fn words(questions: &[Message]) -> Vec<String> {
        let text = |it: &Message| {
            let words = it.args().map(|arg| String::from_utf8_lossy(arg).into_owned());
            words.collect::<Vec<_>>().join(" ")
        };
        questions.iter().map(text).collect()
    }

    #[test]
    fn options() {
        assert!(machine(&[("master", "m"), ("user", "u"), ("password", "p")]).is_ok());
        let missing = |options| match machine(options) {
            Err(TopologyError::Missing(name, _)) => name,
            _ => "nothing",
        };
        assert_eq!(missing(&[]), "master");
        assert_eq!(missing(&[("master", "m"), ("user", "u")]), "password");
        for option in [("master", ""), ("quorum", "2")] {
            let error = machine(&[option]).err();
            assert!(matches!(error, Some(TopologyError::Option(name, _)) if name == option.0));
        }
    }

    #[test]
    fn a_primary_that_is_confirmed() {
        for version in ["resp2", "resp3"] {
            let mut machine = machine(&[("master", "mymaster")]).expect("options");
            assert!(machine.configured_only() && !machine.greets("s:1"));
            let questions = words(&machine.questions("s:1"));
            let asked = ["SENTINEL GET-MASTER-ADDR-BY-NAME mymaster", "SENTINEL REPLICAS mymaster"];
            assert_eq!(questions, asked);
            let replies = ["sentinel-address", "sentinel-replicas"]
                .map(|name| recorded(&format!("{name}.{version}")));
            let named = "127.0.0.1:27410";
            assert_eq!(machine.learn("s:1", &replies), Ok(Found::Ask(vec![named.into()])));
            assert!(machine.greets(named) && !machine.greets("s:2"));
            assert_eq!(words(&machine.questions(named)), ["INFO replication"]);
            let primary = recorded(&format!("info-primary.{version}"));
            let Ok(Found::Shards(shards)) = machine.learn(named, &[primary]) else {
                panic!("no topology")
            };
            assert_eq!(shards.slots, []);
            let replicas = ["127.0.0.1:27411", "127.0.0.1:27412"].map(str::to_owned).to_vec();
            assert_eq!(shards.shards, [Shard { primary: Some(named.into()), replicas }]);
        }
    }

    #[test]
    fn replicas_that_are_down_are_left_out() {
        for version in ["resp2", "resp3"] {
            let mut machine = machine(&[("master", "mymaster")]).expect("options");
            let replies = ["sentinel-address", "sentinel-replicas-one-down"]
                .map(|name| recorded(&format!("{name}.{version}")));
            machine.learn("s:1", &replies).expect("understood");
            assert_eq!(machine.named.expect("one").replicas, ["127.0.0.1:27411"]);
        }
    }

    #[test]
    fn a_primary_that_is_none_is_not_believed() {
        let mut machine = machine(&[("master", "mymaster")]).expect("options");
        let replies = ["sentinel-address.resp2", "sentinel-replicas.resp2"].map(recorded);
        machine.learn("s:1", &replies).expect("understood");
        let told = machine.learn("127.0.0.1:27410", &[recorded("info-replica.resp2")]);
        assert!(told.is_err_and(|why| why.contains("follows 127.0.0.1:27410")));
        // The next sentinel is asked as the first was, and so after a primary that cannot be reached.
        assert_eq!(machine.questions("s:2").len(), 2);
        machine.learn("s:2", &replies).expect("understood");
        assert_eq!(machine.questions("s:3").len(), 2);
        assert!(machine.conclude().is_none());
    }

    #[test]
    fn a_name_that_is_not_known_and_a_login_that_fails() {
        for version in ["resp2", "resp3"] {
            let mut machine = machine(&[("master", "other")]).expect("options");
            let replies = [recorded(&format!("sentinel-unknown.{version}")), decoded(b"*0\r\n")];
            let told = machine.learn("s:1", &replies);
            assert_eq!(told, Err("it knows no primary \"other\"".to_owned()));
        }
        let mut machine = machine(&[("master", "m"), ("password", "p")]).expect("options");
        assert_eq!(words(&machine.questions("s:1"))[0], "AUTH p");
        let refused = decoded(b"-WRONGPASS no\r\n");
        let told = machine.learn("s:1", &[refused, decoded(b"-NOAUTH a\r\n")]);
        assert_eq!(told, Err("WRONGPASS no".to_owned()));
    }
}
