//! The rows of `sends`: which records took a seq under a sender's `client_msg_id`. The deduplication of record,
//! for seven days; a front that forgets is put right by it.

use std::collections::HashMap;

use super::session::{Live, Replica};
use super::{bits, fault, from_bits};
use crate::admission::{Known, SendKey};
use crate::store::{Sent, StoreError, StoredMessage};

type Row = (i64, i64, i64, i64, i64, i64, i64);

/// The records under a name.
pub(super) async fn read(live: &Live, name: SendKey) -> Result<Vec<Sent>, StoreError> {
    let values = (bits(name.0), &name.1[..]);
    let rows = live
        .rows::<Row>(&live.statements.sends, values, &[name.0])
        .await?;
    let sent = |(conversation_id, log_offset, seq, message_id, hlc, at_ms, payload_hash): Row| {
        Some(Sent {
            known: Known {
                conversation_id: from_bits(conversation_id),
                payload_hash: from_bits(payload_hash),
                message_id: from_bits(message_id),
                hlc: from_bits(hlc),
            },
            seq: from_bits(seq),
            log_offset: from_bits(log_offset),
            at_ms: u64::try_from(at_ms).ok()?,
        })
    };
    let all: Option<Vec<Sent>> = rows.into_iter().map(sent).collect();
    all.ok_or_else(|| fault::damaged("sends", &[name.0]))
}

/// A row, written with the log's append time: one clock, the same for every consumer. It orders nothing; servers
/// take it for when the row begins to run out, and ScyllaDB refuses what lies days ahead.
type Written<'a> = (i64, &'a [u8], i64, i64, i64, i64, i64, i64, i64, i64);

fn written(message: &StoredMessage) -> Written<'_> {
    let deliver = &message.deliver;
    (
        bits(deliver.sender_user_id),
        &deliver.client_msg_id[..],
        bits(deliver.conversation_id),
        bits(message.log_offset),
        bits(deliver.seq),
        bits(deliver.message_id),
        bits(deliver.hlc),
        bits(message.at_ms),
        bits(message.payload_hash),
        bits(message.at_ms.saturating_mul(1_000)),
    )
}

/// Rows that one request may write: servers warn of batches that touch more partitions.
const TOGETHER_MAX: usize = 10;

/// The messages in groups whose rows one request writes: of one replica, who need not ask another for any of
/// them. A cluster whose ring is not known has one group after the other.
pub(super) fn together<'a>(
    live: &Live,
    messages: &'a [StoredMessage],
) -> Vec<Vec<&'a StoredMessage>> {
    let mut groups = Vec::new();
    let mut open: HashMap<Option<Replica>, Vec<&StoredMessage>> = HashMap::new();
    let ring = live.ring(&live.statements.put_send);
    for message in messages {
        let replica = ring.replica(&written(message));
        let group = open.entry(replica).or_default();
        group.push(message);
        if group.len() == TOGETHER_MAX {
            groups.push(std::mem::take(group));
        }
    }
    groups.extend(open.into_values().filter(|group| !group.is_empty()));
    groups
}

/// Writes the rows of a group.
pub(super) async fn write(live: &Live, group: &[&StoredMessage]) -> Result<(), StoreError> {
    let rows = group.iter().map(|message| written(message)).collect();
    live.write_all(&live.statements.put_send, rows).await
}
