//! `rookery migrate`: makes the topics, the keyspace and the tables of the distributed form, and adds
//! partitions.

use std::path::PathBuf;

use super::Failure;
use crate::config::{Config, Environment, LogKind, Overrides};
use crate::services::{self, Services, Step};

const EXAMPLES: &str = "\
Examples:
  rookery migrate --config cluster.toml --dry-run   what would be made
  rookery migrate --config cluster.toml             makes it; does nothing the second time
  rookery check-config cluster.toml --connect       and is all as it must be?
  rookery migrate --config cluster.toml --partitions 24    more partitions, for more servers

Needs a user that may create topics, keyspaces and tables; `serve` does not. Run it before a new
version of `serve` is started: the old one goes on with the new schema. What exists is never dropped
or changed, but for partitions that are asked for: conversations that are opened from then on use
them, the others stay where they are, and running servers hear of it by themselves.";

/// The options of `migrate`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration file, TOML [env: ROOKERY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Give the topic of messages so many partitions, more than it has
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: Option<u32>,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref(), env, &Overrides::default())?;
    if config.log.kind == LogKind::Embedded {
        return Err(Failure::usage(
            "`log.kind` is \"embedded\": the server makes its own files, there is nothing to migrate",
        ));
    }
    crate::logging::init(&config.log)?;
    let services = Services::of(&config)?;
    let line = |word: &str, step: &Step| {
        let text = format!("{word} {:<9} {}\n", step.service, step.what);
        super::output::print(text.as_bytes())
    };
    if args.dry_run {
        let steps = services::plan(&services, args.partitions)?;
        for step in &steps {
            line("would make", step)?;
        }
        return summary(steps.len());
    }
    let mut printed = Ok(());
    let made = services::migrate(&services, args.partitions, |step| {
        if printed.is_ok() {
            printed = line("made", step);
        }
    })?;
    printed?;
    summary(made)
}

fn summary(steps: usize) -> Result<(), Failure> {
    match steps {
        0 => super::output::print(b"everything is there already\n"),
        _ => Ok(()),
    }
}
