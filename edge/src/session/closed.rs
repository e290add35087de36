//! The connections of a shard that ended last, with what they ended with.

use std::collections::VecDeque;

use rookery_shard::Cause;
use rookery_wire::proto::CloseCode;
use serde::Serialize;

use super::conn::Conn;

/// So many are remembered by each shard: 640 KB.
pub const CLOSED_MAX: usize = 10_000;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// The user; 0 before its login.
    pub user_id: u64,
    /// Its device; 0 before its login.
    pub device_id: u32,
    /// The close code that was said last; 0 for none.
    pub code: u16,
    /// What ended the connection beneath.
    pub cause: &'static str,
}

/// See the module. Grows to its bound and stays there.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<Closed>);

impl Ring {
    /// One more has ended.
    pub(super) fn push(&mut self, conn: &Conn, cause: Cause, at_ms: u64) {
        if self.0.len() == CLOSED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Closed {
            at_ms,
            user_id: conn.user_id,
            device_id: conn.device_id,
            code: conn.close_code().map_or(0, |CloseCode(code)| code),
            cause: match cause {
                Cause::PeerClosed => "the client closed its side",
                Cause::Closed => "closed here",
                Cause::Stopping => "the server stopped",
                Cause::Errno(libc::ECONNRESET) => "reset by the client or its network",
                Cause::Errno(libc::ETIMEDOUT) => "the network was silent",
                Cause::Errno(_) => "an error of the network",
            },
        });
    }

    /// The newest so many, newest first.
    pub(super) fn newest(&self, most: usize) -> impl Iterator<Item = Closed> {
        self.0.iter().rev().take(most).copied()
    }
}
