//! Kernel parameters: read, set for a while, and put back.
//!
//! [`Applied`] remembers what was there and restores it, at the latest when it is dropped; it undoes a
//! half-applied profile itself. The tree is an argument: `/proc/sys`, or a directory in the tests.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::profile::Setting;

/// Where the kernel shows its parameters.
pub const ROOT: &str = "/proc/sys";

/// A parameter that cannot be read or set.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// This kernel has none of that name.
    #[error("this kernel has no parameter {key}")]
    Unknown {
        /// The parameter.
        key: String,
    },
    /// The host's rules do not allow it.
    #[error(
        "may not set {key}: run as root, and in a container with a writable /proc/sys ({error})"
    )]
    Denied {
        /// The parameter.
        key: String,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The kernel does not take the value.
    #[error("cannot {action} {key}: {error}")]
    Io {
        /// "read", "set" or "restore".
        action: &'static str,
        /// The parameter.
        key: String,
        /// What the kernel said.
        error: std::io::Error,
    },
}

/// The current value, words separated by one space.
pub fn read(root: &Path, key: &str) -> Result<String, SysctlError> {
    let text =
        std::fs::read_to_string(path(root, key)).map_err(|error| explain("read", key, error))?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Each setting of a profile with the host's current value, or why there is none.
pub fn compare<'a>(
    root: &'a Path,
    profile: &'a [Setting],
) -> impl Iterator<Item = (&'a Setting, Result<String, SysctlError>)> {
    profile
        .iter()
        .map(|setting| (setting, read(root, &setting.key)))
}

/// Settings in force until this is dropped.
#[derive(Debug)]
pub struct Applied {
    root: PathBuf,
    /// What was there, in the order in which it was changed.
    former: Vec<(String, String)>,
}

impl Applied {
    /// Sets every setting that has not its value already. On an error nothing stays changed.
    pub fn apply(root: &Path, profile: &[Setting]) -> Result<Self, SysctlError> {
        let mut applied = Self {
            root: root.to_owned(),
            former: Vec::new(),
        };
        for setting in profile {
            let former = read(root, &setting.key)?;
            if former == setting.value {
                continue;
            }
            // An early return drops `applied`, which restores.
            write(root, &setting.key, &setting.value)
                .map_err(|error| explain("set", &setting.key, error))?;
            applied.former.push((setting.key.clone(), former));
        }
        Ok(applied)
    }

    /// The parameters that were changed, with their former values.
    pub fn changed(&self) -> &[(String, String)] {
        &self.former
    }

    /// Puts everything back, the last change first, and tells the first failure; the rest is put back
    /// all the same.
    pub fn restore(mut self) -> Result<(), SysctlError> {
        self.put_back()
    }

    fn put_back(&mut self) -> Result<(), SysctlError> {
        let mut answer = Ok(());
        while let Some((key, value)) = self.former.pop() {
            if let Err(error) = write(&self.root, &key, &value) {
                answer = answer.and(Err(explain("restore", &key, error)));
            }
        }
        answer
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            let _ = writeln!(std::io::stderr(), "warning: {error}");
        }
    }
}

/// Dots are slashes. Keys come from a profile, whose parser lets no other slash in.
fn path(root: &Path, key: &str) -> PathBuf {
    root.join(key.replace('/', "_").replace('.', "/"))
}

fn write(root: &Path, key: &str, value: &str) -> std::io::Result<()> {
    // Not `fs::write`: it would make a file where the kernel has none.
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path(root, key))?;
    // With the end of the line: a parameter is emptied by a line, not by nothing. In one piece, since the
    // kernel takes each write for a whole value.
    file.write_all(format!("{value}\n").as_bytes())
}

fn explain(action: &'static str, key: &str, error: std::io::Error) -> SysctlError {
    let key = key.to_owned();
    match error.kind() {
        std::io::ErrorKind::NotFound => SysctlError::Unknown { key },
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            SysctlError::Denied { key, error }
        }
        _ => SysctlError::Io { action, key, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    /// A tree with two parameters.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("net/core")).unwrap();
        std::fs::write(root.path().join("net/core/somaxconn"), "128\n").unwrap();
        std::fs::write(root.path().join("net/core/range"), "32768\t60999\n").unwrap();
        root
    }

    fn values(root: &Path) -> (String, String) {
        (
            read(root, "net.core.somaxconn").unwrap(),
            read(root, "net.core.range").unwrap(),
        )
    }

    const PROFILE: &str = "# r\nnet.core.somaxconn = 4096\n# r\nnet.core.range = 1024 65535\n";

    #[test]
    fn what_is_applied_is_put_back() {
        let root = tree();
        let settings = profile::parse(PROFILE).unwrap();
        let before = values(root.path());
        let applied = Applied::apply(root.path(), &settings).unwrap();
        assert_eq!(values(root.path()), ("4096".into(), "1024 65535".into()));
        assert_eq!(applied.changed().len(), 2);
        applied.restore().unwrap();
        assert_eq!(values(root.path()), before);
        drop(Applied::apply(root.path(), &settings).unwrap());
        assert_eq!(values(root.path()), before);
        assert_eq!(
            compare(root.path(), &settings)
                .filter(|(_, value)| value.is_ok())
                .count(),
            2
        );
    }

    #[test]
    fn a_half_applied_profile_is_undone() {
        let root = tree();
        let settings = profile::parse(&format!("{PROFILE}# r\nnet.core.nothing = 1\n")).unwrap();
        let before = values(root.path());
        let error = Applied::apply(root.path(), &settings).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this kernel has no parameter net.core.nothing"
        );
        assert_eq!(values(root.path()), before);
        assert!(!root.path().join("net/core/nothing").exists());
    }

    #[test]
    fn what_has_its_value_already_is_left_alone() {
        let root = tree();
        let settings = profile::parse("# r\nnet.core.somaxconn = 128\n").unwrap();
        assert!(
            Applied::apply(root.path(), &settings)
                .unwrap()
                .changed()
                .is_empty()
        );
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let error = explain("set", "a.b", std::io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(error.contains("may not set a.b: run as root"), "{error}");
    }
}
