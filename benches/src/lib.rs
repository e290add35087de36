//! What measures Rookery: the load generator [`flock`], whose clients live on the same engine as the
//! server, the [`report`] that is made of a run, and [`handshakes`], what TLS alone allows.

// `println!` panics where nobody reads, or the disk is full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod flock;
pub mod handshakes;
pub mod report;
