//! What this host allows: kernel parameters, memory and limits, read from `/proc` and explained.
//!
//! Readers return facts; [`sysctl::Applied`] is the only thing here that changes any, and it puts them
//! back. Every parser takes text, so that it is tested without a kernel; no parser trusts its text.

// `println!` panics where nobody reads, or the disk is full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cpu;
pub mod memory;
pub mod process;
pub mod profile;
pub mod slab;
pub mod sockets;
pub mod sysctl;

use std::path::{Path, PathBuf};

/// A page, as /proc counts memory: x86-64, and arm64 with 4 KiB pages.
const PAGE_BYTES: u64 = 4_096;

/// A fact of the host that cannot be read, or not be understood.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel said no; `/proc/slabinfo`, for one, is for root only.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The file is of another form than expected.
    #[error("{} {problem}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is missing in it.
        problem: &'static str,
    },
}

fn read(path: &Path) -> Result<String, ReadError> {
    std::fs::read_to_string(path).map_err(|error| ReadError::Io {
        path: path.to_owned(),
        error,
    })
}

fn form(path: &Path, problem: &'static str) -> ReadError {
    ReadError::Form {
        path: path.to_owned(),
        problem,
    }
}
