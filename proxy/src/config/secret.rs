use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wiremesh::Password;

/// A text of the configuration that is never shown: not in logs, not on the admin pages, not where the configuration is
/// written as a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Password);

/// What is shown instead.
const HIDDEN: &str = "<hidden>";

impl Secret {
    /// The text.
    pub fn password(&self) -> Password {
        self.0.clone()
    }

    /// Refuses what is shown instead of a secret: whoever takes a configuration that was shown has to put the secrets in.
    pub(super) fn check(text: &str) -> Result<(), String> {
        if text == HIDDEN {
            return Err(format!(
                "{HIDDEN} stands for a secret that is not shown; write the secret"
            ));
        }
        Ok(())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Password::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Password::new(text)))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "wiremesh-secret" })
    }
}
