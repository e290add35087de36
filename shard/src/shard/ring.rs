//! What a shard knows of one of its rings: how full its table is, and who waits for its buffers.

use std::collections::VecDeque;

use crate::ConnId;

/// One ring of the shard.
#[derive(Debug)]
pub(crate) struct RingState {
    slots: u32,
    /// Slots in use, and sockets that are being made.
    pub(crate) used: u32,
    /// Receive buffers that no receive in flight may take.
    pub(crate) buffers: u16,
    /// Readable connections that wait for a buffer, oldest first.
    pub(crate) line: VecDeque<ConnId>,
    /// The same, of peers that have hung up.
    pub(crate) leavers: VecDeque<ConnId>,
}

impl RingState {
    pub(crate) fn new(slots: u32, buffers: u16) -> Self {
        RingState {
            slots,
            used: 0,
            buffers,
            line: VecDeque::new(),
            leavers: VecDeque::new(),
        }
    }

    pub(crate) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.used)
    }
}
