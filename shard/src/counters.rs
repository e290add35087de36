//! What a shard counts. Plain numbers on the shard's thread, published once per turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rookery_metrics::{Reading, Value};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $Kind:ident $name:ident,)*) => {
        /// A shard's counters since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: u64,)* }

        /// The published copy that other threads read.
        #[derive(Debug, Default)]
        pub(crate) struct Published { $($name: AtomicU64,)* }

        impl Published {
            pub(crate) fn publish(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Relaxed);)*
            }

            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl Counters {
            /// What all of them say.
            pub fn readings(&self) -> impl Iterator<Item = Reading> {
                [$(Reading {
                    name: stringify!($name),
                    help: concat!($($doc),+).trim_start(),
                    value: Value::$Kind(self.$name),
                },)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections open now.
    Gauge live,
    /// Connections accepted.
    Counter accepted,
    /// Connections made by `connect`.
    Counter connected,
    /// Connects that failed.
    Counter connect_failed,
    /// Ended: the peer closed its side.
    Counter closed_peer,
    /// Ended: the handler asked.
    Counter closed_asked,
    /// Ended: an error of the kernel.
    Counter closed_errno,
    /// Ended: the shard stopped.
    Counter closed_stopping,
    /// Cut off with something unsaid: the stop's grace was over.
    Counter stop_cut_off,
    /// Receives that brought bytes.
    Counter recv_ops,
    /// Bytes received.
    Counter recv_bytes,
    /// Sends submitted.
    Counter send_ops,
    /// Bytes sent.
    Counter send_bytes,
    /// Sends that the kernel took only in part, or not yet.
    Counter send_short,
    /// Bytes of memory that what is queued for sending takes.
    Gauge queued_bytes,
    /// Sends refused because the connection's queue was full.
    Counter send_refused,
    /// Oneshot polls armed.
    Counter polls,
    /// Connections that left for another shard.
    Counter moves_out,
    /// Connections that arrived from another shard.
    Counter moves_in,
    /// Moves that found no slot.
    Counter moves_failed,
    /// Accepts and sockets that found the file table full.
    Counter enfile,
    /// Receives that found no buffer.
    Counter enobufs,
    /// Other errors of an accept (EMFILE, ECONNABORTED, ...).
    Counter accept_errors,
    /// Posts refused because a mailbox was full.
    Counter mailbox_full,
    /// Mails handled.
    Counter mails,
    /// Deadlines fired.
    Counter deadlines,
    /// Time in which the thread should have run and did not, nanoseconds: deadlines were put off by it.
    Counter stood_still_ns,
    /// Turns of the loop.
    Counter turns,
    /// Turns longer than `stall_ms`.
    Counter stalls,
    /// The longest turn, nanoseconds.
    Gauge longest_turn_ns,
}
