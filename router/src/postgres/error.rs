//! What an error of the driver means to the router: whether it passes by itself, or is a defect.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;

use super::SERVICE;
use crate::store::StoreError;

/// Of a call on a connection.
pub(super) fn of_call(doing: &'static str, error: &Error) -> StoreError {
    let reason = sentence(error);
    match error.code() {
        Some(code) if !passes(code.code()) => StoreError::Failed { doing, reason },
        _ => away(reason),
    }
}

/// Of asking for a connection.
pub(super) fn of_pool(error: &PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => away(sentence(error)),
        other => away(other.to_string()),
    }
}

/// The service cannot be reached or did not answer.
pub(super) fn away(reason: impl Into<String>) -> StoreError {
    StoreError::Away {
        service: SERVICE,
        reason: reason.into(),
    }
}

/// Whether a SQLSTATE tells of something that passes without a change of ours: nothing was written,
/// and the same call may succeed later (<https://www.postgresql.org/docs/15/errcodes-appendix.html>).
fn passes(code: &str) -> bool {
    // Connection exceptions, credentials (they may be rotated), transactions rolled back, resources,
    // the operator intervened, the system failed.
    const CLASSES: [&str; 6] = ["08", "28", "40", "53", "57", "58"];
    // A standby that was a primary or will be one, a database that is restored, a lock.
    const CODES: [&str; 3] = ["25006", "3D000", "55P03"];
    CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code)
}

/// One line that says what happened.
pub(super) fn sentence(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !sentence.contains(&cause_said) {
            sentence = format!("{sentence}: {cause_said}");
        }
        source = cause.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn restarts_and_failovers_pass_and_defects_do_not() {
        for code in [
            "57P01", "57014", "08006", "53300", "40P01", "25006", "28P01",
        ] {
            assert!(passes(code), "{code}");
        }
        for code in ["42P01", "23505", "22003", "25001"] {
            assert!(!passes(code), "{code}");
        }
    }
}
