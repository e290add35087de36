//! The rows of `sends`: what a sender's `client_msg_id` stands for. The deduplication of record, for
//! seven days; a front that forgets is put right by it.

use super::session::Live;
use super::{bits, from_bits};
use crate::admission::Known;
use crate::store::{Placed, StoreError, StoredMessage};

type Row = (i64, i64, i64, i64, i64, i64);

/// What a `client_msg_id` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) known: Known,
    pub(super) placed: Placed,
}

pub(super) async fn read(
    live: &Live,
    sender: u64,
    client_msg_id: u64,
) -> Result<Option<Sent>, StoreError> {
    let values = (bits(sender), bits(client_msg_id));
    let row = live
        .row::<Row>(&live.statements.send, values, &[sender, client_msg_id])
        .await?;
    Ok(row.map(
        |(message_id, hlc, conversation_id, payload_hash, seq, log_offset)| Sent {
            known: Known {
                conversation_id: from_bits(conversation_id),
                payload_hash: from_bits(payload_hash),
                message_id: from_bits(message_id),
                hlc: from_bits(hlc),
            },
            placed: Placed {
                seq: from_bits(seq),
                log_offset: from_bits(log_offset),
            },
        },
    ))
}

/// Writes a row with the message's own time. Not with its offset, as the other rows are: an id that is
/// used again after its seven days may go to another partition of the log, whose offsets are lower, and
/// would be hidden by the row that ran out.
pub(super) async fn write(live: &Live, message: &StoredMessage) -> Result<(), StoreError> {
    let deliver = &message.deliver;
    let values = (
        bits(deliver.sender_user_id),
        bits(deliver.client_msg_id),
        bits(deliver.message_id),
        bits(deliver.hlc),
        bits(deliver.conversation_id),
        bits(message.payload_hash),
        bits(deliver.seq),
        bits(message.log_offset),
        micros_of_hlc(deliver.hlc),
    );
    live.write(&live.statements.put_send, values).await
}

/// An HLC stamp in microseconds since 1970, which is what servers take write times for.
pub(super) fn micros_of_hlc(hlc: u64) -> i64 {
    let (ms, counter) = (hlc >> 16, hlc & 0xffff);
    bits(ms * 1_000 + counter.min(999))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_times_are_microseconds_and_never_fall() {
        let at = |ms: u64, counter: u64| micros_of_hlc((ms << 16) | counter);
        assert_eq!(at(1_735_689_600_000, 7), 1_735_689_600_000_007);
        assert!(at(5, 65_535) < at(6, 0));
        assert!(at(5, 998) < at(5, 999) && at(5, 999) == at(5, 1_000));
    }
}
