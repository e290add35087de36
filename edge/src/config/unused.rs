//! Which keys were set and are not looked at, because the other kind of log was chosen. Not mistakes: one
//! file may serve both forms. `check-config` and `serve` tell them.

use super::{Config, LogKind};

/// Keys of the embedded log and store.
const EMBEDDED: [&str; 5] = [
    "log_writer",
    "log_segment_bytes",
    "log_segments_max",
    "store_cache_bytes",
    "space_reserve_bytes",
];

/// Sections of the distributed form.
const SERVICES: [&str; 4] = ["kafka", "cql", "postgres", "redis"];

impl Config {
    /// The keys, dotted, that differ from their defaults and change nothing.
    pub fn unused(&self) -> Vec<String> {
        let changed = changed(self);
        let is_unused = |section: &str, key: &str| match self.log.kind {
            LogKind::Embedded => SERVICES.contains(&section),
            LogKind::Kafka => section == "router" && EMBEDDED.contains(&key),
        };
        changed
            .into_iter()
            .filter(|(section, key)| is_unused(section, key))
            .map(|(section, key)| format!("{section}.{key}"))
            .collect()
    }
}

/// Sections and keys that are not at their defaults. Secrets are compared by whether they are set.
fn changed(config: &Config) -> Vec<(String, String)> {
    // `--data` may be no text, which TOML does not take; it is always looked at.
    let table = |config: Config| {
        let data = super::DATA_DEFAULT.into();
        toml::Table::try_from(Config { data, ..config }).unwrap_or_default()
    };
    let (now, default) = (table(config.clone()), table(Config::default()));
    let mut changed = Vec::new();
    for (section, values) in &now {
        for (key, value) in values.as_table().into_iter().flatten() {
            if default.get(section).and_then(|known| known.get(key)) != Some(value) {
                changed.push((section.clone(), key.clone()));
            }
        }
    }
    changed
}
