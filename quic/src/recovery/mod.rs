//! Packets in flight: what was in them, which are acknowledged and which are lost (RFC 9002 section 6).
//!
//! Only packets that are to be acknowledged are kept. It knows no frames but as what to tell when they are lost.
//! Invariant: a packet leaves once, as acknowledged or as lost.

mod congestion;
mod rtt;

#[cfg(test)]
mod tests;

pub(crate) use congestion::NewReno;
pub(crate) use rtt::Rtt;

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};

use crate::frame::StreamId;

/// A packet is lost when one that was sent so many packets later is acknowledged (RFC 9002 section 6.1.1).
const REORDERING: u64 = 3;

/// Packets in flight at once, small ones included.
pub(crate) const IN_FLIGHT_MAX: usize = 2_048;

/// The backoff of probes stops at 2^this: the idle timeout ends the connection.
const BACKOFF_MAX: u32 = 8;

/// What of a packet is sent again when it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Stream {
        id: StreamId,
        offsets: Range<u64>,
        fin: bool,
    },
    /// Of the handshake's last bytes.
    Crypto(Range<u64>),
    Reset(StreamId),
    Stop(StreamId),
    MaxStreamData(StreamId),
    MaxData,
    MaxStreams {
        uni: bool,
    },
    /// Our connection id with this sequence number.
    NewConnectionId(u32),
    RetireConnectionId(u16),
    HandshakeDone,
}

/// A packet in flight.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) carried: Vec<Carried>,
}

/// What an acknowledgement or a timer changed.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acked: Vec<Sent>,
    pub(crate) lost: Vec<Sent>,
}

/// All packets in flight and the congestion controller.
#[derive(Debug)]
pub(crate) struct Recovery {
    packets: VecDeque<Sent>,
    pub(crate) congestion: NewReno,
    largest_acked: Option<u64>,
    /// When the first packet is lost that a later one's acknowledgement has overtaken.
    loss_at: Option<u64>,
    last_sent_at: u64,
    backoff: u32,
    /// Probes that have to be sent, whatever the window says.
    pub(crate) probes: u8,
}

impl Recovery {
    pub(crate) fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            congestion: NewReno::NEW,
            largest_acked: None,
            loss_at: None,
            last_sent_at: 0,
            backoff: 0,
            probes: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Whether another packet may be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.packets.len() < IN_FLIGHT_MAX
    }

    /// The largest number that was acknowledged since the connection woke.
    pub(crate) fn largest_acked(&self) -> Option<u64> {
        self.largest_acked
    }

    pub(crate) fn on_sent(&mut self, sent: Sent) {
        self.last_sent_at = sent.at;
        self.congestion.on_sent(sent.bytes);
        self.packets.push_back(sent);
    }

    /// `ranges` with the largest first, none of a number that was not sent; `delay` in microseconds.
    pub(crate) fn on_ack(
        &mut self,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        largest: u64,
        delay: u64,
        now: u64,
        rtt: &mut Rtt,
        max_ack_delay: u64,
    ) -> Verdict {
        let mut acked = Vec::new();
        for range in ranges {
            let from = self
                .packets
                .partition_point(|sent| sent.number < *range.start());
            let to = self
                .packets
                .partition_point(|sent| sent.number <= *range.end());
            acked.extend(self.packets.drain(from..to));
        }
        self.largest_acked = self.largest_acked.max(Some(largest));
        //= RFC 9002 section 5.1: An RTT sample MUST NOT be generated on receiving an ACK frame that does not newly acknowledge at least one ack-eliciting packet.
        if let Some(newest) = acked.iter().find(|sent| sent.number == largest) {
            rtt.sample(now.saturating_sub(newest.at), delay.min(max_ack_delay));
        }
        if acked.is_empty() {
            return Verdict::default();
        }
        for sent in &acked {
            self.congestion.on_acked(sent.bytes, sent.at);
        }
        self.backoff = 0;
        self.probes = 0;
        let lost = self.detect_lost(now, rtt, max_ack_delay);
        Verdict { acked, lost }
    }

    /// RFC 9002 section 6.1.
    fn detect_lost(&mut self, now: u64, rtt: &Rtt, max_ack_delay: u64) -> Vec<Sent> {
        self.loss_at = None;
        let Some(largest) = self.largest_acked else {
            return Vec::new();
        };
        let delay = rtt.loss_delay();
        let mut count = 0;
        for sent in self.packets.iter().take_while(|sent| sent.number < largest) {
            let is_late = sent.at + delay <= now || sent.number + REORDERING <= largest;
            if !is_late {
                self.loss_at = Some(sent.at + delay);
                break;
            }
            count += 1;
        }
        let lost: Vec<Sent> = self.packets.drain(..count).collect();
        if let Some(last) = lost.last() {
            let persistent = rtt.has_sample() && is_persistent(&lost, 3 * rtt.pto(max_ack_delay));
            let bytes = lost.iter().map(|sent| sent.bytes).sum();
            self.congestion.on_lost(bytes, last.at, now, persistent);
        }
        lost
    }

    /// When [`Recovery::handle_timeout`] is due.
    pub(crate) fn timeout(&self, rtt: &Rtt, max_ack_delay: u64) -> Option<u64> {
        if self.packets.is_empty() {
            return None;
        }
        let probe = self.last_sent_at + (rtt.pto(max_ack_delay) << self.backoff);
        Some(self.loss_at.unwrap_or(probe))
    }

    /// What is lost by now. Where nothing is, probes are due, and the oldest packet's content comes back with them:
    /// it is told as lost while the packet stays.
    pub(crate) fn handle_timeout(&mut self, now: u64, rtt: &Rtt, max_ack_delay: u64) -> Vec<Sent> {
        if self.timeout(rtt, max_ack_delay).is_none_or(|at| at > now) {
            return Vec::new();
        }
        if self.loss_at.is_some() {
            return self.detect_lost(now, rtt, max_ack_delay);
        }
        //= RFC 9002 section 6.2.4: When a PTO timer expires, a sender MUST send at least one ack-eliciting packet in the packet number space as a probe.
        self.probes = 2;
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
        // The timer counts from now, also where no probe can be sent at once.
        self.last_sent_at = now;
        let oldest = self
            .packets
            .iter_mut()
            .find(|sent| !sent.carried.is_empty());
        let again = oldest.map(|sent| Sent {
            number: sent.number,
            at: sent.at,
            bytes: 0,
            carried: std::mem::take(&mut sent.carried),
        });
        again.into_iter().collect()
    }

    /// Forgets what is in flight and tells it, for it has to be sent again on another path.
    pub(crate) fn restart(&mut self) -> Vec<Sent> {
        let lost: Vec<Sent> = self.packets.drain(..).collect();
        for sent in &lost {
            self.congestion.on_discarded(sent.bytes);
        }
        self.congestion = NewReno::NEW;
        self.loss_at = None;
        self.backoff = 0;
        lost
    }
}

/// Whether packets in a row, none of them acknowledged in between, span `duration` (RFC 9002 section 7.6).
fn is_persistent(lost: &[Sent], duration: u64) -> bool {
    let mut first = 0;
    for (at, sent) in lost.iter().enumerate() {
        if at > 0 && lost[at - 1].number + 1 != sent.number {
            first = at;
        }
        if sent.at - lost[first].at > duration {
            return true;
        }
    }
    false
}
