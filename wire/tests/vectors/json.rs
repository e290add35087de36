//! Messages as JSON and back. Integers are decimal strings (JSON numbers end at 2^53), bytes are
//! hex, and long runs of one byte are `["ab", count]` parts of a list.

use rookery_wire::proto::*;
use serde_json::{Map, Value, json};

/// A run of one byte is written as a part from this length on.
const RUN_MIN: usize = 64;

pub(crate) fn bytes_to_json(bytes: &[u8]) -> Value {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    if !bytes
        .chunk_by(|a, b| a == b)
        .any(|run| run.len() >= RUN_MIN)
    {
        return json!(hex(bytes));
    }
    let (mut parts, mut plain) = (Vec::new(), Vec::new());
    for run in bytes.chunk_by(|a, b| a == b) {
        if run.len() < RUN_MIN {
            plain.extend_from_slice(run);
            continue;
        }
        if !plain.is_empty() {
            parts.push(json!(hex(&std::mem::take(&mut plain))));
        }
        parts.push(json!([hex(&run[..1]), run.len()]));
    }
    if !plain.is_empty() {
        parts.push(json!(hex(&plain)));
    }
    json!(parts)
}

pub(crate) fn bytes_from_json(value: &Value) -> Vec<u8> {
    match value {
        Value::String(hex) => hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect(),
        Value::Array(parts) => parts
            .iter()
            .flat_map(|part| match part {
                Value::Array(run) => {
                    bytes_from_json(&run[0]).repeat(run[1].as_u64().unwrap() as usize)
                }
                hex => bytes_from_json(hex),
            })
            .collect(),
        other => panic!("not bytes: {other}"),
    }
}

/// A field's type as JSON.
pub(crate) trait Field: Sized {
    fn to_json(&self) -> Value;
    fn from_json(value: &Value) -> Self;
}

macro_rules! integer_fields {
    ($($type:ty)*) => {
        $(impl Field for $type {
            fn to_json(&self) -> Value {
                json!(self.to_string())
            }
            fn from_json(value: &Value) -> Self {
                value.as_str().unwrap().parse().unwrap()
            }
        })*
    };
}

integer_fields! { u8 u16 u32 u64 }

impl Field for Vec<u8> {
    fn to_json(&self) -> Value {
        bytes_to_json(self)
    }
    fn from_json(value: &Value) -> Self {
        bytes_from_json(value)
    }
}

impl<const N: usize> Field for [u8; N] {
    fn to_json(&self) -> Value {
        bytes_to_json(self)
    }
    fn from_json(value: &Value) -> Self {
        bytes_from_json(value).try_into().unwrap()
    }
}

macro_rules! list_fields {
    ($($type:ty)*) => {
        $(impl Field for Vec<$type> {
            fn to_json(&self) -> Value {
                self.iter().map(Field::to_json).collect()
            }
            fn from_json(value: &Value) -> Self {
                value.as_array().unwrap().iter().map(Field::from_json).collect()
            }
        })*
    };
}

list_fields! { u64 Deliver ConversationHead Alternative }

macro_rules! messages {
    ($($name:ident { $($field:ident)* })*) => {
        $(impl Field for $name {
            fn to_json(&self) -> Value {
                let mut fields = Map::new();
                $(fields.insert(stringify!($field).into(), self.$field.to_json());)*
                Value::Object(fields)
            }
            fn from_json(value: &Value) -> Self {
                Self { $($field: Field::from_json(&value[stringify!($field)])),* }
            }
        })*
    };
}

messages! {
    Login { token resume_token }
    Welcome {
        user_id device_id session_id resume_token server_time_ms expires_at_ms
        heartbeat_interval_ms reconnect_jitter_ms payload_bytes_max page_messages_max
    }
    Alternative { url }
    Reconnect { server_time_ms not_before_ms not_after_ms alternatives reason }
    Send { client_msg_id conversation_id payload }
    SendAck { client_msg_id conversation_id message_id hlc }
    Deliver {
        conversation_id seq message_id sender_user_id sender_device_id client_msg_id hlc payload
    }
    Sync { request_id conversation_id have_seq limit }
    SyncEnd { request_id conversation_id last_seq head_seq }
    History { request_id conversation_id before_seq limit }
    HistoryPage { request_id conversation_id messages has_more }
    DeliverAck { conversation_id seq }
    Outbox { request_id cursor limit }
    OutboxPage { request_id messages next_cursor has_more needs_full_sync }
    OpenDirect { request_id peer_user_id }
    CreateConversation { request_id member_user_ids }
    ConversationOpened { request_id conversation_id head_seq member_user_ids }
    ListConversations { request_id after_conversation_id limit }
    ConversationHead { conversation_id head_seq }
    Conversations { request_id conversations has_more }
    ListMembers { request_id conversation_id }
    Members { request_id conversation_id member_user_ids }
    Ping { nonce }
    Pong { nonce }
    Lagged { skipped }
    Error { request_id client_msg_id code retry_after_ms reason }
}

/// The frame of a message given as JSON.
pub(crate) fn encode_json(kind: Kind, fields: &Value) -> Vec<u8> {
    macro_rules! encode_kind {
        ($($name:ident)*) => {
            match kind { $(Kind::$name => encode(&$name::from_json(fields)),)* }
        };
    }
    encode_kind! {
        Login Send Sync History DeliverAck Outbox OpenDirect CreateConversation ListConversations
        ListMembers Ping Pong Welcome Reconnect SendAck Deliver SyncEnd HistoryPage Lagged OutboxPage ConversationOpened
        Conversations Members Error
    }
}

/// The message of a frame as JSON.
pub(crate) fn decode_json(frame: &[u8]) -> Result<(Kind, Value), FrameError> {
    let kind = frame.get(1).copied().and_then(Kind::from_byte);
    if kind.is_some_and(|kind| (kind as u8) < 0x80) {
        let frame = ClientFrame::parse(frame, &Limits::CLIENT_FRAMES)?;
        macro_rules! fields {
            ($($name:ident)*) => { match frame { $(ClientFrame::$name(it) => owned::<$name>(it).to_json(),)* } };
        }
        let fields = fields! {
            Login Send Sync History DeliverAck Outbox OpenDirect CreateConversation
            ListConversations ListMembers Ping Pong
        };
        Ok((frame.kind(), fields))
    } else {
        let frame = ServerFrame::parse(frame, &Limits::SERVER_FRAMES)?;
        macro_rules! fields {
            ($($name:ident)*) => { match frame { $(ServerFrame::$name(it) => owned::<$name>(it).to_json(),)* } };
        }
        let fields = fields! {
            Welcome Reconnect SendAck Deliver SyncEnd HistoryPage Lagged OutboxPage ConversationOpened
            Conversations Members Error Ping Pong
        };
        Ok((frame.kind(), fields))
    }
}
