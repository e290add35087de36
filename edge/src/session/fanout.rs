//! Fan-out, so much in a turn: a large message to many members is sealed in parts, and the traffic of others goes
//! on between them.
//!
//! What is small, and all of what nobody waits before, is sent at once. The rest waits here, by conversation; those
//! take turns. The invariants: what a conversation is told stays in order; the frame is there once, however many are
//! to get it; and what waits is bounded, since no more mails are taken while it is much.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rookery_router::DeviceKey;
use rookery_shard::Shard;

use super::Sessions;

/// What a turn seals for those who wait here, and what its mails may lead to before the next ones wait: each about
/// a millisecond.
const TURN_COST: usize = 1 << 20;

/// What a conversation is given at its turn.
const PART_COST: usize = 256 << 10;

/// What a delivery costs besides its bytes, in bytes that take as long to seal.
const DELIVERY_COST: usize = 2 << 10;

/// The same of a member who is not connected.
const LOOK_COST: usize = 64;

/// Frames that wait, and bytes of them and of the lists of who is to get them. With more, mails wait in the mailbox, and those who post them.
const FRAMES_MAX: usize = 4_096;
pub(crate) const FAN_OUT_BYTES_MAX: usize = 16 << 20;

/// A frame that is being sent to the members of a conversation whom this shard owns.
#[derive(Debug)]
pub(super) struct FanOut {
    pub(super) frame: Arc<[u8]>,
    pub(super) users: Vec<u64>,
    /// A device that is not to get it.
    pub(super) but: Option<DeviceKey>,
    /// So many of the users were sent it.
    done: usize,
}

impl FanOut {
    pub(super) fn new(frame: Arc<[u8]>, users: Vec<u64>, but: Option<DeviceKey>) -> Self {
        Self {
            frame,
            users,
            but,
            done: 0,
        }
    }

    /// Bytes that it takes.
    fn bytes(&self) -> usize {
        self.frame.len() + size_of::<u64>() * self.users.len()
    }

    fn is_done(&self) -> bool {
        self.done >= self.users.len()
    }
}

/// What is still to be sent. See the module.
#[derive(Debug, Default)]
pub(super) struct FanOuts {
    of: HashMap<u64, VecDeque<FanOut>>,
    /// Conversations of which something waits, each once.
    turns: VecDeque<u64>,
    frames: usize,
    bytes: usize,
    /// What this turn's mails have led to.
    mails_cost: usize,
}

impl FanOuts {
    fn has(&self, conversation_id: u64) -> bool {
        // Mostly nothing waits at all.
        !self.turns.is_empty() && self.of.contains_key(&conversation_id)
    }

    fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.frames
    }

    fn is_full(&self) -> bool {
        self.frames >= FRAMES_MAX || self.bytes >= FAN_OUT_BYTES_MAX
    }

    /// Behind what waits of its conversation.
    fn push(&mut self, conversation_id: u64, fan_out: FanOut) {
        self.frames += 1;
        self.bytes += fan_out.bytes();
        let waiting = self.of.entry(conversation_id).or_default();
        if waiting.is_empty() {
            self.turns.push_back(conversation_id);
        }
        waiting.push_back(fan_out);
    }

    /// The conversation whose turn it is, and the first that waits of it.
    fn first(&mut self) -> Option<(u64, &mut FanOut)> {
        let id = *self.turns.front()?;
        let waiting = self.of.get_mut(&id)?;
        waiting.front_mut().map(|first| (id, first))
    }

    /// Lets go of the first where it is done, and gives the turn to the next conversation.
    fn turn(&mut self) {
        let Some(id) = self.turns.pop_front() else {
            return;
        };
        let Some(waiting) = self.of.get_mut(&id) else {
            return;
        };
        if let Some(done) = waiting.pop_front_if(|first| first.is_done()) {
            self.frames -= 1;
            self.bytes -= done.bytes();
        }
        if waiting.is_empty() {
            self.of.remove(&id);
        } else {
            self.turns.push_back(id);
        }
    }
}

impl Sessions {
    /// One frame for every live device of these users: a part at once where nothing of its conversation waits.
    pub(super) fn fan_out(
        &mut self,
        shard: &mut Shard<Self>,
        conversation_id: u64,
        mut fan_out: FanOut,
    ) {
        if !self.fan_outs.has(conversation_id) {
            let cost = self.fan_out_part(shard, &mut fan_out, PART_COST);
            self.spend(shard, cost);
            if fan_out.is_done() {
                return;
            }
        }
        self.fan_outs.push(conversation_id, fan_out);
        if self.fan_outs.is_full() {
            shard.hold_mails();
        }
    }

    /// A mail has led to so many bytes; above the turn's bound the next ones wait for the next turn.
    pub(super) fn spend(&mut self, shard: &mut Shard<Self>, cost: usize) {
        self.fan_outs.mails_cost += cost;
        if self.fan_outs.mails_cost >= TURN_COST {
            shard.hold_mails();
        }
    }

    /// The end of a turn: a part of what waits.
    pub(super) fn fan_out_on(&mut self, shard: &mut Shard<Self>) {
        self.fan_outs.mails_cost = 0;
        if self.fan_outs.is_empty() {
            return;
        }
        let mut fan_outs = std::mem::take(&mut self.fan_outs);
        let mut left = TURN_COST;
        while left > 0
            && let Some((_, first)) = fan_outs.first()
        {
            let cost = self.fan_out_part(shard, first, PART_COST.min(left));
            left = left.saturating_sub(cost);
            self.telemetry.counters.fan_out_parts.add(1);
            fan_outs.turn();
        }
        if !fan_outs.is_empty() {
            shard.turn_again();
        }
        if fan_outs.is_full() {
            shard.hold_mails();
        }
        self.fan_outs = fan_outs;
    }

    /// Sends to the next users, all devices of one at a time, until it has cost so much; what it has cost.
    fn fan_out_part(
        &mut self,
        shard: &mut Shard<Self>,
        fan_out: &mut FanOut,
        cost_max: usize,
    ) -> usize {
        let each = fan_out.frame.len() + DELIVERY_COST;
        let mut cost = 0;
        while cost < cost_max
            && let Some(&user_id) = fan_out.users.get(fan_out.done)
        {
            fan_out.done += 1;
            let sent = self.deliver(shard, &fan_out.frame, user_id, fan_out.but);
            cost += LOOK_COST + sent * each;
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan_out(frame: u8, users: usize) -> FanOut {
        FanOut::new(Arc::from([frame; 10]), vec![1; users], None)
    }

    /// Sends one user at a turn: the frames in the order in which they are done.
    fn work_off(fan_outs: &mut FanOuts) -> Vec<(u64, u8)> {
        let mut done = Vec::new();
        while let Some((id, first)) = fan_outs.first() {
            first.done += 1;
            if first.is_done() {
                done.push((id, first.frame[0]));
            }
            fan_outs.turn();
        }
        done
    }

    #[test]
    fn conversations_take_turns_and_each_keeps_its_order() {
        let mut fan_outs = FanOuts::default();
        for (id, frame, users) in [(7, 1, 5), (7, 2, 1), (8, 1, 1), (9, 1, 2), (8, 2, 1)] {
            fan_outs.push(id, fan_out(frame, users));
        }
        assert!(fan_outs.has(7) && !fan_outs.has(6));
        assert_eq!((fan_outs.frames, fan_outs.bytes), (5, 130));
        let done = work_off(&mut fan_outs);
        assert_eq!(done, [(8, 1), (8, 2), (9, 1), (7, 1), (7, 2)]);
        assert!(fan_outs.is_empty() && fan_outs.of.is_empty());
        assert_eq!((fan_outs.frames, fan_outs.bytes), (0, 0));
    }

    #[test]
    fn it_is_full_by_frames_and_by_bytes() {
        let mut fan_outs = FanOuts::default();
        for nth in 0..FRAMES_MAX {
            assert!(!fan_outs.is_full());
            fan_outs.push(nth as u64 % 7, fan_out(1, 1));
        }
        assert!(fan_outs.is_full());
        work_off(&mut fan_outs);
        assert!(!fan_outs.is_full());
        let large = FanOut::new(Arc::from(vec![0; FAN_OUT_BYTES_MAX]), vec![1], None);
        fan_outs.push(7, large);
        assert!(fan_outs.is_full());
    }
}
