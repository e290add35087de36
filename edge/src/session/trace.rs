//! Watching what a user's connections say and are told: the headers of frames, for a bounded time. Never
//! a payload, a token or a reason of a client's.
//!
//! A trace costs the shard nothing while there is none, and one look at a short list for each frame while
//! there is. Whoever reads it slowly loses lines, which are counted; the shard never waits.

use std::time::SystemTime;

use rookery_wire::proto::{ClientFrame, ErrorCode, Limits, ServerFrame};
use serde::Serialize;
use tokio::sync::mpsc::Sender;

use super::conn::Conn;
use crate::unix_time::unix_ms;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// One frame. Ids that the frame does not have are left out.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Which device of the user.
    pub device_id: u32,
    /// Which way.
    pub direction: Direction,
    /// The kind's name, as in docs/protocol.md.
    pub kind: &'static str,
    /// Of the whole frame.
    pub bytes: usize,
    /// What it is about.
    #[serde(flatten)]
    pub about: About,
    /// Lines that were lost before this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

macro_rules! header {
    ($($(#[doc = $doc:literal])+ $name:ident: $Type:ty,)*) => {
        /// The ids and numbers of a frame's header.
        #[derive(Clone, Debug, Default, Serialize)]
        pub struct About {
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$Type>,)*
        }
    };
}

header! {
    /// The request, or the one that is answered; 0 where nobody asked.
    request_id: u64,
    /// The sender's id of a message, in hexadecimal.
    client_msg_id: String,
    /// The conversation.
    conversation_id: u64,
    /// Of the message, or up to which.
    seq: u64,
    /// The message.
    message_id: u64,
    /// Entries of a page or a list.
    entries: usize,
    /// Frames that were skipped.
    skipped: u64,
    /// An Error's code.
    error: &'static str,
}

/// One watcher of one user.
struct Trace {
    user_id: u64,
    lines: Sender<Line>,
    lost: u64,
}

/// Those of a shard.
#[derive(Default)]
pub(super) struct Traces(Vec<Trace>);

impl Traces {
    /// Begins one.
    pub(super) fn begin(&mut self, user_id: u64, lines: Sender<Line>) {
        self.0.retain(|trace| !trace.lines.is_closed());
        self.0.push(Trace {
            user_id,
            lines,
            lost: 0,
        });
    }

    /// A frame passes by.
    pub(super) fn note(&mut self, who: &Conn, direction: Direction, frame: &[u8]) {
        if self.0.is_empty() {
            return;
        }
        for trace in &mut self.0 {
            if trace.user_id != who.user_id || who.user_id == 0 {
                continue;
            }
            let Some((kind, about)) = header(direction, frame) else {
                continue;
            };
            let line = Line {
                at_ms: unix_ms(SystemTime::now()),
                device_id: who.device_id,
                direction,
                kind,
                bytes: frame.len(),
                about,
                lost: trace.lost,
            };
            match trace.lines.try_send(line) {
                Ok(()) => trace.lost = 0,
                Err(_) => trace.lost += 1,
            }
        }
        if self.0.iter().any(|trace| trace.lines.is_closed()) {
            self.0.retain(|trace| !trace.lines.is_closed());
        }
    }
}

fn header(direction: Direction, frame: &[u8]) -> Option<(&'static str, About)> {
    match direction {
        Direction::In => {
            let frame = ClientFrame::parse(frame, &Limits::client_frames(usize::MAX >> 8)).ok()?;
            Some((frame.kind().name(), of_client(&frame)))
        }
        Direction::Out => {
            let frame = ServerFrame::parse(frame, &Limits::SERVER_FRAMES).ok()?;
            Some((frame.kind().name(), of_server(&frame)))
        }
    }
}

fn hex(id: &[u8; 16]) -> Option<String> {
    (*id != [0; 16]).then(|| format!("{:032x}", u128::from_be_bytes(*id)))
}

/// What an archive has of these.
macro_rules! about {
    ($it:ident: $($name:ident),* $(; $($other:ident = $value:expr),*)?) => {
        About {
            $($name: Some($it.$name.to_native()),)*
            $($($other: $value,)*)?
            ..About::default()
        }
    };
}

fn of_client(frame: &ClientFrame<'_>) -> About {
    match frame {
        ClientFrame::Send(it) => {
            about!(it: conversation_id; client_msg_id = hex(&it.client_msg_id))
        }
        ClientFrame::Sync(it) => {
            about!(it: request_id, conversation_id; seq = Some(it.have_seq.to_native()))
        }
        ClientFrame::History(it) => {
            about!(it: request_id, conversation_id; seq = Some(it.before_seq.to_native()))
        }
        ClientFrame::DeliverAck(it) => about!(it: conversation_id, seq),
        ClientFrame::Outbox(it) => about!(it: request_id),
        ClientFrame::OpenDirect(it) => about!(it: request_id),
        ClientFrame::CreateConversation(it) => {
            about!(it: request_id; entries = Some(it.member_user_ids.len()))
        }
        ClientFrame::ListConversations(it) => about!(it: request_id),
        ClientFrame::ListMembers(it) => about!(it: request_id, conversation_id),
        ClientFrame::Login(_) | ClientFrame::Ping(_) | ClientFrame::Pong(_) => About::default(),
    }
}

fn of_server(frame: &ServerFrame<'_>) -> About {
    match frame {
        ServerFrame::SendAck(it) => {
            about!(it: conversation_id, message_id; client_msg_id = hex(&it.client_msg_id))
        }
        ServerFrame::Deliver(it) => about!(it: conversation_id, seq, message_id),
        ServerFrame::SyncEnd(it) => {
            about!(it: request_id, conversation_id; seq = Some(it.last_seq.to_native()))
        }
        ServerFrame::HistoryPage(it) => {
            about!(it: request_id, conversation_id; entries = Some(it.messages.len()))
        }
        ServerFrame::OutboxPage(it) => about!(it: request_id; entries = Some(it.messages.len())),
        ServerFrame::ConversationOpened(it) => {
            about!(it: request_id, conversation_id; entries = Some(it.member_user_ids.len()))
        }
        ServerFrame::Conversations(it) => {
            about!(it: request_id; entries = Some(it.conversations.len()))
        }
        ServerFrame::Members(it) => {
            about!(it: request_id, conversation_id; entries = Some(it.member_user_ids.len()))
        }
        ServerFrame::Lagged(it) => about!(it: skipped),
        ServerFrame::Reconnect(it) => about!(it: ; entries = Some(it.alternatives.len())),
        ServerFrame::Error(it) => {
            let code = ErrorCode::from_code(it.code.to_native());
            about!(it: request_id; client_msg_id = hex(&it.client_msg_id),
                error = Some(code.map_or("other", ErrorCode::name)))
        }
        ServerFrame::Welcome(_) | ServerFrame::Ping(_) | ServerFrame::Pong(_) => About::default(),
    }
}
