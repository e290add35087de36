//! The effective configuration as TOML, for `check-config`.
//!
//! It holds no secrets: keys are given by the names of files, which are not shown, and passwords are
//! masked ([`super::Secret`]).

use super::Config;

impl Config {
    /// TOML that parses to the same configuration, but for its passwords.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("sections hold only strings, numbers, lists and tables")
    }

    /// The keys whose values differ, as `section.key`, with what a text, number or flag is and was. Passwords are
    /// masked, so that they do not.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let table = |config: &Self| toml::Table::try_from(config).unwrap_or_default();
        let (one, other) = (table(self), table(other));
        let mut keys = Vec::new();
        for (section, value) in &one {
            let there = other.get(section);
            match (value.as_table(), there.and_then(toml::Value::as_table)) {
                (Some(value), Some(there)) => {
                    let differ = value
                        .iter()
                        .filter(|(key, value)| there.get(*key) != Some(*value));
                    keys.extend(differ.map(|(key, was)| match there.get(key) {
                        Some(is) if !is.is_array() => format!("{section}.{key} = {is} (was {was})"),
                        _ => format!("{section}.{key}"),
                    }));
                }
                _ if there != Some(value) => keys.push(section.clone()),
                _ => {}
            }
        }
        keys
    }
}
