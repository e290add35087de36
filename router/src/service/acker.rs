//! The answers of a log that many consume: acks to the senders. The records come by another way.
//!
//! Runs on the log's thread and never waits there: an ack whose shard's mailbox is full is kept, with
//! those behind it, and posted in a later round. What is in flight is bounded, so what is kept is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::clock::Clock as _;
use super::counters::Counters;
use super::dispatch::Dispatch;
use super::intake::refusal_of;
use super::permit::Permit;
use super::progress::Progress;
use super::sink::{Answers, record_ack};
use crate::admission::{Pending, Refusal};
use crate::api::Event;
use crate::log::{Acks, AppendError, Offset, Partition, Ticket};

/// See the module.
pub(super) struct Acker {
    pub(super) permit: Arc<Permit>,
    pub(super) pending: Arc<Mutex<Pending>>,
    pub(super) progress: Arc<Progress>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) counters: Arc<Counters>,
    pub(super) tickets: Vec<(Ticket, Result<(), Refusal>)>,
    pub(super) late: VecDeque<(u16, Event)>,
    /// Records, and their bytes, that are answered and whose acks are not posted yet: in flight still.
    pub(super) answered: (u64, usize),
}

impl Acks for Acker {
    fn acked(&mut self, ticket: Ticket, partition: Partition, offset: Offset, at_ms: u64) {
        // First of all: whoever hears of a record from here on finds it counted.
        self.progress.told_to(partition, offset.plus(1));
        self.permit.answered(ticket, at_ms);
        self.tickets.push((ticket, Ok(())));
    }

    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        self.permit.answered(ticket, 0);
        self.counters.append_failed.add(1);
        self.tickets.push((ticket, Err(refusal_of(error))));
    }

    fn end_of_batch(&mut self) {
        self.settle();
        while let Some((shard, event)) = self.late.pop_front() {
            if let Err(event) = self.dispatch.try_post(shard, event) {
                self.late.push_front((shard, event));
                return;
            }
        }
        let (records, bytes) = std::mem::take(&mut self.answered);
        if records > 0 {
            self.progress.resolve(records, bytes);
        }
    }

    fn has_late(&self) -> bool {
        !self.late.is_empty()
    }
}

impl Acker {
    fn settle(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let mut answers = Answers::default();
        let now_ms = self.permit.now_ms();
        let (count, mut bytes) = (self.tickets.len() as u64, 0);
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for (ticket, outcome) in self.tickets.drain(..) {
                let settled = match outcome {
                    Ok(()) => pending.acked(ticket),
                    Err(_) => pending.failed(ticket),
                };
                let Some((settled, record_bytes)) = settled else {
                    continue;
                };
                bytes += record_bytes;
                match outcome {
                    Ok(()) => {
                        record_ack(&self.counters, &settled, now_ms);
                        answers.good_news(settled);
                    }
                    Err(refusal) => answers.refuse(settled, &refusal),
                }
            }
        }
        self.progress.answer(count);
        self.answered.0 += count;
        self.answered.1 += bytes;
        for (to, frames) in answers.0 {
            self.counters.acked.add(frames.len() as u64);
            self.late
                .push_back((to.shard, Event::answer(to, frames, false)));
        }
    }
}
