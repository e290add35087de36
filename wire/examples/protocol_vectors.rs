//! Prints the golden vectors: `cargo run -p rookery-wire --example protocol_vectors`, to be kept as
//! `docs/protocol-vectors.json`. A change of that file is a change of the protocol.

#![allow(clippy::unwrap_used, dead_code, missing_docs)]

#[path = "../tests/vectors/mod.rs"]
mod vectors;

fn main() {
    println!("{:#}", vectors::document());
}
