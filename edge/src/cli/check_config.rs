//! `rookery check-config`: what a configuration comes to, or everything that is wrong with it; and with
//! `--connect`, whether its services are as they must be.

use std::path::PathBuf;

use super::{Failure, preflight};
use crate::config::{Config, Environment, LogKind, Overrides};
use crate::services::{self, Checked, Services};

const EXAMPLES: &str = "\
Examples:
  rookery check-config /etc/rookery.toml && systemctl restart rookery
  rookery check-config                     the defaults and the environment only
  rookery check-config cluster.toml --connect

Prints TOML that says the same, with every key. Nothing in it is secret: keys are named by file,
passwords masked. The files of configured keys, certificates and passwords are read too.

With --connect it tries Kafka, CQL, PostgreSQL and Redis instead, all at once, and prints for each that
it is well, or what is wrong and what to do.

Exit code 1: a service is not as it must be (warnings do not count). Exit code 2: the configuration is
wrong.";

/// The options of `check-config`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration file, TOML [env: ROOKERY_CONFIG]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Try the services that the configuration names
    #[arg(long)]
    connect: bool,
}

pub(super) fn run(args: &Args, env: &Environment) -> Result<(), Failure> {
    let config = Config::load(args.file.as_deref(), env, &Overrides::default())?;
    let wrong = preflight::wrong(&config);
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong.join("\n")));
    }
    let certificate = preflight::certificate_warning(&config);
    for warning in preflight::warnings(&config).iter().chain(&certificate) {
        super::output::note(format_args!("warning: {warning}"));
    }
    for key in config.unused() {
        super::output::note(format_args!(
            "note: `{key}` is set and not used: {}",
            why_unused(&config)
        ));
    }
    if args.connect {
        return connect(&config);
    }
    super::output::print(config.to_toml().as_bytes())
}

/// For a note on a key that changes nothing.
pub(super) fn why_unused(config: &Config) -> &'static str {
    match config.log.kind {
        LogKind::Embedded => "`log.kind` is \"embedded\"",
        LogKind::Kafka => "`log.kind` is \"kafka\"",
    }
}

fn connect(config: &Config) -> Result<(), Failure> {
    if config.log.kind == LogKind::Embedded {
        return super::output::print(b"`log.kind` is \"embedded\": there is no service to try\n");
    }
    let checked = services::check(&Services::of(config)?);
    let lines: Vec<String> = checked.iter().flat_map(Checked::lines).collect();
    super::output::print(format!("{}\n", lines.join("\n")).as_bytes())?;
    match checked.iter().map(Checked::fatal).sum::<usize>() {
        0 => Ok(()),
        1 => Err(Failure::running(anyhow::anyhow!(
            "1 thing is wrong, see above"
        ))),
        many => Err(Failure::running(anyhow::anyhow!(
            "{many} things are wrong, see above"
        ))),
    }
}
