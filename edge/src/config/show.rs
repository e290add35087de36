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
}
