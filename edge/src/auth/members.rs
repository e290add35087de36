//! A JSON object as it was written: every member, a repeated one too. `serde_json::Map` would keep the last
//! of two claims with one name and not tell; readers that keep the first would see another user.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The members, in their order.
pub(super) struct Members(Vec<(String, Value)>);

/// What is wrong with a member. The words go to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) found: &'static str,
    pub(super) wanted: &'static str,
}

impl Members {
    /// The member of this name, where there is one. RFC 7519, 4 and RFC 7515, 4: names are unique.
    pub(super) fn one(&self, name: &str, wanted: &'static str) -> Result<Option<&Value>, Wrong> {
        let mut of_name = self.0.iter().filter(|(found, _)| found == name);
        let first = of_name.next().map(|(_, value)| value);
        if of_name.next().is_some() {
            let found = "stands there twice";
            return Err(Wrong { found, wanted });
        }
        Ok(first)
    }

    /// The member of this name, which must be there.
    pub(super) fn needed(&self, name: &str, wanted: &'static str) -> Result<&Value, Wrong> {
        let found = "is missing";
        self.one(name, wanted)?.ok_or(Wrong { found, wanted })
    }

    /// The text of this name, where there is one.
    pub(super) fn text(&self, name: &str, wanted: &'static str) -> Result<Option<&str>, Wrong> {
        let found = self.one(name, wanted)?;
        found.map(|value| text(value, wanted)).transpose()
    }
}

/// The text that a value is.
pub(super) fn text<'v>(value: &'v Value, wanted: &'static str) -> Result<&'v str, Wrong> {
    let found = shape(value);
    value.as_str().ok_or(Wrong { found, wanted })
}

/// What a value is, for a message on what it is not.
pub(super) fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "is null",
        Value::Bool(_) => "is true or false",
        Value::Number(_) => "is a number",
        Value::String(_) => "is a text",
        Value::Array(_) => "is a list",
        Value::Object(_) => "is an object",
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Visit)
    }
}

struct Visit;

impl<'de> Visitor<'de> for Visit {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
