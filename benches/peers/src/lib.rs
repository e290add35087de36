//! What the peers share: the same options, the same TLS, and for the engines that have no WebSocket
//! library of their own the same protocol code.
//!
//! Each peer is a binary of its own: one thread, the same echo, as its library's authors recommend and
//! with the buffers that suit many small connections. Whatever is better here for the peer is chosen.

pub mod buffers;
pub mod echo;
pub mod options;
pub mod tls;

/// The allocator of the product's binary, so that no difference is the allocator's.
pub use tikv_jemallocator::Jemalloc as Allocator;
