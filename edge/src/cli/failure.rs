//! A failure, told to a person: what went wrong, and who can do something about it.

use std::fmt::Display;
use std::process::ExitCode;

/// Why a verb failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line or the configuration is wrong; whoever wrote it changes it. Exit code 2.
    Usage(String),
    /// It failed while it ran. Exit code 1.
    Running(anyhow::Error),
}

impl Failure {
    /// The command line or the configuration is wrong.
    pub fn usage(what: impl Display) -> Self {
        Self::Usage(what.to_string())
    }

    /// It failed while it ran.
    pub fn running(error: impl Into<anyhow::Error>) -> Self {
        Self::Running(error.into())
    }

    /// Tells it on stderr.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(what) => {
                for line in what.lines() {
                    eprintln!("error: {line}");
                }
                ExitCode::from(2)
            }
            Self::Running(error) => {
                // {:#} gives the chain of causes on one line, without types or a backtrace.
                eprintln!("error: {error:#}");
                ExitCode::from(1)
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Running(error)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<crate::auth::KeyError> for Failure {
    fn from(error: crate::auth::KeyError) -> Self {
        Self::usage(error)
    }
}

impl From<crate::certificate::CertificateError> for Failure {
    fn from(error: crate::certificate::CertificateError) -> Self {
        Self::usage(error)
    }
}

impl From<crate::services::FileError> for Failure {
    fn from(error: crate::services::FileError) -> Self {
        Self::usage(error)
    }
}

impl From<crate::logging::LoggingError> for Failure {
    fn from(error: crate::logging::LoggingError) -> Self {
        Self::usage(error)
    }
}
