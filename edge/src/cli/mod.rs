//! The command line: verbs and their options, and how a failure is told.
//!
//! Each verb's options stand in a file of its name. Exit codes: 0 done, 1 it failed while it ran, 2
//! the command line or the configuration is wrong.

mod check_config;
pub mod drain;
mod failure;
mod migrate;
pub(crate) mod output;
mod preflight;
pub mod revoke;
pub mod serve;
pub mod token;
pub mod trace;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};

pub use failure::Failure;
pub(crate) use failure::causes;
use output::print;

use crate::config::Environment;

const EXAMPLES: &str = "\
Examples:
  rookery serve                            a server on wss://127.0.0.1:8443
  rookery chat --user 7 --to 8             a chat with user 8, in another terminal
  rookery chat --user 8 --to 7             ... and user 8's side of it
  rookery flock wss://127.0.0.1:8443       a thousand clients, and what they measure
  rookery top                              what a running server does, live
  rookery drain start                      empty it before a restart, and lose nobody's message
  rookery revoke --user 7 --device 2       a lost device is out, at once
  rookery token --user 7 --device 1        a login token for a client of your own
  rookery check-config rookery.toml        what a configuration comes to, or what is wrong with it
  rookery migrate --config cluster.toml    topics and tables, for a server on Kafka and ScyllaDB

Exit codes: 0 done, 1 failed while running, 2 wrong command line or configuration. A reader of the output
that goes away (`| head`) is no failure; output that cannot be written is one, but for what `serve` says.";

/// A connection edge for chat: millions of TLS connections, and no acked message lost.
#[derive(Parser, Debug)]
#[command(name = "rookery", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Serve clients until SIGINT or SIGTERM
    Serve(serve::Args),
    /// Talk to another user from this terminal
    Chat(crate::chat::Args),
    /// Hold many clients against a server, let messages flow, and measure
    Flock(Box<rookery_benches::flock::Args>),
    /// Measure full TLS handshakes per second and core, in memory
    Handshakes(rookery_benches::handshakes::Args),
    /// Mint a login token (JWT) and print it
    Token(token::Args),
    /// Watch a running server: shards, rates, queues, connections
    Top(crate::top::Args),
    /// Empty a running server: tell its clients to reconnect, each at a moment of its own
    Drain(drain::Args),
    /// Take login tokens of a user back on a running server, and close its connections
    Revoke(revoke::Args),
    /// Watch the frames of one user on a running server, without their payloads
    Trace(trace::Args),
    /// Print the effective configuration, or everything that is wrong with it; or try its services
    CheckConfig(check_config::Args),
    /// Make the topics, keyspace and tables that the distributed form needs
    Migrate(migrate::Args),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
}

/// Parses the command line, does what it says, and tells a failure on stderr.
pub fn run() -> ExitCode {
    let done = outlive_full_files().and_then(|()| match Cli::try_parse() {
        Ok(cli) => {
            dispatch(cli.verb, &Environment::of(std::env::vars_os())).map(|()| ExitCode::SUCCESS)
        }
        Err(answer) => tell(&answer),
    });
    done.unwrap_or_else(|failure| failure.report())
}

/// A write beyond `ulimit -f` fails, as one to a full disk does, and is told like that: with a handler the
/// signal no longer ends the process.
fn outlive_full_files() -> Result<(), Failure> {
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())
        .map(drop)
        .map_err(|error| {
            Failure::running(anyhow::Error::new(error).context("cannot listen for SIGXFSZ"))
        })
}

/// What clap answers in place of a verb: help and the version, or what is wrong with the command line.
fn tell(answer: &clap::Error) -> Result<ExitCode, Failure> {
    let written = answer.print().and_then(|()| std::io::stdout().flush());
    if answer.use_stderr() {
        return Ok(ExitCode::from(2));
    }
    output::written(written).map(|()| ExitCode::SUCCESS)
}

fn dispatch(verb: Verb, env: &Environment) -> Result<(), Failure> {
    // `serve` tells it in its log.
    if let Some(note) = env.note().filter(|_| !matches!(verb, Verb::Serve(_))) {
        output::note(format_args!("note: {note}"));
    }
    match verb {
        Verb::Serve(args) => serve::run(&args, env),
        Verb::Chat(args) => crate::chat::run(&args, env),
        Verb::Flock(mut args) => {
            env.check()?;
            args.data = Some(env.data(args.data.as_deref()));
            Ok(rookery_benches::flock::run(&args)?)
        }
        Verb::Handshakes(args) => {
            let report = rookery_benches::handshakes::run(&args)?;
            print(format!("{report}\n").as_bytes())
        }
        Verb::Token(args) => token::run(&args, env),
        Verb::Top(args) => crate::top::run(&args, env),
        Verb::Drain(args) => drain::run(&args, env),
        Verb::Revoke(args) => revoke::run(&args, env),
        Verb::Trace(args) => trace::run(&args, env),
        Verb::CheckConfig(args) => check_config::run(&args, env),
        Verb::Migrate(args) => migrate::run(&args, env),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rookery", &mut script);
            print(&script)
        }
        Verb::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(Failure::running)?;
            print(&page)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_option_has_help() {
        let mut options = 0;
        for verb in Cli::command().get_subcommands() {
            assert!(
                verb.get_about().is_some(),
                "{} has no help",
                verb.get_name()
            );
            for option in verb.get_arguments() {
                assert!(
                    option.get_help().is_some(),
                    "{} {} has no help",
                    verb.get_name(),
                    option.get_id()
                );
                assert!(
                    option.get_env().is_none(),
                    "{}: {} asks the environment itself; `Environment` is what judges it",
                    verb.get_name(),
                    option.get_id()
                );
                options += 1;
            }
        }
        assert!(options >= 20, "only {options} options were looked at");
    }
}
