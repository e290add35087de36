//! What the driver's errors come to: a service that is away, for which the caller tries again, or a
//! failure that trying again would only repeat.

use std::fmt::Display;

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};

use crate::store::StoreError;

/// The name in [`StoreError::Away`].
pub(super) const SERVICE: &str = "cql";

pub(super) fn away(reason: impl Display) -> StoreError {
    StoreError::Away {
        service: SERVICE,
        reason: reason.to_string(),
    }
}

pub(super) fn failed(doing: &'static str, reason: impl Display) -> StoreError {
    StoreError::Failed {
        doing,
        reason: reason.to_string(),
    }
}

/// A row without its shape.
pub(super) fn damaged(table: &'static str, key: &[u64]) -> StoreError {
    let key = key.iter().map(|part| format!("{part:016x}")).collect();
    StoreError::Damaged { table, key }
}

pub(super) fn of_execution(doing: &'static str, error: &ExecutionError) -> StoreError {
    let lasting = match error {
        ExecutionError::BadQuery(_) | ExecutionError::UseKeyspaceError(_) => true,
        ExecutionError::LastAttemptError(attempt) => is_lasting(attempt),
        ExecutionError::PrepareError(error) => prepare_is_lasting(error),
        // No node, no connection, no time, no agreement: all pass.
        _ => false,
    };
    if lasting {
        failed(doing, error)
    } else {
        away(format_args!("{doing}: {error}"))
    }
}

fn prepare_is_lasting(error: &PrepareError) -> bool {
    match error {
        PrepareError::ConnectionPoolError(_) => false,
        PrepareError::AllAttemptsFailed { first_attempt } => is_lasting(first_attempt),
        _ => true,
    }
}

/// Whether an attempt failed by what was asked rather than by the state of the cluster.
fn is_lasting(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::BrokenConnectionError(_)
        | RequestAttemptError::UnableToAllocStreamId => false,
        RequestAttemptError::DbError(error, _) => matches!(
            error,
            DbError::SyntaxError
                | DbError::Invalid
                | DbError::AlreadyExists { .. }
                | DbError::FunctionFailure { .. }
                | DbError::AuthenticationError
                | DbError::Unauthorized
                | DbError::ConfigError
                | DbError::ProtocolError
        ),
        _ => true,
    }
}

/// Whether a session was refused for its role or password.
pub(super) fn is_credentials(error: &NewSessionError) -> bool {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken {
            last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
        },
    )) = error
    else {
        return false;
    };
    matches!(
        error.get_error(),
        ConnectionSetupRequestErrorKind::DbError(
            DbError::AuthenticationError | DbError::Unauthorized,
            _
        ) | ConnectionSetupRequestErrorKind::MissingAuthentication
    )
}
