//! The kernel: every `unsafe` block of the project stands in one of these files.
#![allow(unsafe_code)]

pub(crate) mod eventfd;
pub(crate) mod rlimit;
