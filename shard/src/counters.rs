//! What a shard counts. Plain numbers on the shard's thread, published once per turn.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A shard's counters since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

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
            /// Names and values, for an exporter.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections open now (a gauge).
    live,
    /// Connections accepted.
    accepted,
    /// Connections made by `connect`.
    connected,
    /// Connects that failed.
    connect_failed,
    /// Ended: the peer closed its side.
    closed_peer,
    /// Ended: the handler asked.
    closed_asked,
    /// Ended: an error of the kernel.
    closed_errno,
    /// Ended: the shard stopped.
    closed_stopping,
    /// Cut off with something unsaid: the stop's grace was over.
    stop_cut_off,
    /// Receives that brought bytes.
    recv_ops,
    /// Bytes received.
    recv_bytes,
    /// Sends submitted.
    send_ops,
    /// Bytes sent.
    send_bytes,
    /// Sends that the kernel took only in part, or not yet.
    send_short,
    /// Sends refused because the connection's queue was full.
    send_refused,
    /// Oneshot polls armed.
    polls,
    /// Connections that left for another shard.
    moves_out,
    /// Connections that arrived from another shard.
    moves_in,
    /// Moves that found no slot.
    moves_failed,
    /// Accepts and sockets that found the file table full.
    enfile,
    /// Receives that found no buffer.
    enobufs,
    /// Other errors of an accept (EMFILE, ECONNABORTED, ...).
    accept_errors,
    /// Posts refused because a mailbox was full.
    mailbox_full,
    /// Mails handled.
    mails,
    /// Deadlines fired.
    deadlines,
    /// Time in which the thread should have run and did not, nanoseconds: deadlines were put off by it.
    stood_still_ns,
    /// Turns of the loop.
    turns,
    /// Turns longer than `stall_ms`.
    stalls,
    /// The longest turn, nanoseconds.
    longest_turn_ns,
}
