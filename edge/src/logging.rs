//! Log lines to stderr: text for people or one JSON object per line. What a verb answers goes to
//! stdout and never through here.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Logging that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `log.filter` is none.
    #[error("log.filter is no filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It was set up before, in this process.
    #[error("logging is set up twice")]
    Twice,
}

/// Sets up logging for the whole process.
pub fn init(log: &Log) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    set.map_err(|_| LoggingError::Twice)
}
