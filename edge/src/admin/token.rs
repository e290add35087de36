//! What a request over loopback must bring: `Authorization: Bearer` and the contents of a file that only
//! the server's user can read. A Unix socket needs none: its mode says who may connect.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::{constant_time, rand};

/// A token is up to this many bytes.
const TOKEN_BYTES_MAX: u64 = 1_024;
/// And at least so many: shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// A file that holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read, or made.
    #[error("the admin token {}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too short, too long, or not of printable characters.
    #[error(
        "the admin token {}: 16 to 1024 printable ASCII characters are a token (openssl rand -hex 32 makes one)",
        .path.display()
    )]
    Contents {
        /// Which.
        path: PathBuf,
    },
}

/// See the module.
pub(super) struct Token(String);

impl Token {
    /// Of a file that the operator named.
    pub(super) fn read(path: &Path) -> Result<Self, TokenError> {
        let file = |source| TokenError::File {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let opened = std::fs::File::open(path).map_err(file)?;
        opened
            .take(TOKEN_BYTES_MAX + 2)
            .read_to_string(&mut text)
            .map_err(file)?;
        let token = text.trim_end_matches(['\r', '\n']);
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX as usize).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Contents {
                path: path.to_owned(),
            });
        }
        Ok(Self(token.to_owned()))
    }

    /// The one in the data directory, which is made where there is none.
    pub(super) fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        let file = |source| TokenError::File {
            path: path.to_owned(),
            source,
        };
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(mut made) => {
                let mut bytes = [0; 32];
                rand::fill(&mut bytes).map_err(|_| file(std::io::Error::other("no randomness")))?;
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                made.write_all(format!("{text}\n").as_bytes())
                    .map_err(file)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(file(error)),
        }
        Self::read(path)
    }

    /// Whether an `Authorization` header proves it. Takes as long for a near miss as for a far one.
    pub(super) fn is_proven_by(&self, header: &[u8]) -> bool {
        let Some((scheme, given)) = header.split_at_checked(b"Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ")
            && constant_time::verify_slices_are_equal(given, self.0.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_must_be_given_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let token = Token::read_or_make(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.trim_end();
        assert_eq!((text.len(), &token.0[..]), (64, text));
        assert_eq!(Token::read_or_make(&path).unwrap().0, text);
        for (header, proven) in [
            (format!("Bearer {text}"), true),
            (format!("bearer {text}"), true),
            (format!("Bearer {text} "), false),
            (format!("Bearer {}", &text[1..]), false),
            (format!("Basic {text}"), false),
            ("Bearer ".into(), false),
            (String::new(), false),
            (text.to_owned(), false),
        ] {
            assert_eq!(token.is_proven_by(header.as_bytes()), proven, "{header}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::File { .. })));
        for text in [
            "",
            "short",
            &"x".repeat(1_025),
            "sixteen bytes with a space",
            "sixteen\u{e9}characters",
        ] {
            std::fs::write(&path, text).unwrap();
            let read = Token::read(&path);
            assert!(matches!(read, Err(TokenError::Contents { .. })), "{text:?}");
        }
        std::fs::write(&path, "0123456789abcdef\r\n").unwrap();
        assert_eq!(Token::read(&path).unwrap().0, "0123456789abcdef");
    }
}
