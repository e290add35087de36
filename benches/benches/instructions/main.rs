//! The pure paths of a message, one at a time, for callgrind to count: `cargo xtask instructions`.
//!
//! Callgrind counts while the function [`measured`] runs and at no other time. A path makes its input
//! outside of it, so that a peer's work and what is set up once are not counted. Instructions, not
//! time: the same program on the same (emulated) processor executes the same number of them.

mod cpu;
mod ends;
mod paths;

use std::hint::black_box;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

use paths::Path;

// As in the server: what a path allocates is counted in the server's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Calls that are not counted: what is allocated or looked up once.
const WARM_UP: u32 = 8;
/// Calls that are counted.
const COUNTED: u32 = 256;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        ["cpu"] => println!("{}", cpu::features()),
        ["list"] => paths::NAMES.iter().for_each(|name| println!("{name}")),
        ["run", name] => println!("{}", count(name)?),
        _ => bail!(
            "counted under callgrind by `cargo xtask instructions`; arguments: cpu, list, run NAME"
        ),
    }
    Ok(())
}

/// Walks a path; how many operations were counted.
fn count(name: &str) -> anyhow::Result<u32> {
    let mut path = paths::prepare(name)?.with_context(|| format!("no path is called {name}"))?;
    for _ in 0..WARM_UP {
        path.check(|run, input| run(input))?;
    }
    for _ in 0..COUNTED {
        path.check(measured)?;
    }
    Ok(COUNTED / path.calls)
}

/// What callgrind counts. It must stay a function of its own, with this name.
#[inline(never)]
fn measured(run: &mut paths::Run, input: &mut [u8]) -> anyhow::Result<usize> {
    black_box(run)(black_box(input))
}

impl Path {
    /// One call, by way of `call`. It must bring as many bytes as the path promises: one that fails, or
    /// that the compiler has made away with, counts nothing.
    fn check(
        &mut self,
        call: impl FnOnce(&mut paths::Run, &mut [u8]) -> anyhow::Result<usize>,
    ) -> anyhow::Result<()> {
        let mut input = (self.input)()?;
        let bytes = call(&mut self.run, &mut input)?;
        ensure!(
            self.bytes.contains(&bytes),
            "the path brought {bytes} bytes instead of {:?}",
            self.bytes
        );
        Ok(())
    }
}
