//! The records of the log, packed by hand; `docs/log-records.md` gives every byte.
//!
//! Little-endian, no padding, a version and a kind in front. The log guards the bytes with its
//! checksum, so a record that does not decode was written by another version or by a defect.

use rookery_wire::proto::ClientMsgId;

/// The version that this program writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// A version byte up to this may come from a newer program; a greater one is no record of ours.
const VERSION_PLAUSIBLE_MAX: u8 = 15;
/// The same of kinds.
const KIND_PLAUSIBLE_MAX: u8 = 15;

const KIND_MESSAGE: u8 = 1;
const KIND_OPENED: u8 = 2;
const KIND_REPEATED: u8 = 3;
const KIND_GENESIS: u8 = 5;
const ORIGIN_DIRECT: u8 = 0;
const ORIGIN_CREATED: u8 = 1;

/// Bytes of a message record in front of its payload.
pub const MESSAGE_HEADER_BYTES: usize = 2 + 4 * 8 + 4 + 16;

/// A record of the log, read in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message was sent.
    Message(Message<'a>),
    /// A conversation came to be.
    Opened(Opened),
    /// Whose log the partition is of. Says nothing of conversations and takes no seq.
    Genesis(Genesis),
}

/// A message as the log holds it: all but the seq, which is the consumer's to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its id.
    pub message_id: u64,
    /// Its stamp.
    pub hlc: u64,
    /// Where to.
    pub conversation_id: u64,
    /// Who.
    pub sender_user_id: u64,
    /// From which device.
    pub sender_device_id: u32,
    /// The sender's own id.
    pub client_msg_id: ClientMsgId,
    /// The message may lie in the log already: the consumer looks before it counts it.
    pub repeated: bool,
    /// Ciphertext.
    pub payload: &'a [u8],
}

/// What a conversation was opened by, and thereby what makes a second request the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenKey {
    /// The direct conversation of two users, the lower id first; equal for notes to oneself.
    Direct {
        /// The lower.
        low: u64,
        /// The higher.
        high: u64,
    },
    /// A CreateConversation.
    Created {
        /// Who asked.
        user_id: u64,
        /// Their id of the request.
        request_id: u64,
    },
}

impl OpenKey {
    /// The key of a pair, in either order.
    pub fn direct(one: u64, other: u64) -> OpenKey {
        OpenKey::Direct {
            low: one.min(other),
            high: one.max(other),
        }
    }
}

/// A conversation as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub conversation_id: u64,
    /// Its stamp.
    pub hlc: u64,
    /// Who opened it.
    pub opener_user_id: u64,
    /// From which device: its request has an answer of its own.
    pub opener_device_id: u32,
    /// How.
    pub key: OpenKey,
    /// All members, ascending.
    pub members: Vec<u64>,
}

/// The first record of a partition of a distributed log: what tells it from any other of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The log's, drawn at random when it was made.
    pub log_id: u64,
    /// The partition that it lies in.
    pub partition: u32,
    /// How many partitions the log has from the epoch on that this one came with.
    pub partitions: u32,
}

/// The record can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Of another version of the program.
    #[error("record version {0}, this program reads {VERSION}: use the program that wrote it")]
    Version(u8),
    /// Of a kind that this program does not know, and a newer one may.
    #[error(
        "record kind {0} is unknown to this program: use the one that wrote it, or a newer one"
    )]
    Kind(u8),
    /// Too short, or with a field that can't be.
    #[error("record is cut short or has an impossible field")]
    Malformed,
}

impl Message<'_> {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(MESSAGE_HEADER_BYTES + self.payload.len());
        let kind = match self.repeated {
            false => KIND_MESSAGE,
            true => KIND_REPEATED,
        };
        body.extend_from_slice(&[VERSION, kind]);
        for field in [
            self.message_id,
            self.hlc,
            self.conversation_id,
            self.sender_user_id,
        ] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body.extend_from_slice(&self.sender_device_id.to_le_bytes());
        body.extend_from_slice(&self.client_msg_id);
        body.extend_from_slice(self.payload);
        body
    }
}

impl Opened {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(2 + 3 * 8 + 4 + 17 + 8 * self.members.len());
        body.extend_from_slice(&[VERSION, KIND_OPENED]);
        let (origin, first, second) = match self.key {
            OpenKey::Direct { low, high } => (ORIGIN_DIRECT, low, high),
            OpenKey::Created {
                user_id,
                request_id,
            } => (ORIGIN_CREATED, user_id, request_id),
        };
        for field in [self.conversation_id, self.hlc, self.opener_user_id] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body.extend_from_slice(&self.opener_device_id.to_le_bytes());
        body.push(origin);
        for field in [first, second].iter().chain(&self.members) {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body
    }
}

impl Genesis {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![VERSION, KIND_GENESIS];
        body.extend_from_slice(&self.log_id.to_le_bytes());
        body.extend_from_slice(&self.partition.to_le_bytes());
        body.extend_from_slice(&self.partitions.to_le_bytes());
        body
    }
}

/// Reads a record.
pub fn decode(body: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (&[version, kind], rest) = body.split_first_chunk().ok_or(DecodeError::Malformed)?;
    match version {
        VERSION => {}
        newer if (VERSION..=VERSION_PLAUSIBLE_MAX).contains(&newer) => {
            return Err(DecodeError::Version(version));
        }
        _ => return Err(DecodeError::Malformed),
    }
    match kind {
        KIND_MESSAGE | KIND_REPEATED => decode_message(rest, kind == KIND_REPEATED)
            .map(Record::Message)
            .ok_or(DecodeError::Malformed),
        KIND_OPENED => decode_opened(rest)
            .map(Record::Opened)
            .ok_or(DecodeError::Malformed),
        KIND_GENESIS => decode_genesis(rest)
            .map(Record::Genesis)
            .ok_or(DecodeError::Malformed),
        newer if newer <= KIND_PLAUSIBLE_MAX => Err(DecodeError::Kind(newer)),
        _ => Err(DecodeError::Malformed),
    }
}

fn decode_message(mut rest: &[u8], repeated: bool) -> Option<Message<'_>> {
    Some(Message {
        message_id: take_u64(&mut rest)?,
        hlc: take_u64(&mut rest)?,
        conversation_id: take_u64(&mut rest)?,
        sender_user_id: take_u64(&mut rest)?,
        sender_device_id: u32::from_le_bytes(take(&mut rest)?),
        client_msg_id: take(&mut rest)?,
        repeated,
        payload: rest,
    })
}

fn decode_opened(mut rest: &[u8]) -> Option<Opened> {
    let conversation_id = take_u64(&mut rest)?;
    let hlc = take_u64(&mut rest)?;
    let opener_user_id = take_u64(&mut rest)?;
    let opener_device_id = u32::from_le_bytes(take(&mut rest)?);
    let [origin] = take(&mut rest)?;
    let (first, second) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
    let key = match origin {
        ORIGIN_DIRECT if first <= second => OpenKey::Direct {
            low: first,
            high: second,
        },
        ORIGIN_CREATED => OpenKey::Created {
            user_id: first,
            request_id: second,
        },
        _ => return None,
    };
    let members = u64s(rest)?;
    let ascending = members.windows(2).all(|pair| pair[0] < pair[1]);
    (ascending && !members.is_empty()).then_some(Opened {
        conversation_id,
        hlc,
        opener_user_id,
        opener_device_id,
        key,
        members,
    })
}

fn decode_genesis(mut rest: &[u8]) -> Option<Genesis> {
    Some(Genesis {
        log_id: take_u64(&mut rest)?,
        partition: u32::from_le_bytes(take(&mut rest)?),
        partitions: u32::from_le_bytes(take(&mut rest)?),
    })
}

/// The first bytes of a slice, taken off it.
pub(crate) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

/// A little-endian u64, taken off a slice.
pub(crate) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

/// A slice that is all little-endian u64s.
pub(crate) fn u64s(bytes: &[u8]) -> Option<Vec<u64>> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| {
        chunks
            .iter()
            .map(|&chunk| u64::from_le_bytes(chunk))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_a_message_are_the_documented_ones() {
        let message = Message {
            message_id: 1,
            hlc: 2,
            conversation_id: 3,
            sender_user_id: 4,
            sender_device_id: 5,
            client_msg_id: [6; 16],
            repeated: false,
            payload: b"hi",
        };
        let body = message.encode();
        assert_eq!(body.len(), MESSAGE_HEADER_BYTES + 2);
        assert_eq!(body[..11], [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(body[34..38], [5, 0, 0, 0]);
        assert_eq!(decode(&body), Ok(Record::Message(message)));
        let again = Message {
            repeated: true,
            ..message
        };
        let mut bytes = again.encode();
        assert_eq!(decode(&bytes), Ok(Record::Message(again)));
        assert_eq!(std::mem::replace(&mut bytes[1], 1), 3);
        assert_eq!(bytes, body);
    }

    #[test]
    fn the_bytes_of_a_genesis_are_the_documented_ones() {
        let genesis = Genesis {
            log_id: 0x0807_0605_0403_0201,
            partition: 11,
            partitions: 12,
        };
        let body = genesis.encode();
        assert_eq!(body[..10], [1, 5, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(body[10..], [11, 0, 0, 0, 12, 0, 0, 0]);
        assert_eq!(decode(&body), Ok(Record::Genesis(genesis)));
        assert_eq!(decode(&body[..17]), Err(DecodeError::Malformed));
    }

    #[test]
    fn other_versions_kinds_and_disorder_are_named() {
        assert_eq!(decode(&[]), Err(DecodeError::Malformed));
        assert_eq!(decode(&[2, 1, 0]), Err(DecodeError::Version(2)));
        assert_eq!(decode(&[1, 9, 0]), Err(DecodeError::Kind(9)));
        assert_eq!(decode(&[1, 16, 0]), Err(DecodeError::Malformed));
        let mut opened = Opened {
            conversation_id: 1,
            hlc: 2,
            opener_user_id: 3,
            opener_device_id: 4,
            key: OpenKey::direct(9, 3),
            members: vec![3, 9],
        };
        assert_eq!(decode(&opened.encode()), Ok(Record::Opened(opened.clone())));
        opened.members = vec![9, 3];
        assert_eq!(decode(&opened.encode()), Err(DecodeError::Malformed));
    }

    proptest! {
        #[test]
        fn every_prefix_of_an_opening_is_refused_or_is_shorter(
            members in prop::collection::btree_set(1_u64..1 << 63, 1..40), id in any::<u64>(),
        ) {
            let members: Vec<u64> = members.into_iter().collect();
            let opened = Opened {
                conversation_id: id, hlc: !id, opener_user_id: members[0], opener_device_id: 1,
                key: OpenKey::Created { user_id: members[0], request_id: id }, members,
            };
            let body = opened.encode();
            prop_assert_eq!(decode(&body), Ok(Record::Opened(opened.clone())));
            for cut in 0..body.len() {
                if let Ok(Record::Opened(less)) = decode(&body[..cut]) {
                    prop_assert!(less.members.len() < opened.members.len());
                }
            }
        }

        #[test]
        fn garbage_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body);
        }
    }
}
