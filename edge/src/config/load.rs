//! From a file's text, the environment and the command line to a checked [`Config`].
//!
//! Each key is tried on its own before the whole is built, so that one mistake does not hide another.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::environment::{self, Environment};
use super::nearest::nearest;
use super::source::File;
use super::{AuthKey, Config, ConfigError, Mistake, Origin, check, fields, sections, services};

/// A configuration file is read up to this many bytes; a larger one is not a configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the command line says, over everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen`, in place of all configured TLS listeners.
    pub listen_tls: Vec<SocketAddr>,
    /// `--listen-plain`, in place of all configured plain listeners.
    pub listen_plain: Vec<SocketAddr>,
    /// `--shards`
    pub shards: Option<u16>,
}

/// A section's name ("" for the top level) and a key in it.
pub(super) type Key = (&'static str, &'static str);

impl Config {
    /// Reads the file (none: the one that the environment names, or nothing but defaults), then applies
    /// the environment and the command line, then checks.
    pub fn load(
        given: Option<&Path>,
        env: &Environment,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let path = given.or_else(|| env.config());
        let text = match path {
            None => String::new(),
            Some(path) => read(path).map_err(|what| unreadable(path, given.is_some(), &what))?,
        };
        let mut loader = Loader::default();
        if let Some(path) = path {
            loader.file(&File { path, text: &text });
        }
        loader.mistakes.extend_from_slice(&env.mistakes);
        for (key, name, value) in env.keys() {
            loader.environment_value(key, name, value);
        }
        loader.finish(overrides)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err("it is larger than 1 MiB and so no configuration file".to_owned());
    }
    Ok(text)
}

/// Names the file as it was given, not the option: one verb has it as `--config`, another without. Only
/// one that nobody typed is told with the variable that it stands in.
fn unreadable(path: &Path, is_given: bool, what: &str) -> ConfigError {
    let (origin, message) = if is_given {
        let origin = Origin::Path(path.to_owned());
        (origin, format!("cannot be read: {what}"))
    } else {
        let origin = Origin::Environment(environment::CONFIG.to_owned());
        (origin, format!("cannot read {}: {what}", path.display()))
    };
    ConfigError {
        mistakes: vec![Mistake { origin, message }],
    }
}

/// The sections and their keys; the keys of the top level stand under "".
pub(super) fn schema() -> [(&'static str, &'static [&'static str]); 14] {
    [
        ("", &["data"]),
        ("listen", fields::of::<sections::Listen>()),
        ("tls", fields::of::<sections::Tls>()),
        ("auth", fields::of::<sections::Auth>()),
        ("limits", fields::of::<sections::Limits>()),
        ("drain", fields::of::<sections::Drain>()),
        ("engine", fields::of::<sections::Engine>()),
        ("router", fields::of::<sections::Router>()),
        ("log", fields::of::<sections::Log>()),
        ("admin", fields::of::<sections::Admin>()),
        ("kafka", fields::of::<services::Kafka>()),
        ("cql", fields::of::<services::Cql>()),
        ("postgres", fields::of::<services::Postgres>()),
        ("redis", fields::of::<services::Redis>()),
    ]
}

/// Accepted values, and mistakes.
#[derive(Default)]
struct Loader<'i> {
    values: BTreeMap<Key, Spanned<DeValue<'i>>>,
    origins: BTreeMap<Key, Origin>,
    mistakes: Vec<Mistake>,
}

impl<'i> Loader<'i> {
    fn mistake(&mut self, origin: Origin, message: String) {
        self.mistakes.push(Mistake { origin, message });
    }

    fn file(&mut self, file: &File<'i>) {
        let (root, errors) = DeTable::parse_recoverable(file.text);
        for error in errors {
            self.mistake(file.origin(error.span()), error.message().to_owned());
        }
        for (name, value) in root.into_inner() {
            let known = schema()
                .into_iter()
                .find(|(section, _)| *section == name.get_ref().as_ref());
            match (known, value.get_ref()) {
                (Some((section, keys)), DeValue::Table(table)) if !section.is_empty() => {
                    self.section(file, section, keys, table);
                }
                (Some((section, _)), other) if !section.is_empty() => self.mistake(
                    file.origin(Some(value.span())),
                    format!(
                        "`{section}` is a section, `[{section}]`, not a {}",
                        other.type_str()
                    ),
                ),
                _ if name.get_ref() == "data" => {
                    self.accept(Some(file), ("", "data"), value.clone())
                }
                _ => {
                    let known = schema()
                        .map(|(section, _)| if section.is_empty() { "data" } else { section });
                    let message =
                        format!("unknown section or key {}", nearest(name.get_ref(), &known));
                    self.mistake(file.origin(Some(name.span())), message);
                }
            }
        }
    }

    fn section(
        &mut self,
        file: &File<'i>,
        section: &'static str,
        keys: &'static [&'static str],
        table: &DeTable<'i>,
    ) {
        for (name, value) in table {
            match keys
                .iter()
                .copied()
                .find(|key| *key == name.get_ref().as_ref())
            {
                Some("keys") if section == "auth" => self.auth_keys(file, value),
                Some(key) => self.accept(Some(file), (section, key), value.clone()),
                None => {
                    let message = format!(
                        "unknown key {} in [{section}]",
                        nearest(name.get_ref(), keys)
                    );
                    self.mistake(file.origin(Some(name.span())), message);
                }
            }
        }
    }

    /// `[[auth.keys]]`: the one place where tables stand within a section.
    fn auth_keys(&mut self, file: &File<'i>, value: &Spanned<DeValue<'i>>) {
        let keys = fields::of::<AuthKey>();
        let mut unknown = false;
        for table in value.get_ref().as_array().into_iter().flatten() {
            for name in table
                .get_ref()
                .as_table()
                .into_iter()
                .flat_map(|table| table.keys())
            {
                if !keys.contains(&name.get_ref().as_ref()) {
                    unknown = true;
                    let message = format!(
                        "unknown key {} in [[auth.keys]]",
                        nearest(name.get_ref(), keys)
                    );
                    self.mistake(file.origin(Some(name.span())), message);
                }
            }
        }
        if !unknown {
            self.accept(Some(file), ("auth", "keys"), value.clone());
        }
    }

    /// Takes a value of the file where it has the key's type.
    fn accept(&mut self, file: Option<&File<'i>>, key: Key, value: Spanned<DeValue<'i>>) {
        let span = value.span();
        match build([(key, value.clone())]) {
            Ok(_) => {
                if let Some(file) = file {
                    self.origins.insert(key, file.origin(Some(span)));
                }
                self.values.insert(key, value);
            }
            Err(error) => {
                let origin = file.map_or(Origin::Default, |file| {
                    file.origin(error.span().or(Some(span)))
                });
                self.mistake(
                    origin,
                    format!("`{}`: {}", dotted(key), for_people(error.message())),
                );
            }
        }
    }

    /// A variable holds a TOML value, or a bare word, or a list with commas: whichever first has the
    /// key's type.
    fn environment_value(&mut self, key: Key, name: &str, value: &'i str) {
        let string = |text: &'i str| Spanned::new(0..text.len(), DeValue::String(text.into()));
        let mut list = DeArray::new();
        for word in value
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            list.push(string(word));
        }
        let list = Spanned::new(0..value.len(), DeValue::Array(list));
        let candidates = DeValue::parse(value)
            .ok()
            .into_iter()
            .chain([string(value), list]);
        let mut first_error = None;
        for candidate in candidates {
            match build([(key, candidate.clone())]) {
                Ok(_) => {
                    self.origins
                        .insert(key, Origin::Environment(name.to_owned()));
                    self.values.insert(key, candidate);
                    return;
                }
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        if let Some(error) = first_error {
            let message = format!("`{}`: {}", dotted(key), for_people(error.message()));
            self.mistake(Origin::Environment(name.to_owned()), message);
        }
    }

    fn finish(mut self, overrides: &Overrides) -> Result<Config, ConfigError> {
        let mut config = match build(std::mem::take(&mut self.values)) {
            Ok(config) => config,
            Err(error) => {
                self.mistake(Origin::Default, for_people(error.message()));
                return Err(ConfigError {
                    mistakes: self.mistakes,
                });
            }
        };
        overrides.apply(&mut config, &mut self.origins);
        for (key, message) in check::check(&config) {
            let origin = self.origins.get(&key).cloned().unwrap_or(Origin::Default);
            self.mistake(origin, format!("`{}` {message}", dotted(key)));
        }
        if self.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError {
                mistakes: self.mistakes,
            })
        }
    }
}

impl Overrides {
    fn apply(&self, config: &mut Config, origins: &mut BTreeMap<Key, Origin>) {
        let mut says = |key, option| origins.insert(key, Origin::CommandLine(option));
        if let Some(data) = &self.data {
            config.data.clone_from(data);
            says(("", "data"), "--data");
        }
        if !self.listen_tls.is_empty() {
            config.listen.tls.clone_from(&self.listen_tls);
            says(("listen", "tls"), "--listen");
        }
        if !self.listen_plain.is_empty() {
            config.listen.plain.clone_from(&self.listen_plain);
            says(("listen", "plain"), "--listen-plain");
        }
        if let Some(shards) = self.shards {
            config.engine.shards = shards;
            says(("engine", "shards"), "--shards");
        }
    }
}

/// A configuration of these values and, for all others, the defaults.
fn build<'i>(
    values: impl IntoIterator<Item = (Key, Spanned<DeValue<'i>>)>,
) -> Result<Config, toml::de::Error> {
    let name = |text: &'static str| Spanned::new(0..0, text.into());
    let mut root = DeTable::new();
    for ((section, key), value) in values {
        if section.is_empty() {
            root.insert(name(key), value);
            continue;
        }
        let table = root
            .entry(name(section))
            .or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
        if let DeValue::Table(table) = table.get_mut() {
            table.insert(name(key), value);
        }
    }
    let span: Range<usize> = 0..0;
    Config::deserialize(toml::de::Deserializer::from(Spanned::new(span, root)))
}

fn dotted((section, key): Key) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// serde's words without Rust's names of types.
fn for_people(message: &str) -> String {
    let mut message = message.to_owned();
    for (rust, plain) in [
        ("expected u16", "expected a whole number from 0 to 65,535"),
        (
            "expected u32",
            "expected a whole number from 0 to 4,294,967,295",
        ),
        ("expected u64", "expected a whole number from 0"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list, [\"…\", \"…\"]"),
    ] {
        message = message.replace(rust, plain);
    }
    message
}
