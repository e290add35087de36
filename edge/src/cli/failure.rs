//! A failure, told to a person: what went wrong, and who can do something about it.

use std::fmt::Display;
use std::process::ExitCode;

use super::output;

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
                    output::note(format_args!("error: {line}"));
                }
                ExitCode::from(2)
            }
            Self::Running(error) => {
                output::note(format_args!("error: {}", causes(error)));
                ExitCode::from(1)
            }
        }
    }
}

/// An error and its causes on one line, without types or a backtrace; each once. Many errors say their cause
/// in their own words too, and then it would be told twice.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    error
        .chain()
        .fold(String::new(), |told, cause| match cause.to_string() {
            cause if told.is_empty() => cause,
            cause if told.ends_with(&cause) => told,
            cause => format!("{told}: {cause}"),
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Told {
        #[error("cannot listen: {0}")]
        Twice(#[source] std::io::Error),
        #[error(transparent)]
        Same(#[from] std::io::Error),
        #[error("cannot listen")]
        Once(#[source] std::io::Error),
    }

    #[test]
    fn each_cause_is_told_once() {
        let cause = || std::io::Error::other("in use");
        for (error, expected) in [
            (Told::Twice(cause()), "serve: cannot listen: in use"),
            (Told::Once(cause()), "serve: cannot listen: in use"),
            (Told::Same(cause()), "serve: in use"),
        ] {
            assert_eq!(
                causes(&anyhow::Error::new(error).context("serve")),
                expected
            );
        }
        let twice = anyhow::anyhow!("in use").context("in use");
        assert_eq!(causes(&twice), "in use");
    }
}
