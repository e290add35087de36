//! TLS without IO: rustls shakes hands, then a record layer of ours takes over.
//!
//! ```text
//! bytes -> Handshake::feed -> Done(Session) -> Session::open -> plaintext, in place
//!                                              Session::seal <- plaintext
//! ```
//!
//! A TLS 1.3 session is *parked* the moment its handshake ends: traffic secrets and sequence numbers
//! in 88 bytes ([`Session`]), instead of rustls's 3,500. A TLS 1.2 session stays in rustls.
//! It is not a TLS library: no handshake logic, no certificate logic, no cryptography is written
//! here. Invariant: an error ends the session, and the alert that the peer is owed is in `out`
//! before the error is returned. See `docs/adr/0002-tls-in-wire.md`.

mod alert;
mod certificate;
mod config;
mod error;
pub(crate) mod fuzz;
mod gather;
mod handshake;
mod keys;
mod messages;
mod parked;
mod record;
mod resident;
mod rustls_conn;
mod secrets;
mod session;
mod suite;
mod ticket_keys;
mod trust;

#[cfg(test)]
mod tests;

pub use alert::Alert;
pub use config::{
    ClientConfig, ConfigError, MinVersion, Offer, ServerConfig, Tickets, Verify, Warning,
};
pub use error::{Blame, Error};
pub use fuzz::fuzz_open;
use gather::Gather;
pub use handshake::{
    CLIENT_BYTES_MAX, Established, Handshake, PLAIN_HTTP_ANSWER, Progress, SERVER_BYTES_MAX,
};
pub use keys::{KEYS_BYTES_MAX, forget_unused_keys};
pub use parked::IDLE_RECORDS_MAX;
pub use record::FRAGMENT_MAX;
pub use session::{Kind, Opened, Session};
pub use suite::Suite;
pub use ticket_keys::TicketKeys;
pub use trust::TrustAnybody;

/// Which end of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We were connected to.
    Server,
    /// We connected.
    Client,
}
