//! Logins: tokens (JWT) verified and minted, the keys for both, and resume tokens.
//!
//! A token is verified with nothing but a key, its bytes and the time. A key is bound to one
//! algorithm when it is read; the token's header only selects a key and must then name the key's
//! algorithm, so that neither `none` nor a public key taken for an HMAC secret gets anywhere.

mod claims;
mod error;
mod fetch;
mod jwks;
mod jwks_url;
mod keys;
mod members;
mod mint;
mod pem;
mod remote;
pub mod resume;
mod revocation;
mod revocations;
mod secret;
mod verify;

pub use error::{AuthError, KeyError};
pub(crate) use fetch::fetch;
pub use jwks::load as load_jwks;
pub(crate) use jwks::parse as parse_jwks;
pub use jwks_url::JwksUrl;
pub use keys::{DevKey, LoginKeys};
pub use mint::{MintError, Minter};
pub use remote::{FetchedSet, Wanted};
pub(crate) use remote::{keep, kept};
pub use revocation::{Credential, Hits, Proof, Revocation, Revoked, TokenId};
pub use revocations::{JTI_BYTES_MAX, Revocations, RevokeError};
pub(crate) use secret::{exposure, write_private};
pub use verify::{Login, Rules, TOKEN_BYTES_MAX, USER_ID_MAX, Verifier, VerifyingKey};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_claims;
