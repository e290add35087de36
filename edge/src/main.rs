//! The `rookery` binary: an allocator that gives memory back, and the command line.

use std::process::ExitCode;

// Millions of short-lived buffers of many sizes: jemalloc keeps them apart, and its background
// threads return what is free to the kernel while the process is idle.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    rookery_edge::cli::run()
}
