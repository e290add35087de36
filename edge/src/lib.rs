//! The edge: what stands above the engine, the protocols and the router and makes a program of them.
//!
//! Configuration, certificates, login verification, logging, the command line and the terminal
//! client. Nothing below this crate knows of it. The binary `rookery` is `cli::run` and an allocator.

// `println!` panics where nobody reads, or the disk is full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod admission;
pub mod auth;
pub mod certificate;
pub mod chat;
pub mod cli;
pub mod config;
pub mod logging;
mod pulse;
mod regular_file;
pub mod serve;
pub mod services;
pub mod session;
pub mod top;
mod unix_time;
