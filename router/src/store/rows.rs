//! The bytes of the embedded store's rows. Keys are big-endian, so that they sort; values are
//! little-endian. `docs/store.md` has the tables.

use rookery_wire::proto::Deliver;

use super::{Place, Position, Receipt, Slot, StoredMessage};
use crate::admission::{Known, SendKey};
use crate::record::{OpenKey, take, take_u64};
use crate::sequencer::Head;

/// The seq under which a conversation's head stands, before its messages.
const HEAD_SEQ: u64 = 0;

/// Conversation and seq: messages ascend, after their head.
pub(super) fn message_key(conversation_id: u64, seq: u64) -> [u8; 16] {
    pair_key(conversation_id, seq)
}

/// The key of a conversation's head.
pub(super) fn head_key(conversation_id: u64) -> [u8; 16] {
    pair_key(conversation_id, HEAD_SEQ)
}

/// The seq of a message key.
pub(super) fn seq_of(key: &[u8]) -> Option<u64> {
    let (_, seq) = key.split_last_chunk::<8>()?;
    (key.len() == 16).then_some(u64::from_be_bytes(*seq))
}

/// Two ids, sorting by the first.
pub(super) fn pair_key(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

/// The value of a row of a list: one byte where the user opened the conversation, else nothing.
pub(super) fn list_value(has_opened: bool) -> &'static [u8] {
    if has_opened { &[1] } else { &[] }
}

/// Whether the user of a list's row opened the conversation.
pub(super) fn has_opened(value: &[u8]) -> bool {
    !value.is_empty()
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

/// The bytes of a message's row in front of its payload.
const MESSAGE_BYTES: usize = 4 * 8 + 4 + 16;

/// All of a message but what its key says.
pub(super) fn message_value(message: &StoredMessage) -> Vec<u8> {
    let deliver = &message.deliver;
    let mut value = Vec::with_capacity(MESSAGE_BYTES + deliver.payload.len());
    for field in [
        message.log_offset,
        deliver.message_id,
        deliver.hlc,
        deliver.sender_user_id,
    ] {
        value.extend_from_slice(&field.to_le_bytes());
    }
    value.extend_from_slice(&deliver.sender_device_id.to_le_bytes());
    value.extend_from_slice(&deliver.client_msg_id);
    value.extend_from_slice(&deliver.payload);
    value
}

/// The message of a row.
pub(super) fn message(key: &[u8], value: &[u8]) -> Option<Deliver> {
    let (conversation_id, rest) = key.split_first_chunk()?;
    let seq = u64::from_be_bytes(rest.try_into().ok()?);
    let rest = &mut { value };
    let _log_offset = take_u64(rest)?;
    Some(Deliver {
        conversation_id: u64::from_be_bytes(*conversation_id),
        seq,
        message_id: take_u64(rest)?,
        hlc: take_u64(rest)?,
        sender_user_id: take_u64(rest)?,
        sender_device_id: u32::from_le_bytes(take(rest)?),
        client_msg_id: take(rest)?,
        payload: rest.to_vec(),
    })
}

/// The offset of a message's record.
pub(super) fn log_offset(value: &[u8]) -> Option<u64> {
    leading_u64(value)
}

/// Sender and the sender's id.
pub(super) fn name_key(name: SendKey) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&name.0.to_be_bytes());
    key[8..].copy_from_slice(&name.1);
    key
}

/// User, inverted slot, inverted conversation, inverted first seq: a forward scan is newest first.
pub(super) fn segment_key(user_id: u64, place: &Place) -> [u8; 28] {
    let mut key = [0; 28];
    key[..8].copy_from_slice(&user_id.to_be_bytes());
    key[8..12].copy_from_slice(&(!place.slot.0).to_be_bytes());
    key[12..20].copy_from_slice(&(!place.conversation_id).to_be_bytes());
    key[20..].copy_from_slice(&(!place.from_seq).to_be_bytes());
    key
}

/// The place of a segment key.
pub(super) fn place(key: &[u8]) -> Option<Place> {
    let rest = &mut key.get(8..)?;
    let place = Place {
        slot: Slot(!u32::from_be_bytes(take(rest)?)),
        conversation_id: !u64::from_be_bytes(take(rest)?),
        from_seq: !u64::from_be_bytes(take(rest)?),
    };
    rest.is_empty().then_some(place)
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

/// The first number of a row: in a dedup or open row the id, which says when it runs out.
pub(super) fn leading_u64(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|id| u64::from_le_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_from_its_row_and_a_short_row_is_refused() {
        let deliver = Deliver {
            conversation_id: 1,
            seq: 2,
            message_id: 3,
            sender_user_id: 4,
            sender_device_id: 5,
            client_msg_id: [6; 16],
            hlc: 7,
            payload: b"x".to_vec(),
        };
        let stored = StoredMessage {
            deliver: deliver.clone(),
            payload_hash: 8,
            log_offset: 9,
            at_ms: 10,
        };
        let (key, value) = (message_key(1, 2), message_value(&stored));
        assert_eq!(value.len(), MESSAGE_BYTES + 1);
        assert_eq!((seq_of(&key), log_offset(&value)), (Some(2), Some(9)));
        assert_eq!(message(&key, &value), Some(deliver));
        assert_eq!(message(&key, &value[..MESSAGE_BYTES - 1]), None);
        assert_eq!(message(&key[..15], &value), None);
        assert_eq!(head(&value[..15]), None);
        assert!(head_key(1) < key && key < message_key(1, 3) && key < head_key(2));
    }

    #[test]
    fn segments_sort_from_the_newest_place_down() {
        let place = |slot, conversation_id, from_seq| Place {
            slot: Slot(slot),
            conversation_id,
            from_seq,
        };
        let places = [
            Place::NEWEST,
            place(9, 8, 7),
            place(9, 8, 6),
            place(9, 7, 9),
            place(8, u64::MAX, 1),
            place(0, 0, 0),
        ];
        assert!(places.is_sorted_by(|a, b| a > b));
        let keys = places.map(|it| segment_key(5, &it));
        assert!(keys.is_sorted() && keys[5] < segment_key(6, &places[0]));
        assert_eq!(keys.map(|key| place_of(&key)), places.map(Some));
        assert_eq!(place_of(&keys[1][..27]), None);
    }

    fn place_of(key: &[u8]) -> Option<Place> {
        super::place(key)
    }
}
