//! The kernel: every `unsafe` block of the project stands in one of these files.
#![allow(unsafe_code)]

mod accepts;
mod buffers;
pub(crate) mod clock;
pub(crate) mod eventfd;
pub(crate) mod listen;
pub(crate) mod probe;
pub(crate) mod ring;
pub(crate) mod rlimit;
mod sockaddr;
mod tcp_info;
pub mod uring;
