//! The log's answers: acks to the senders at once, the records on to the applier.
//!
//! Runs on the log's thread and never waits there: the applier's queue holds as much as may be in
//! flight, and an ack whose shard's mailbox is full travels on with the records, to be posted by
//! the applier.

use std::sync::{Arc, Mutex, PoisonError};

use rookery_wire::proto;

use super::channel::Sender;
use super::clock::Clock;
use super::counters::{self, Counters};
use super::dispatch::Dispatch;
use super::intake::refusal_of;
use super::progress::Progress;
use crate::admission::{Pending, Refusal, Settled};
use crate::api::{Caller, Event};
use crate::log::{AppendError, Record, Sink, Ticket};

/// One commit's outcome.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Durable records, in log order.
    pub(crate) records: Vec<Record>,
    /// Records that failed, and their bytes.
    pub(crate) failed: u64,
    /// See `failed`.
    pub(crate) failed_bytes: usize,
    /// Acks that found a full mailbox.
    pub(crate) late: Vec<(u16, Event)>,
}

/// What the applier is given.
#[derive(Debug)]
pub(crate) enum Work {
    /// Apply it.
    Committed(Committed),
    /// Sync the store, move the watermark, and end.
    Finish,
}

/// See the module.
pub(crate) struct AckSink {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pending: Arc<Mutex<Pending>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) work: Sender<Work>,
    pub(crate) gathered: Committed,
    pub(crate) tickets: Vec<Outcome>,
}

/// What the log said of a ticket.
pub(crate) enum Outcome {
    /// Durable.
    Durable(Ticket),
    /// Not durable.
    Failed(Ticket, Refusal),
}

impl Sink for AckSink {
    fn durable(&mut self, record: Record, ticket: Ticket) {
        self.gathered.records.push(record);
        self.tickets.push(Outcome::Durable(ticket));
    }

    fn failed(&mut self, ticket: Ticket, error: &AppendError) {
        self.tickets
            .push(Outcome::Failed(ticket, refusal_of(error)));
    }

    fn end_of_batch(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        // First of all: whoever hears of a record from here on finds it counted.
        self.progress.answer(self.tickets.len() as u64);
        let mut answers = Answers::default();
        let now_ms = self.clock.now_ms();
        for (settled, refusal) in self.settle() {
            match refusal {
                None => {
                    record_ack(&self.counters, &settled, now_ms);
                    answers.good_news(settled);
                }
                Some(refusal) => answers.refuse(settled, &refusal),
            }
        }
        for (to, frames) in answers.0 {
            self.counters.acked.add(frames.len() as u64);
            if let Err(event) = self
                .dispatch
                .try_post(to.shard, Event::answer(to, frames, false))
            {
                self.gathered.late.push((to.shard, event));
            }
        }
        let work = Work::Committed(std::mem::take(&mut self.gathered));
        if self.work.send(work).is_err() {
            tracing::error!(
                "the applier is gone; what was acked will be applied at the next start"
            );
        }
    }
}

impl AckSink {
    /// Takes the outcomes into `pending`; says who is to be told, and a refusal where it failed.
    fn settle(&mut self) -> Vec<(Settled, Option<Refusal>)> {
        let mut told = Vec::with_capacity(self.tickets.len());
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in self.tickets.drain(..) {
            match outcome {
                Outcome::Durable(ticket) => {
                    told.extend(pending.durable(ticket).map(|settled| (settled, None)));
                }
                Outcome::Failed(ticket, refusal) => {
                    self.counters.append_failed.add(1);
                    self.gathered.failed += 1;
                    if let Some((settled, bytes)) = pending.failed(ticket) {
                        self.gathered.failed_bytes += bytes;
                        told.push((settled, Some(refusal)));
                    }
                }
            }
        }
        told
    }
}

pub(super) fn record_ack(counters: &Counters, settled: &Settled, now_ms: u64) {
    if let Settled::Sent { known, .. } = settled {
        counters::record_since(&counters.ack_seconds, known.hlc, now_ms);
    }
}

/// Answers in order; those to one connection that follow each other go as one event.
#[derive(Default)]
pub(super) struct Answers(pub(super) Vec<(Caller, Vec<Vec<u8>>)>);

impl Answers {
    fn push(&mut self, to: Caller, frame: Vec<u8>) {
        match self.0.last_mut() {
            Some((last, frames)) if *last == to => frames.push(frame),
            _ => self.0.push((to, vec![frame])),
        }
    }

    pub(super) fn good_news(&mut self, settled: Settled) {
        match settled {
            Settled::Sent {
                client_msg_id,
                known,
                waiting,
            } => {
                let frame = proto::encode(&proto::SendAck {
                    client_msg_id,
                    conversation_id: known.conversation_id,
                    message_id: known.message_id,
                    hlc: known.hlc,
                });
                for caller in waiting {
                    self.push(caller, frame.clone());
                }
            }
            Settled::Opened {
                conversation_id,
                members,
                waiting,
            } => {
                for (caller, request_id) in waiting {
                    let opened = proto::ConversationOpened {
                        request_id,
                        conversation_id,
                        head_seq: 0,
                        member_user_ids: members.to_vec(),
                    };
                    self.push(caller, proto::encode(&opened));
                }
            }
        }
    }

    pub(super) fn refuse(&mut self, settled: Settled, refusal: &Refusal) {
        match settled {
            Settled::Sent {
                client_msg_id,
                waiting,
                ..
            } => {
                for caller in waiting {
                    self.push(caller, refusal.frame(client_msg_id));
                }
            }
            Settled::Opened { waiting, .. } => {
                for (caller, request_id) in waiting {
                    self.push(caller, refusal.frame(request_id));
                }
            }
        }
    }
}
