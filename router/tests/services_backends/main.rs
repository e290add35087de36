//! PostgreSQL and Redis as the router uses them, against real ones: found by `ROOKERY_TEST_POSTGRES`
//! and `ROOKERY_TEST_REDIS`. Every test has a schema, or a prefix of keys, of its own; what has to be
//! killed or emptied is a server of the test's own, or a proxy in front of the shared one.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]
#![allow(
    clippy::disallowed_methods,
    reason = "how long something was waited for is what is tested"
)]

mod claims;
mod claims_lost;
mod directory;
mod postgres;
mod postgres_faults;
mod support;
