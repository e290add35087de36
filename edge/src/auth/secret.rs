//! Key files: read within a bound, made with a mode that lets only their owner read; and what makes a
//! secret another one than was meant.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{KeyError, pem};
use crate::regular_file;

/// No key is larger; a file that is, is something else.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 10;
/// The length of the secrets that are made here.
const SECRET_BYTES: usize = 32;

/// A key file's bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    let io = |error| KeyError::Io {
        action: "read",
        path: path.to_owned(),
        error,
    };
    let bytes = regular_file::read(path, FILE_BYTES_MAX).map_err(io)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(KeyError::Content {
            path: path.to_owned(),
            problem: "is larger than 64 KiB and so no key",
        });
    }
    if bytes.is_empty() {
        return Err(KeyError::Content {
            path: path.to_owned(),
            problem: "is empty",
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

/// An HMAC secret shorter than its hash's output is refused (RFC 7518, 3.2).
const HS256_BYTES_MIN: usize = 32;

/// Whether a file's bytes can be an HS256 secret, for the one who signs as for the one who verifies.
pub(super) fn check_hs256(bytes: &[u8]) -> Result<(), &'static str> {
    let text = bytes.trim_ascii_end();
    let is_text = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let secret = if is_text { text } else { bytes };
    if pem::is_pem(bytes) {
        Err(
            "holds a PEM block, and the algorithm HS256 wants a secret; name the algorithm of the key",
        )
    } else if secret.len() < HS256_BYTES_MIN {
        Err("is shorter than the 32 bytes that HS256 asks of a secret")
    } else if secret.len() < bytes.len() {
        // Random bytes may end like this; a text that does was written by an editor or `echo`.
        Err(
            "holds a text that ends with a newline or a space, which would be part of the secret; \
             write it without (`printf %s SECRET > FILE`)",
        )
    } else {
        Ok(())
    }
}

/// What may make an HS256 secret another one than the issuer's: it is text that issuers like to decode.
pub(super) fn doubt_hs256(bytes: &[u8]) -> Option<&'static str> {
    let is_hex = bytes.iter().all(u8::is_ascii_hexdigit);
    let is_base64 = || STANDARD.decode(bytes).is_ok() || URL_SAFE_NO_PAD.decode(bytes).is_ok();
    if is_hex {
        Some(
            "looks like hexadecimal digits and is used as it stands; where the issuer decodes it first, \
             its tokens do not verify: write the bytes themselves (`xxd -r -p`)",
        )
    } else if is_base64() {
        Some(
            "looks like base64 and is used as it stands; where the issuer decodes it first, its tokens \
             do not verify: write the bytes themselves (`base64 -d`)",
        )
    } else {
        None
    }
}

/// That others than its owner and its group may read or change a file, and what to do.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o006 != 0).then(|| {
        let path = path.display();
        format!("{path} holds a secret that everybody on this host can get at (mode {mode:04o}): chmod 600 {path}")
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

/// Writes a new file of mode 0600, whole or not at all, in a directory of mode 0700; durable when this returns.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}
