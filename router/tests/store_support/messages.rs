//! Conversations of made-up messages, and batches of them as the applier makes them.

#![allow(
    clippy::disallowed_methods,
    reason = "tests measure time and name things by it"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rookery_router::admission::{Known, payload_hash};
use rookery_router::ids::{EPOCH_MS, Snowflake};
use rookery_router::sequencer::Head;
use rookery_router::store::{Batch, Below, Bound, StoredMessage};
use rookery_wire::proto::Deliver;

/// No bound that matters.
pub(crate) const ALL: Bound = Bound {
    messages_max: 10_000,
    bytes_max: usize::MAX,
};

/// Ten days.
pub(crate) const TEN_DAYS_MS: u64 = 10 * 24 * 60 * 60 * 1_000;

/// A sender's id of a message, from a number.
pub(crate) fn name(number: u64) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

/// A number that no other test has used, in this run or an earlier one.
pub(crate) fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let base = u64::try_from(now.as_micros()).expect("a clock of this age") << 8;
    base + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A conversation as its log partition has it.
pub(crate) struct Talk {
    pub(crate) id: u64,
    pub(crate) messages: Vec<StoredMessage>,
    ids: Snowflake,
    now_ms: u64,
}

impl Talk {
    pub(crate) fn new() -> Talk {
        Talk::with_id(fresh_id())
    }

    pub(crate) fn with_id(id: u64) -> Talk {
        Talk {
            id,
            messages: Vec::new(),
            ids: Snowflake::new(7, 0),
            now_ms: EPOCH_MS + TEN_DAYS_MS / 2,
        }
    }

    /// Its messages below a seq.
    pub(crate) fn below(&self, before_seq: u64, bound: Bound) -> Below {
        Below {
            conversation_id: self.id,
            before_seq,
            above_seq: 0,
            bound,
        }
    }

    /// One more message, `step_ms` after the one before it.
    pub(crate) fn say(&mut self, step_ms: u64, payload: &[u8]) {
        self.now_ms += step_ms;
        let message_id = self.ids.next_id(self.now_ms);
        self.say_as(message_id, payload);
    }

    /// One more message under an id of the caller's.
    pub(crate) fn say_as(&mut self, message_id: u64, payload: &[u8]) {
        let seq = self.messages.len() as u64 + 1;
        self.messages.push(StoredMessage {
            deliver: Deliver {
                conversation_id: self.id,
                seq,
                message_id,
                sender_user_id: self.id,
                sender_device_id: u32::MAX,
                client_msg_id: name(seq),
                hlc: (self.now_ms << 16) + seq,
                payload: payload.to_vec(),
            },
            payload_hash: payload_hash(payload),
            // Other conversations lie between.
            log_offset: 3 * seq,
            at_ms: self.now_ms,
        });
    }

    /// So many messages, one a second.
    pub(crate) fn of(messages: usize) -> Talk {
        let mut talk = Talk::new();
        for i in 0..messages {
            talk.say(1_000, format!("message {i}").as_bytes());
        }
        talk
    }

    pub(crate) fn deliveries(&self) -> Vec<Deliver> {
        self.messages
            .iter()
            .map(|message| message.deliver.clone())
            .collect()
    }

    /// The messages of some seqs, as one batch.
    pub(crate) fn batch(&self, seqs: std::ops::RangeInclusive<usize>) -> Batch {
        let messages: Vec<StoredMessage> = self.messages[seqs.start() - 1..*seqs.end()].to_vec();
        let mut batch = Batch::default();
        let last = messages.last().expect("a batch of some messages");
        batch.position.next_offset = last.log_offset + 1;
        batch.position.last_id = last.deliver.message_id;
        batch.position.last_hlc = last.deliver.hlc;
        batch.messages = messages;
        batch
    }

    /// All of them.
    pub(crate) fn whole(&self) -> Batch {
        self.batch(1..=self.messages.len())
    }

    pub(crate) fn head(&self) -> Head {
        self.messages
            .last()
            .map(StoredMessage::head)
            .unwrap_or_default()
    }
}

pub(crate) fn known(message: &StoredMessage) -> Known {
    message.claim().known
}
