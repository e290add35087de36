//! What every store promises, and what a test needs to ask it of one: `store_promises.rs` asks the embedded
//! store, `services_store` the distributed one, by the same names.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod messages;
pub(crate) mod promises;
pub(crate) mod promises_members;
pub(crate) mod promises_outbox;

use rookery_router::store::Store;

/// A store under test.
pub(crate) trait Subject {
    fn store(&self) -> &dyn Store;
    /// The process dies and starts again: what was not persisted may be gone, the rest is there.
    fn restart(&mut self);
}

/// A module of tests, one for each promise, on a subject made for each.
macro_rules! tests {
    ($module:ident, $subject:expr, $from:ident [$($promise:ident),* $(,)?]) => {
        mod $module {
            $(
                #[test]
                fn $promise() {
                    crate::store_support::$from::$promise(&mut $subject);
                }
            )*
        }
    };
}

/// The tests of what is promised of messages.
macro_rules! keeps {
    ($module:ident, $subject:expr) => {
        crate::store_support::tests! {
            $module, $subject,
            promises [
                what_was_applied_is_read_back,
                what_is_not_there_is_empty,
                a_batch_that_is_applied_again_changes_nothing,
                pages_go_through_blocks,
                pages_keep_to_their_bounds,
                heads_outlive_a_restart,
                a_base_is_what_lies_below_an_offset,
                records_are_found_by_their_senders_name,
                the_largest_ids_come_back,
                the_largest_payloads_come_back,
            ]
        }
    };
}

/// The tests of what is promised of members.
macro_rules! keeps_members {
    ($module:ident, $subject:expr) => {
        crate::store_support::tests! {
            $module, $subject,
            promises_members [
                conversations_are_found_by_key_and_by_member,
            ]
        }
    };
}

/// The tests of what is promised of receipts and of what outboxes are computed from.
macro_rules! keeps_outbox {
    ($module:ident, $subject:expr) => {
        crate::store_support::tests! {
            $module, $subject,
            promises_outbox [
                receipts_are_kept_by_device_and_never_go_back,
                segments_are_read_from_the_newest_down,
                many_conversations_are_read_at_once,
                positions_only_grow,
            ]
        }
    };
}

pub(crate) use {keeps, keeps_members, keeps_outbox, tests};
