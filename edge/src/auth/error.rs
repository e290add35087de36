//! What can be wrong with a token (the client is to blame) and with a key (the operator is).

use std::path::PathBuf;

/// Why a token is refused. The words go to the client: they tell nothing about the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Empty, too long, or not three base64url parts with a JSON header and JSON claims.
    #[error("the token is not a JWT in compact form: {0}")]
    Malformed(&'static str),
    /// A parameter of the header is missing or is not what it must be.
    #[error("the token's header parameter `{parameter}` {found}; it must be {wanted}")]
    Header {
        /// Its name.
        parameter: &'static str,
        /// What it is.
        found: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The header names `none`, an algorithm that is not offered, or not that of the key.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The header's `kid` names no key, or there are several keys and it names none.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The same, and it may be among those that are to be fetched.
    #[error("the token's key is not here yet: the login keys are being fetched")]
    KeyAwaited,
    /// Forged or damaged.
    #[error("the token's signature does not verify")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// An operator took it back.
    #[error("the token was revoked")]
    Revoked,
    /// A claim is missing or is not what it must be.
    #[error("the token's claim `{claim}` {found}; it must be {wanted}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What it is.
        found: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system said no.
    #[error("cannot {action} key file {}: {error}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The file holds something else.
    #[error("key file {} {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}
