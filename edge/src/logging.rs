//! Log lines to stderr: text for people or one JSON object per line. What a verb answers goes to
//! stdout and never through here.

use std::io::IsTerminal;

use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use crate::config::{Log, LogFormat};

/// Logging that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `log.filter` is none.
    #[error("log.filter is no filter: {0}")]
    Filter(#[from] ParseError),
    /// It was set up before, in this process.
    #[error("logging is set up twice")]
    Twice,
}

/// Which lines are written; can be changed while they are.
#[derive(Clone)]
pub struct Filter(reload::Handle<Targets, Registry>);

impl Filter {
    /// Another one, in the words of `log.filter`.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let targets = filter
            .parse::<Targets>()
            .map_err(|error| error.to_string())?;
        self.0.reload(targets).map_err(|error| error.to_string())
    }
}

/// Sets up logging for the whole process.
pub fn init(log: &Log) -> Result<Filter, LoggingError> {
    let (targets, handle) = reload::Layer::new(log.filter.parse::<Targets>()?);
    let lines = registry().with(targets);
    // A line that cannot be written is lost. To say so on stderr, where it could not be written, would panic.
    let text = fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let set = match log.format {
        LogFormat::Text => {
            let text = text.with_ansi(std::io::stderr().is_terminal());
            lines.with(text).try_init()
        }
        LogFormat::Json => {
            let json = text.json().flatten_event(true).with_current_span(false);
            lines.with(json).try_init()
        }
    };
    set.map_err(|_| LoggingError::Twice)?;
    Ok(Filter(handle))
}
