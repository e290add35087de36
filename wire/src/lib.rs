//! Sans-IO protocol machines of Rookery: bytes, time and randomness come in as arguments, events
//! and bytes to send come out. No sockets, no clocks, no threads, no hand-written `unsafe`.
//!
//! * [`tls`]: TLS around rustls and the parked record layer.
//! * [`ws`]: WebSocket (RFC 6455): the upgrade, the decoder, the encoder.
//! * [`link`]: TLS, upgrade and WebSocket composed into one byte stream.
//! * [`proto`]: the binary protocol v1 that travels inside WebSocket messages.
//! * [`proxy_protocol`]: what a balancer says about a client, in front of all that.

#[cfg(feature = "crypto")]
pub mod link;
pub mod proto;
pub mod proxy_protocol;
#[cfg(feature = "crypto")]
pub mod tls;
pub mod ws;
