//! The binary protocol v1: one frame is a version byte, a kind byte and an rkyv archive.

mod messages;

pub use messages::*;
