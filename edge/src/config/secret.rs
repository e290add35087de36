//! Passwords: given as they are, within a URL, or in a file; shown masked wherever a configuration is
//! printed.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};
use url::Url;

/// What stands in the place of a password. Refused as one, so that what `check-config` prints is not
/// taken for a configuration.
pub(super) const MASK: &str = "***";

/// A longer file holds no password.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// A password; empty: none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The password itself, where there is one.
    pub fn into_option(self) -> Option<String> {
        Some(self.0).filter(|password| !password.is_empty())
    }

    /// This one, or else the file's first line, or none where neither is given.
    pub(super) fn or_file(&self, file: Option<&Path>) -> Result<Secret, SecretError> {
        match file {
            Some(path) if self.is_empty() => read(path),
            _ => Ok(self.clone()),
        }
    }
}

/// A password's file cannot be used. The operator is to blame.
#[derive(Debug, thiserror::Error)]
#[error("password file {}: {reason}", path.display())]
pub struct SecretError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let wrong = |reason: String| SecretError {
        path: path.to_owned(),
        reason,
    };
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong("it is larger than 4 KiB and so no password".into()));
    }
    // Editors and `echo` end a line; a password does not.
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(wrong("its first line is empty".into()));
    }
    Ok(Secret(line.to_owned()))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(if self.is_empty() { "" } else { MASK })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from).map(Self)
    }
}

/// Text; the error does not repeat what stood there, as serde's would.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map_err(|_| D::Error::custom("expected text in quotes"))
}

/// The URL of a service, perhaps with a password in it; empty: none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The URL, or what is wrong with it. The message does not repeat it.
    pub(super) fn parse(&self) -> Result<Url, String> {
        Url::parse(&self.0).map_err(|error| error.to_string())
    }

    /// Whether it has a password.
    pub(super) fn has_password(&self) -> bool {
        self.parse().is_ok_and(|url| url.password().is_some())
    }

    /// The URL as it was given, its password too.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The URL for people: no password.
    pub fn masked(&self) -> String {
        match self.parse() {
            _ if self.is_empty() => String::new(),
            Ok(url) if url.has_host() && url.password().is_none() => self.0.clone(),
            Ok(mut url) if url.has_host() => match url.set_password(Some(MASK)) {
                Ok(()) => url.into(),
                Err(()) => MASK.to_owned(),
            },
            // What is no URL of a service may hold a password all the same.
            _ => MASK.to_owned(),
        }
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for ServiceUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.masked())
    }
}

impl<'de> Deserialize<'de> for ServiceUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from).map(Self)
    }
}
