//! Logins: tokens (JWT) verified and minted, the keys for both, and resume tokens.
//!
//! A token is verified with nothing but a key, its bytes and the time. A key is bound to one
//! algorithm when it is read; the token's header only selects a key and must then name the key's
//! algorithm, so that neither `none` nor a public key taken for an HMAC secret gets anywhere.

mod claims;
mod error;
mod jwks;
mod keys;
mod members;
mod mint;
mod pem;
pub mod resume;
mod secret;
mod verify;

pub use error::{AuthError, KeyError};
pub use jwks::load as load_jwks;
pub use keys::{DevKey, verifier};
pub use mint::{MintError, Minter};
pub(crate) use secret::{exposure, write_private};
pub use verify::{Login, Rules, TOKEN_BYTES_MAX, USER_ID_MAX, Verifier, VerifyingKey};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_claims;
