use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secret::Secret;

/// Somebody who may log in, where the proxy itself asks for that. One of `password`, `password_file` and `hash` says how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name; unique among the listener's users.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The password; `""` for a user without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Secret")]
    pub password: Option<Secret>,
    /// The file with the password, read again with the configuration. A newline at its end is not part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub password_file: Option<PathBuf>,
    /// What a server keeps of the password, as it shows it. A dollar sign before a brace is written twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Secret")]
    pub hash: Option<Secret>,
    /// The way to log in, by the protocol's name for it. Default: that of the hash, or else the protocol's usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub plugin: Option<String>,
    /// As whom the proxy logs in at upstreams for this user. Default: by the same name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UpstreamUser")]
    pub upstream: Option<UpstreamUser>,
}

/// As whom the proxy logs in at upstreams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamUser {
    /// The name.
    #[schemars(length(min = 1))]
    pub user: String,
    /// The password; `""` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Secret")]
    pub password: Option<Secret>,
    /// The file with the password, read again with the configuration. A newline at its end is not part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub password_file: Option<PathBuf>,
}
