//! Who is let in, how fast, and what is done about the others.
//!
//! [`Gate`] is one for the host: it counts the connections, weighs memory, keeps the limits per source
//! address, and says yes or why not. [`Lobby`] and [`Pace`] are one for each shard: what has to do with
//! handshakes waits in the lobby, and the pace says how much of a turn may be spent on it, so that
//! connections which are established do not notice a storm. None of it does I/O or reads a clock; the
//! sessions and `serve` do.

mod addresses;
mod arrivals;
mod counters;
mod gate;
mod lobby;
mod memory;
mod pace;
mod rates;
mod seat;
mod window;
mod worst_case;

pub use addresses::LIMIT_MAX as CONNECTIONS_PER_ADDRESS_MAX;
pub use arrivals::Arrivals;
pub(crate) use counters::add_one;
pub use counters::{Counters, Since};
pub use gate::{Gate, Limits, Refusal};
pub use lobby::{Class, Lobby};
pub use memory::{Sample, default_max_bytes};
pub use pace::Pace;
pub use rates::LIMIT_MAX as HANDSHAKES_PER_ADDRESS_MAX;
pub use seat::Seat;
pub use window::Window;
pub use worst_case::{Bounded, WorstCase};

/// Refused clients that wait to be told so, per shard. Above it they are cut off without TLS.
pub const REFUSED_WAITING_MAX: usize = 256;

/// So long may a refused client wait for its answer before it is cut off without one, nanoseconds:
/// a browser shows a spinner for about as long without complaint.
pub const REFUSED_WAIT_NS: u64 = 1_000_000_000;

/// What a lobby may hold before accepting slows down: a few turns' work, so that a storm waits in the
/// kernel's backlog, which costs 1 KB a connection less than here.
pub const LOBBY_SHORT: usize = 64;
