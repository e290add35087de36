//! Key files: read within a bound, made with a mode that lets only their owner read.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::KeyError;

/// No key is larger; a file that is, is something else.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// The length of the secrets that are made here.
const SECRET_BYTES: usize = 32;

/// A key file's bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let io = |error| KeyError::Io {
        action: "read",
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyError::Content {
            path: path.to_owned(),
            problem: "is larger than 64 KiB and so no key",
        });
    }
    Ok(bytes)
}

/// The secret in a file of our own.
pub(super) fn open(path: &Path) -> Result<Vec<u8>, KeyError> {
    let bytes = read(path)?;
    if bytes.len() == SECRET_BYTES {
        return Ok(bytes);
    }
    Err(KeyError::Content {
        path: path.to_owned(),
        problem: "does not hold 32 bytes, as it was made; remove it to have a new one made",
    })
}

/// The same, made where there is none. True: made now.
pub(super) fn open_or_make(path: &Path) -> Result<(Vec<u8>, bool), KeyError> {
    match open(path) {
        Err(KeyError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {
            make(path).map(|secret| (secret, true))
        }
        opened => opened.map(|secret| (secret, false)),
    }
}

fn make(path: &Path) -> Result<Vec<u8>, KeyError> {
    let mut secret = vec![0; SECRET_BYTES];
    let io = |error| KeyError::Io {
        action: "write",
        path: path.to_owned(),
        error,
    };
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| io(std::io::Error::other("the system gives no random bytes")))?;
    write_private(path, &secret).map_err(io)?;
    Ok(secret)
}

/// Writes a new file of mode 0600, whole or not at all, in a directory of mode 0700.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
