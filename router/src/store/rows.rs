//! The bytes of the embedded store's rows. Keys are big-endian, so that they sort; values are
//! little-endian. `docs/store.md` has the tables.

use rookery_wire::proto::Deliver;

use std::ops::RangeInclusive;

use super::{Position, Receipt};
use crate::admission::Known;
use crate::bucket;
use crate::record::{OpenKey, take, take_u64};
use crate::sequencer::Head;

/// Conversation, inverted bucket, inverted message id: a forward scan is newest first, through all
/// buckets.
pub(super) fn message_key(conversation_id: u64, message_id: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..8].copy_from_slice(&conversation_id.to_be_bytes());
    key[8..12].copy_from_slice(&(!bucket::of_message(message_id)).to_be_bytes());
    key[12..].copy_from_slice(&(!message_id).to_be_bytes());
    key
}

/// The keys of a conversation's messages below an id (0: all), the newest first.
pub(super) fn below(conversation_id: u64, before: u64) -> RangeInclusive<Vec<u8>> {
    let newest = match before {
        0 => conversation_id.to_be_bytes().to_vec(),
        id => message_key(conversation_id, id - 1).to_vec(),
    };
    let mut oldest = conversation_id.to_be_bytes().to_vec();
    oldest.extend([u8::MAX; 12]);
    newest..=oldest
}

/// The message id of a message key.
pub(super) fn message_id_of(key: &[u8]) -> Option<u64> {
    let (_, id) = key.split_last_chunk::<8>()?;
    (key.len() == 20).then_some(!u64::from_be_bytes(*id))
}

/// Two ids, sorting by the first.
pub(super) fn pair_key(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

/// The tag of a created conversation's key: the kind that runs out.
pub(super) const OPEN_CREATED: u8 = 1;
const OPEN_DIRECT: u8 = 0;

/// A tag and the two ids.
pub(super) fn open_key(key: OpenKey) -> [u8; 17] {
    let (tag, first, second) = match key {
        OpenKey::Direct { low, high } => (OPEN_DIRECT, low, high),
        OpenKey::Created {
            user_id,
            request_id,
        } => (OPEN_CREATED, user_id, request_id),
    };
    let mut bytes = [0; 17];
    bytes[0] = tag;
    bytes[1..].copy_from_slice(&pair_key(first, second));
    bytes
}

/// All of a message but the two ids that are its key.
pub(super) fn message_value(message: &Deliver) -> Vec<u8> {
    let mut value = Vec::with_capacity(36 + message.payload.len());
    for field in [
        message.seq,
        message.hlc,
        message.sender_user_id,
        message.client_msg_id,
    ] {
        value.extend_from_slice(&field.to_le_bytes());
    }
    value.extend_from_slice(&message.sender_device_id.to_le_bytes());
    value.extend_from_slice(&message.payload);
    value
}

/// The message of a row.
pub(super) fn message(conversation_id: u64, message_id: u64, mut value: &[u8]) -> Option<Deliver> {
    let rest = &mut value;
    Some(Deliver {
        conversation_id,
        message_id,
        seq: take_u64(rest)?,
        hlc: take_u64(rest)?,
        sender_user_id: take_u64(rest)?,
        client_msg_id: take_u64(rest)?,
        sender_device_id: u32::from_le_bytes(take(rest)?),
        payload: rest.to_vec(),
    })
}

/// Little-endian u64s, one after the other.
pub(super) fn u64s_value(fields: &[u64]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

/// A value that is exactly `N` u64s.
fn fields<const N: usize>(value: &[u8]) -> Option<[u64; N]> {
    crate::record::u64s(value)?.try_into().ok()
}

/// A value that is one u64.
pub(super) fn one(value: &[u8]) -> Option<u64> {
    fields(value).map(|[field]| field)
}

pub(super) fn head_value(head: &Head) -> Vec<u8> {
    u64s_value(&[head.last_seq, head.next_offset])
}

pub(super) fn head(value: &[u8]) -> Option<Head> {
    fields(value).map(|[last_seq, next_offset]| Head {
        last_seq,
        next_offset,
    })
}

pub(super) fn known_value(message: &Deliver, payload_hash: u64) -> Vec<u8> {
    u64s_value(&[
        message.message_id,
        message.hlc,
        message.conversation_id,
        payload_hash,
    ])
}

pub(super) fn known(value: &[u8]) -> Option<Known> {
    fields(value).map(|[message_id, hlc, conversation_id, payload_hash]| Known {
        conversation_id,
        payload_hash,
        message_id,
        hlc,
    })
}

pub(super) fn position_value(position: &Position) -> Vec<u8> {
    u64s_value(&[position.next_offset, position.last_id, position.last_hlc])
}

pub(super) fn position(value: &[u8]) -> Option<Position> {
    fields(value).map(|[next_offset, last_id, last_hlc]| Position {
        next_offset,
        last_id,
        last_hlc,
    })
}

/// What the receipts of a device begin with.
pub(super) fn device_key(user_id: u64, device_id: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&user_id.to_be_bytes());
    key[8..].copy_from_slice(&device_id.to_be_bytes());
    key
}

/// User, device, conversation.
pub(super) fn receipt_key(receipt: &Receipt) -> [u8; 20] {
    let mut key = [0; 20];
    key[..12].copy_from_slice(&device_key(receipt.user_id, receipt.device_id));
    key[12..].copy_from_slice(&receipt.conversation_id.to_be_bytes());
    key
}

/// The seq of a receipt, and when it was written, Unix ms.
pub(super) fn receipt(value: &[u8]) -> Option<(u64, u64)> {
    fields(value).map(|[seq, at_ms]| (seq, at_ms))
}

/// The first number of a row: in a dedup or open row the id, which says when it runs out; in a
/// message the seq.
pub(super) fn leading_id(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|id| u64::from_le_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::BUCKET_MS;
    use crate::ids::{EPOCH_MS, Snowflake};

    #[test]
    fn newer_messages_sort_first_through_all_buckets() {
        let mut ids = Snowflake::new(9, 0);
        let keys: Vec<_> = (0..40)
            .map(|i| message_key(5, ids.next_id(EPOCH_MS + i * (BUCKET_MS / 3))))
            .collect();
        assert!(keys.windows(2).all(|pair| pair[0] > pair[1]));
        assert!(message_key(6, ids.next_id(0)) > keys[0]);
    }

    #[test]
    fn a_message_comes_back_from_its_row_and_a_short_row_is_refused() {
        let message_in = Deliver {
            conversation_id: 1,
            seq: 2,
            message_id: 3,
            sender_user_id: 4,
            sender_device_id: 5,
            client_msg_id: 6,
            hlc: 7,
            payload: b"x".to_vec(),
        };
        let (key, value) = (message_key(1, 3), message_value(&message_in));
        assert_eq!(message_id_of(&key), Some(3));
        assert_eq!(message(1, 3, &value), Some(message_in));
        assert_eq!(message(1, 3, &value[..35]), None);
        assert_eq!(head(&value[..15]), None);
        assert_eq!(message_id_of(&key[..19]), None);
    }
}
