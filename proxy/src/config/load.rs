use std::{fs, path::Path, sync::LazyLock};

use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    check::{check, read_rules},
    model::{Config, FirewallFile},
    protocol::ProtocolInfo,
    report::{Mistake, Report},
    shape::Shape,
    source::Source,
    tree::Node,
};

impl Config {
    /// Reads and checks a file. The error has every mistake that is in it.
    pub fn load(path: &Path, protocols: &[ProtocolInfo]) -> Result<Self, Report> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot be read: {error}");
            Report::new(vec![Mistake { file: file.clone(), position: None, message }])
        })?;
        Self::parse(&file, &text, &|name| std::env::var(name).ok(), protocols)
    }

    /// Checks a file's text; `file` is what reports call it, `env` what `${NAME}` stands for.
    pub fn parse(
        file: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        protocols: &[ProtocolInfo],
    ) -> Result<Self, Report> {
        let (source, mut mistakes) = Source::expand(file, text, env);
        let mut root = match Node::parse(&source) {
            Ok(root) => root,
            Err(mistake) => {
                mistakes.push(mistake);
                return Err(Report::new(mistakes));
            }
        };
        let mut shape = Shape::new(&SCHEMA, &source);
        shape.mend_root(&mut root);
        mistakes.extend(shape.mistakes);
        let config = match Self::deserialize(root.to_json()) {
            Ok(mut config) => {
                mistakes.extend(check(&config, &root, &source, protocols));
                mistakes.extend(read_rules(&mut config, &root, &source, env, protocols));
                config
            }
            Err(error) => {
                mistakes.push(Mistake {
                    file: file.into(),
                    position: None,
                    message: error.to_string(),
                });
                Self::default()
            }
        };
        if mistakes.is_empty() { Ok(config) } else { Err(Report::new(mistakes)) }
    }

    /// The configuration as a file, all defaults spelt out.
    pub fn to_yaml(&self) -> String {
        // Every part of a configuration has a form in YAML.
        serde_saphyr::to_string(self).unwrap_or_default()
    }

    /// The configuration as a file, without what is the default.
    pub fn to_short_yaml(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        drop_defaults(&mut value, &SCHEMA);
        serde_saphyr::to_string(&value).unwrap_or_default()
    }

    /// The JSON Schema of configuration files, for editors.
    pub fn json_schema() -> String {
        let mut text = serde_json::to_string_pretty(&*SCHEMA).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Removes every field whose value is the one that the schema names as the default.
fn drop_defaults(value: &mut Json, schema: &Json) {
    let target = schema["$ref"].as_str().and_then(|r| SCHEMA.pointer(r.trim_start_matches('#')));
    let schema = target.unwrap_or(schema);
    for alternative in ["anyOf", "oneOf"].map(|key| schema[key].as_array()).into_iter().flatten() {
        alternative.iter().for_each(|schema| drop_defaults(value, schema));
    }
    match value {
        Json::Array(items) => {
            items.iter_mut().for_each(|item| drop_defaults(item, &schema["items"]));
        }
        Json::Object(fields) => {
            let properties = &schema["properties"];
            fields.retain(|name, value| {
                if properties[name].get("default") == Some(value) {
                    return false;
                }
                drop_defaults(value, &properties[name]);
                true
            });
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// That of files with a firewall's rules.
pub(super) static RULES_SCHEMA: LazyLock<Json> =
    LazyLock::new(|| schemars::schema_for!(FirewallFile).to_value());

static SCHEMA: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(Config).to_value());
