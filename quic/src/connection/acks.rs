//! When an acknowledgement is sent (RFC 9000 section 13.2). What it says is [`Received`](crate::received)'s.

/// Acknowledgements that can wait are sent within that; it is the default that peers assume.
pub const MAX_ACK_DELAY_MS: u64 = 25;

/// Packets that are acknowledged at the latest together.
const TOGETHER: u8 = 2;

/// What is owed to the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acks {
    /// Packets to be acknowledged that came since the last ACK frame.
    owed: u8,
    due: Option<u64>,
    /// When the packet with the largest number came.
    newest_at: u64,
}

impl Acks {
    /// A packet came. `follows` tells that none is missing before it.
    //= RFC 9000 section 13.2.1: Every packet SHOULD be acknowledged at least once, and ack-eliciting packets MUST be acknowledged at least once within the maximum delay an endpoint communicated using the max_ack_delay transport parameter
    pub(super) fn on_packet(&mut self, is_newest: bool, elicits: bool, follows: bool, now: u64) {
        if is_newest {
            self.newest_at = now;
        }
        if !elicits {
            return;
        }
        self.owed = self.owed.saturating_add(1);
        //= RFC 9000 section 13.2.2: A receiver SHOULD send an ACK frame after receiving at least two ack-eliciting packets.
        let at_once = self.owed >= TOGETHER || !follows;
        let due = if at_once {
            now
        } else {
            now + MAX_ACK_DELAY_MS * 1_000
        };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// What is due cannot be sent before then.
    pub(super) fn postpone(&mut self, until: u64) {
        self.due = self.due.map(|due| due.max(until));
    }

    pub(super) fn due(&self) -> Option<u64> {
        self.due
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether an ACK frame has something new to say.
    pub(super) fn is_owed(&self) -> bool {
        self.owed > 0
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.due.is_none()
    }

    /// What an ACK frame says now of its delay, in units of the default exponent.
    pub(super) fn delay(&self, now: u64) -> u64 {
        now.saturating_sub(self.newest_at) >> 3
    }

    /// An ACK frame goes out.
    pub(super) fn on_sent(&mut self) {
        self.owed = 0;
        self.due = None;
    }
}
