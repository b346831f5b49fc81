use std::borrow::Cow;

use crate::handshake::{Attributes, ChangeUser, Login};

/// Who a client is, as it said when it logged in, and which schema it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// The schema; empty where there is none.
    pub schema: String,
    /// The number of the collation that it asked for.
    pub collation: u16,
    /// What else it said.
    pub attributes: Attributes,
}

impl Identity {
    /// This one with another schema.
    #[must_use]
    pub fn with_schema(&self, schema: &[u8]) -> Self {
        Self { schema: text(schema), ..self.clone() }
    }

    /// What a header of this name says: `user`, `schema`, or the attribute of that name.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "user" => Some(Cow::Borrowed(&self.user)),
            "schema" => (!self.schema.is_empty()).then_some(Cow::Borrowed(&self.schema)),
            name => self.attributes.get(name),
        }
    }

    /// Each header.
    pub fn for_each_header(&self, each: &mut dyn FnMut(&str, &str)) {
        for name in ["user", "schema"] {
            if let Some(value) = self.header(name) {
                each(name, &value);
            }
        }
        for (name, value) in self.attributes.iter() {
            if !matches!(&*name, "user" | "schema") {
                each(&name, &value);
            }
        }
    }
}

impl From<Login> for Identity {
    fn from(login: Login) -> Self {
        Self {
            user: text(&login.user),
            schema: text(&login.schema),
            collation: login.collation.into(),
            attributes: login.attributes,
        }
    }
}

impl From<ChangeUser> for Identity {
    fn from(change: ChangeUser) -> Self {
        Self {
            user: text(&change.user),
            schema: text(&change.schema),
            collation: change.collation.unwrap_or_default(),
            attributes: change.attributes,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
