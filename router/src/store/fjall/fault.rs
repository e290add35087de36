//! The library's errors as sentences for an operator. Its own `Display` is Rust's debug form.

use std::io;

use ::fjall::{Error, LsmError};

/// What the operator can do about damage; the same as for a store that is gone.
const DAMAGED: &str = "; restore a backup of the store, or move it away: where the log reaches back to its \
                       first record, the store is made anew from it";

/// What went wrong, and whose turn it is.
pub(super) fn sentence(error: &Error) -> String {
    match error {
        Error::Io(error) => of_system(error),
        Error::Storage(error) => of_tables(error),
        Error::JournalRecovery(_) | Error::InvalidTrailer | Error::InvalidTag(_) => {
            format!("its journal is damaged{DAMAGED}")
        }
        Error::Decompress(_) => format!("its journal cannot be decompressed{DAMAGED}"),
        Error::InvalidVersion(_) => of_format("its files"),
        Error::Poisoned => {
            "an earlier write failed, and it takes no more until it is opened again".into()
        }
        Error::Locked => "another process has it open".into(),
        Error::KeyspaceDeleted => "a table of it was deleted".into(),
        Error::Unrecoverable => format!("files of it are missing or damaged{DAMAGED}"),
        // Later versions of the library may have more.
        _ => "it failed in a way that this program does not know".into(),
    }
}

fn of_tables(error: &LsmError) -> String {
    use LsmError as Error;
    match error {
        Error::Io(error) => of_system(error),
        Error::ChecksumMismatch { .. } => format!("a table of it has a wrong checksum{DAMAGED}"),
        Error::Decompress(_) => format!("a table of it cannot be decompressed{DAMAGED}"),
        Error::InvalidVersion(_) => of_format("a table of it"),
        Error::Unrecoverable => format!("tables of it are missing or damaged{DAMAGED}"),
        Error::InvalidTag(_) | Error::InvalidTrailer | Error::InvalidHeader(_) | Error::Utf8(_) => {
            format!("a table of it is damaged{DAMAGED}")
        }
        _ => "a table of it failed in a way that this program does not know".into(),
    }
}

fn of_format(what: &str) -> String {
    format!("{what} are of a format that this program does not read, or damaged{DAMAGED}")
}

/// The kernel's words, and what helps where they do not say it.
fn of_system(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        io::ErrorKind::PermissionDenied => "; it must belong to the user that this runs as",
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => DAMAGED,
        _ if error.raw_os_error() == Some(libc::EMFILE) => "; raise the limit of open files",
        _ => "",
    };
    format!("{error}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_shows_its_rust() {
        let os = |code| io::Error::from_raw_os_error(code);
        let tables = [
            LsmError::Io(os(libc::ENOSPC)),
            LsmError::Io(io::ErrorKind::InvalidData.into()),
            LsmError::Decompress(::fjall::CompressionType::None),
            LsmError::InvalidVersion(9),
            LsmError::Unrecoverable,
            LsmError::InvalidTag(("Kind", 7)),
            LsmError::InvalidTrailer,
            LsmError::InvalidHeader("Block"),
        ];
        let system = [
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EACCES,
            libc::EROFS,
            libc::EMFILE,
            libc::EEXIST,
            libc::EIO,
        ];
        let own = [
            Error::InvalidVersion(None),
            Error::Decompress(::fjall::CompressionType::None),
            Error::InvalidTrailer,
            Error::InvalidTag(("Kind", 7)),
            Error::Poisoned,
            Error::KeyspaceDeleted,
            Error::Locked,
            Error::Unrecoverable,
        ];
        let all = tables
            .into_iter()
            .map(Error::Storage)
            .chain(system.map(|code| Error::Io(os(code))))
            .chain(own);
        let mut told = 0;
        for error in all {
            let sentence = sentence(&error);
            for rust in ["Error", "Os {", "Io(", "Invalid", "Kind", "None"] {
                assert!(!sentence.contains(rust), "{sentence}");
            }
            assert!(sentence.contains(' '), "{sentence}");
            told += 1;
        }
        assert_eq!(told, 23);
        let full = sentence(&Error::Io(os(libc::ENOSPC)));
        assert_eq!(
            full,
            "No space left on device (os error 28); free some space"
        );
    }
}
