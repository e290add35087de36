//! What every store promises, by the same names against each: `fjall::…`, `cql::…` and `cluster::…`
//! (members aside, which `cql` does not have). What only the distributed one promises is in `cql_only`
//! and `cluster_only`.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod cluster_only;
mod cluster_subject;
mod cql_only;
mod cql_subject;
mod fjall_subject;
mod messages;
mod promises;
mod promises_members;
mod promises_outbox;

use rookery_router::store::Store;

/// A store under test.
trait Subject {
    fn store(&self) -> &dyn Store;
    /// The process dies and starts again: what was not persisted may be gone, the rest is there.
    fn restart(&mut self);
}

macro_rules! promise {
    ([$($attribute:tt)*] $from:ident $promise:ident $subject:expr) => {
        #[test]
        $($attribute)*
        fn $promise() {
            crate::$from::$promise(&mut $subject);
        }
    };
}

macro_rules! run {
    ($attributes:tt $module:ident $subject:expr, $from:ident [$($promise:ident),* $(,)?]) => {
        mod $module {
            $(promise! { $attributes $from $promise $subject })*
        }
    };
}

macro_rules! promises_outbox {
    ($attributes:tt $module:ident $subject:expr) => {
        run! {
            $attributes $module $subject,
            promises_outbox [
                receipts_are_kept_by_device_and_never_go_back,
                ids_and_seqs_are_those_of_the_messages,
            ]
        }
    };
}

macro_rules! promises {
    ($attributes:tt $module:ident $subject:expr) => {
        run! {
            $attributes $module $subject,
            promises [
                what_was_applied_is_read_back,
                what_is_not_there_is_empty,
                a_batch_that_is_applied_again_changes_nothing,
                pages_go_through_ten_day_buckets_and_busy_days,
                pages_keep_to_their_bounds,
                heads_are_the_same_from_memory_and_from_the_store,
                a_replay_from_an_older_head_gives_the_same_rows,
                the_largest_ids_come_back,
                the_largest_payloads_come_back,
            ]
        }
    };
}

promises! { [] fjall crate::fjall_subject::FjallSubject::new() }
promises! {
    [
        #[ignore = "needs services: cargo xtask test --only cluster"]
    ]
    cql crate::cql_subject::CqlSubject::new()
}
promises! {
    [
        #[ignore = "needs services: cargo xtask test --only cluster"]
    ]
    cluster crate::cluster_subject::ClusterSubject::new()
}

promises_outbox! { [] fjall_outbox crate::fjall_subject::FjallSubject::new() }
promises_outbox! {
    [
        #[ignore = "needs services: cargo xtask test --only cluster"]
    ]
    cql_outbox crate::cql_subject::CqlSubject::new()
}
promises_outbox! {
    [
        #[ignore = "needs services: cargo xtask test --only cluster"]
    ]
    cluster_outbox crate::cluster_subject::ClusterSubject::new()
}

run! {
    [] fjall_members crate::fjall_subject::FjallSubject::new(),
    promises_members [
        conversations_are_found_by_key_and_by_member,
        what_is_unread_is_found_by_member,
    ]
}
run! {
    [
        #[ignore = "needs services: cargo xtask test --only cluster"]
    ]
    cluster_members crate::cluster_subject::ClusterSubject::new(),
    promises_members [
        conversations_are_found_by_key_and_by_member,
        what_is_unread_is_found_by_member,
    ]
}
run! {
    [] fjall_expiry crate::fjall_subject::FjallSubject::new(),
    promises_outbox [receipts_run_out_after_thirty_days]
}
