//! The folder of a service below `target/services`, and the files of `tests/services` filled in there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::certificates::Certificates;
use super::service::Service;
use crate::checkout::Checkout;

/// Where a service keeps what is its own.
pub(super) struct Place {
    /// Its configuration and its data.
    pub(super) folder: PathBuf,
    /// The files that configure it, from `tests/services`.
    templates: PathBuf,
    /// Installed jars are below this.
    pub(super) tools: PathBuf,
    /// What it shows to who comes with TLS.
    pub(super) certificates: Certificates,
}

impl Place {
    pub(super) fn of(checkout: &Checkout, service: Service) -> Self {
        Self {
            folder: checkout.services().join(service.name()),
            templates: checkout.root().join("tests/services"),
            tools: checkout.tools(),
            certificates: Certificates::of(checkout),
        }
    }

    /// What it prints.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Which process it is.
    pub(super) fn pid(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// The folder as a word in a configuration file.
    pub(super) fn text(&self) -> String {
        self.folder.display().to_string()
    }

    /// Reads a file of `tests/services`, and fills in what stands in braces.
    pub(super) fn fill(&self, template: &str, values: &[(&str, &str)]) -> Result<String> {
        let path = self.templates.join(template);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        fill(&text, values).with_context(|| path.display().to_string())
    }

    /// The same, written to the folder under the template's own name.
    pub(super) fn write(&self, template: &str, values: &[(&str, &str)]) -> Result<PathBuf> {
        let text = self.fill(template, values)?;
        let name = Path::new(template).file_name().context("no file name")?;
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// `{word}` becomes the word's value; a word without one is an error.
fn fill(text: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut filled = text.to_owned();
    for (word, value) in values {
        filled = filled.replace(&format!("{{{word}}}"), value);
    }
    let left = filled.split('{').skip(1).find_map(|after| {
        let (word, _) = after.split_once('}')?;
        let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_word.then(|| word.to_owned())
    });
    ensure!(left.is_none(), "nothing fills in {left:?}");
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_words_and_names_one_without_a_value() {
        let values = [("port", "1"), ("folder", "/a")];
        let filled = fill("x={port} y={folder}/b {HH:mm}", &values).unwrap();
        assert_eq!(filled, "x=1 y=/a/b {HH:mm}");
        let error = fill("{port} {other_word}", &values).unwrap_err();
        assert!(error.to_string().contains("other_word"), "{error}");
    }
}
