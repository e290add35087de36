//! The environment, read once and as a whole. Every verb asks this for its variables and nobody asks the
//! system, so that each variable of ours is judged by the same rules: one that is not UTF-8 is a mistake,
//! an empty one counts as not set, a slip of a name is a mistake, and what only begins like ours is told.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::load::{Key, schema};
use super::nearest::nearest;
use super::{ConfigError, Mistake, Origin};

const PREFIX: &str = "ROOKERY_";

/// Where the file's path stands when no verb is given one.
pub(super) const CONFIG: &str = "ROOKERY_CONFIG";
const DATA: &str = "ROOKERY_DATA";
const TOKEN: &str = "ROOKERY_TOKEN";
const URL: &str = "ROOKERY_URL";

/// What verbs take besides the keys of the configuration.
const VERBS: [&str; 3] = [CONFIG, TOKEN, URL];

/// The variables that begin with `ROOKERY_`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// By name: those of ours that are set.
    values: BTreeMap<String, String>,
    /// Those of ours that cannot be used.
    pub(super) mistakes: Vec<Mistake>,
    /// Those that are none of ours.
    strangers: Vec<String>,
}

/// What a name that begins with [`PREFIX`] stands for.
enum Meaning {
    Ours,
    /// One of ours was meant; what is wrong with the name.
    Slip(String),
    /// Somebody else's: an orchestrator sets `ROOKERY_PORT` where a service is called rookery.
    Stranger,
}

impl Environment {
    /// Judges all variables of a process. `std::env::vars_os()`, but for tests.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) && !value.is_empty() {
                environment.take(&name, value);
            }
        }
        environment
    }

    fn take(&mut self, name: &OsStr, value: OsString) {
        let shown = name.to_string_lossy().into_owned();
        let meaning = name.to_str().map_or(Meaning::Stranger, meaning);
        let message = match (meaning, value.into_string()) {
            (Meaning::Stranger, _) => return self.strangers.push(shown),
            (Meaning::Slip(message), _) => message,
            (Meaning::Ours, Ok(value)) => {
                self.values.insert(shown, value);
                return;
            }
            // What stands there may be a password: only where it goes wrong is told.
            (Meaning::Ours, Err(value)) => {
                let bytes = value.as_encoded_bytes();
                let good = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
                format!(
                    "is not UTF-8: byte {} of its {} is 0x{:02x}",
                    good + 1,
                    bytes.len(),
                    bytes.get(good).unwrap_or(&0)
                )
            }
        };
        let origin = Origin::Environment(shown);
        self.mistakes.push(Mistake { origin, message });
    }

    /// For a verb that loads no configuration: whether all variables of ours can be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        Err(ConfigError {
            mistakes: self.mistakes.clone(),
        })
    }

    /// A line on the variables that begin like ours and are none, where there are any.
    pub fn note(&self) -> Option<String> {
        let names = self.strangers.join(", ");
        match self.strangers.len() {
            0 => None,
            1 => Some(format!(
                "environment variable {names} is none of ours and not looked at"
            )),
            _ => Some(format!(
                "environment variables {names} are none of ours and not looked at"
            )),
        }
    }

    /// The configuration's file, where the command line names none.
    pub(super) fn config(&self) -> Option<&Path> {
        self.value(CONFIG).map(Path::new)
    }

    /// The data directory, for a verb that loads no configuration.
    pub fn data(&self, given: Option<&Path>) -> PathBuf {
        let default = || Path::new(super::DATA_DEFAULT);
        let set = || self.value(DATA).map(Path::new);
        given.or_else(set).unwrap_or_else(default).to_owned()
    }

    /// The server's address, for a client.
    pub fn url(&self) -> Option<&str> {
        self.value(URL)
    }

    /// A login token.
    pub fn token(&self) -> Option<&str> {
        self.value(TOKEN)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The keys that are set, with name and value.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Key, &str, &str)> {
        self.values
            .iter()
            .filter_map(|(name, value)| Some((key(name)?, name.as_str(), value.as_str())))
    }
}

/// The variable of a key.
pub(super) fn variable((section, key): Key) -> String {
    let name = if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}_{key}")
    };
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

fn all_keys() -> impl Iterator<Item = Key> {
    let keys = |(section, keys): (_, &'static [_])| keys.iter().map(move |&key| (section, key));
    schema().into_iter().flat_map(keys)
}

fn key(name: &str) -> Option<Key> {
    all_keys().find(|&key| variable(key) == name)
}

fn meaning(name: &str) -> Meaning {
    if VERBS.contains(&name) || key(name).is_some() {
        return Meaning::Ours;
    }
    let rest = name[PREFIX.len()..].to_ascii_lowercase();
    let (word, rest_of_it) = rest.split_once('_').unwrap_or((&rest, ""));
    let variables = || all_keys().map(variable).chain(VERBS.map(str::to_owned));
    let upper = name.to_ascii_uppercase();
    let near = |known: &String| strsim::osa_distance(known, &upper) <= 1;
    if let Some(meant) = variables().find(near) {
        return Meaning::Slip(format!("is none of ours (did you mean `{meant}`?)"));
    }
    if schema().iter().any(|(section, _)| *section == rest) {
        return Meaning::Slip(format!("names the section [{rest}] and no key of it"));
    }
    // A key without its section, `ROOKERY_ISSUER`.
    let meant: Vec<String> = all_keys()
        .filter(|(_, key)| *key == rest)
        .map(|key| format!("`{}`", variable(key)))
        .collect();
    if !meant.is_empty() {
        let meant = meant.join(" or ");
        return Meaning::Slip(format!("names no section (did you mean {meant}?)"));
    }
    let sections = schema().map(|(section, _)| section);
    if let Some((section, keys)) = schema().into_iter().find(|(section, _)| *section == word) {
        return Meaning::Slip(format!(
            "unknown key {} in [{section}]",
            nearest(rest_of_it, keys)
        ));
    }
    let slip = |section: &&str| strsim::osa_distance(section, word) == 1;
    if sections.iter().any(slip) {
        return Meaning::Slip(format!("unknown section {}", nearest(word, &sections)));
    }
    Meaning::Stranger
}
