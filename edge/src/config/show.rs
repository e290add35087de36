//! The effective configuration as TOML, for `check-config`.
//!
//! It holds no secrets: keys are given by the names of files, and the files are not shown.

use super::Config;

impl Config {
    /// TOML that parses to the same configuration.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("sections hold only strings, numbers, lists and tables")
    }
}
