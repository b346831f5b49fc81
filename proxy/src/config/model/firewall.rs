use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Limit;
use crate::config::value::Duration;

/// Which requests pass, by who sends them and what they have executed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Firewall {
    /// What becomes of a request for which there is no rule.
    pub default: Judgement,
    /// The first that is for a request decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FirewallRule>,
    /// A file with more rules, under `rules:`, which come after these. It is read with the configuration, at the start and by
    /// SIGHUP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub file: Option<String>,
}

/// Rules in a file of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FirewallFile {
    /// The first that is for a request decides.
    pub rules: Vec<FirewallRule>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It passes.
    #[default]
    Allow,
    /// It is answered by an error.
    Deny,
    /// It passes, and is counted and logged.
    Detect,
}

/// What becomes of some requests: those that meet all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallRule {
    /// Its name in errors, logs and metrics; unique within the listener.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Whose requests: the header `user` (with MySQL, who has logged in). Default: anybody's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The services asked for (with MySQL, the session's default schema). Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The methods asked for (with MySQL, `COM_QUERY` and the like). Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What is executed, as `/digests` shows it or with values in it. Default: anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
    /// A regular expression that is found in the digest, as `/digests` shows it, of whatever case; beside `digests`, one of
    /// both is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "regex_schema")]
    pub digest_pattern: Option<String>,
    /// Whether `digests` and `digest_pattern` stand for requests, too, that are too long to be known whole, by their
    /// beginnings. What denies does so in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beginnings: bool,
    /// What becomes of them.
    pub action: Judgement,
    /// What else those are told whose requests are denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub message: Option<String>,
    /// How many of them there may be, all together. What is over it is answered as overloaded at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Limit")]
    pub limit: Option<Limit>,
    /// How long one may take, if that is shorter than the route's `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub timeout: Option<Duration>,
}

fn regex_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "regex" })
}
