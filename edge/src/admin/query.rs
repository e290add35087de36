//! The parameters of a request.

use super::answer::{Refused, bad};

/// See the module.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(query: &str) -> Self {
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Refuses parameters that have another name than these: where a mistyped one would widen what is done.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refused> {
        let mut names = self.0.iter().map(|(name, _)| name);
        match names.find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(other) => Err(bad(format!(
                "`{other}` is no parameter; those are {}",
                known.join(", ")
            ))),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// A number, or what it is by default; within its bounds.
    pub(super) fn number(&self, name: &str, default: u64, most: u64) -> Result<u64, Refused> {
        let Some(given) = self.get(name) else {
            return Ok(default);
        };
        let parsed = given
            .parse()
            .ok()
            .filter(|number| (0..=most).contains(number));
        parsed.ok_or_else(|| bad(format!("`{name}` is {given}; it may be 0 to {most}")))
    }
}
