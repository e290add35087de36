//! One direct conversation as its user sees it: what to send, and what to show. No I/O.
//!
//! Invariant: what has been shown is exactly the messages from the first that was asked for up to where
//! the [`Timeline`] is, each once.

use std::time::{Duration, Instant};

use rookery_wire::proto::{self, ClientMsgId, ServerFrame};
use uuid::Uuid;

use super::outgoing::Outgoing;
use super::patience::Patience;
use super::text::{self, clean, clock};
use super::timeline::Timeline;

/// Older messages that are shown at the start and per `/history`.
pub(super) const PAGE_MESSAGES: u32 = 20;

/// What the dialog wants done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// Send this frame.
    Frame(Vec<u8>),
    /// Show a message.
    Show(String),
    /// Show something about the conversation.
    Note(String),
    /// There will be no conversation, and why.
    Fail(String),
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Open,
    History,
}

/// A request that is not answered yet.
struct Asked {
    request_id: u64,
    purpose: Purpose,
    frame: Vec<u8>,
    patience: Patience,
}

/// The conversation, once it is known.
struct Conversation {
    id: u64,
    timeline: Timeline,
    /// The first message that was shown, or will be: History asks for older ones.
    oldest_shown_seq: u64,
}

/// The state of a conversation. It outlives connections.
pub(super) struct Dialog {
    me: u64,
    peer: u64,
    conversation: Option<Conversation>,
    greeted: bool,
    next_request_id: u64,
    outgoing: Outgoing,
    /// Of this connection.
    asked: Vec<Asked>,
}

impl Dialog {
    pub(super) fn new(peer: u64, first_message_id: Uuid) -> Self {
        Self {
            me: 0,
            peer,
            conversation: None,
            greeted: false,
            next_request_id: 1,
            outgoing: Outgoing::new(first_message_id),
            asked: Vec::new(),
        }
    }

    /// Whether everything that was said is durable.
    pub(super) fn is_all_durable(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// What was said and is not durable, as it is shown.
    pub(super) fn undurable(&self) -> Vec<String> {
        self.outgoing
            .texts()
            .map(|text| clean(text.as_bytes()))
            .collect()
    }

    /// Whether the conversation is open and everything that was said in it is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.greeted && self.outgoing.is_empty()
    }

    /// Whether another line can be taken: what waits for the server is bounded.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.has_room()
    }

    /// Text of the user. What is too long for one message goes as several.
    pub(super) fn say(&mut self, text: &str, out: &mut Vec<Out>) {
        let conversation_id = self.open_id();
        self.outgoing.say(text, conversation_id, out);
    }

    /// The conversation's id, while it is open on this connection.
    fn open_id(&self) -> Option<u64> {
        self.conversation
            .as_ref()
            .filter(|_| self.greeted)
            .map(|it| it.id)
    }

    /// `/history`.
    pub(super) fn history(&mut self, out: &mut Vec<Out>) {
        match &self.conversation {
            Some(conversation) if self.greeted => {
                let (conversation_id, before_seq) =
                    (conversation.id, conversation.oldest_shown_seq);
                let request_id = self.request_id();
                let history = proto::History {
                    request_id,
                    conversation_id,
                    before_seq,
                    limit: PAGE_MESSAGES,
                };
                self.ask(request_id, Purpose::History, &history, out);
            }
            _ => out.push(Out::Note("not connected".to_owned())),
        }
    }

    /// The connection is lost. What was not acked is sent again on the next, under the same ids.
    pub(super) fn on_lost(&mut self) {
        self.greeted = false;
        self.asked.clear();
        self.outgoing.on_lost();
        if let Some(conversation) = &mut self.conversation {
            conversation.timeline.on_lost();
        }
    }

    /// A frame of the server.
    pub(super) fn on_frame(&mut self, received: ServerFrame<'_>, now: Instant, out: &mut Vec<Out>) {
        match received {
            ServerFrame::Welcome(welcome) => self.on_welcome(&proto::owned(welcome), out),
            ServerFrame::ConversationOpened(opened) => self.on_opened(&proto::owned(opened), out),
            ServerFrame::SendAck(ack) => self.on_ack(ack.client_msg_id, ack.hlc.to_native(), out),
            ServerFrame::Deliver(deliver) => self.on_deliver(proto::owned(deliver), out),
            ServerFrame::SyncEnd(end) => {
                if let Some(conversation) = &mut self.conversation {
                    conversation.timeline.on_sync_end(&proto::owned(end), now);
                }
            }
            ServerFrame::HistoryPage(page) => self.on_page(&proto::owned(page), out),
            ServerFrame::Lagged(_) => {
                if let Some(conversation) = &mut self.conversation {
                    conversation.timeline.on_lagged();
                }
            }
            ServerFrame::Ping(ping) => out.push(frame(&proto::Pong {
                nonce: ping.nonce.to_native(),
            })),
            ServerFrame::Error(error) => self.on_error(&proto::owned(error), now, out),
            // The link's matter.
            ServerFrame::Reconnect(_) => {}
            ServerFrame::Pong(_)
            | ServerFrame::Conversations(_)
            | ServerFrame::Members(_)
            | ServerFrame::OutboxPage(_) => {}
        }
        self.sync(now, out);
    }

    fn on_welcome(&mut self, welcome: &proto::Welcome, out: &mut Vec<Out>) {
        self.me = welcome.user_id;
        self.outgoing.fit(welcome.payload_bytes_max, out);
        let request_id = self.request_id();
        let open = proto::OpenDirect {
            request_id,
            peer_user_id: self.peer,
        };
        self.ask(request_id, Purpose::Open, &open, out);
    }

    /// The answer to OpenDirect. (One with another member list is another conversation's, pushed.)
    fn on_opened(&mut self, opened: &proto::ConversationOpened, out: &mut Vec<Out>) {
        if opened.request_id == 0 || self.greeted {
            return;
        }
        self.answered(opened.request_id);
        self.greeted = true;
        match &mut self.conversation {
            Some(conversation) => conversation.timeline.on_head(opened.head_seq),
            None => {
                self.conversation = Some(Conversation {
                    id: opened.conversation_id,
                    timeline: Timeline::follow(opened.head_seq),
                    oldest_shown_seq: opened.head_seq.saturating_add(1),
                });
                if opened.head_seq > 0 {
                    self.history(out);
                }
            }
        }
        self.outgoing.on_opened(opened.conversation_id, out);
    }

    fn on_ack(&mut self, client_msg_id: ClientMsgId, hlc: u64, out: &mut Vec<Out>) {
        if let Some(text) = self.outgoing.on_ack(client_msg_id) {
            let text = clean(text.as_bytes());
            out.push(Out::Show(format!("  ✓ {} {text}", clock(hlc))));
        }
    }

    fn on_deliver(&mut self, deliver: proto::Deliver, out: &mut Vec<Out>) {
        let Some(conversation) = &mut self.conversation else {
            return;
        };
        if deliver.conversation_id != conversation.id {
            return;
        }
        for message in conversation.timeline.on_deliver(deliver) {
            let mine = message.sender_user_id == self.me;
            if !(mine && self.outgoing.on_delivered(message.client_msg_id)) {
                out.push(Out::Show(text::shown(&message)));
            }
        }
    }

    /// Newest first; shown oldest first, and only what is older than all that was shown.
    fn on_page(&mut self, page: &proto::HistoryPage, out: &mut Vec<Out>) {
        self.answered(page.request_id);
        let Some(conversation) = &mut self.conversation else {
            return;
        };
        if page.conversation_id != conversation.id {
            return;
        }
        let shown_from = conversation.oldest_shown_seq;
        let older = page.messages.iter().rev().filter(|it| it.seq < shown_from);
        out.extend(older.map(|message| Out::Show(text::shown(message))));
        if let Some(oldest) = page.messages.last() {
            conversation.oldest_shown_seq = shown_from.min(oldest.seq);
        }
        if page.has_more == 0 {
            out.push(Out::Note(
                "that is the beginning of the conversation".to_owned(),
            ));
        }
    }

    fn on_error(&mut self, error: &proto::Error, now: Instant, out: &mut Vec<Out>) {
        let reason = clean(&error.reason);
        let (id, retry_after_ms) = (error.request_id, error.retry_after_ms);
        if let Some(conversation) = &mut self.conversation
            && conversation.timeline.is_asked(id)
        {
            let wait = conversation.timeline.on_refused(now, retry_after_ms);
            out.push(wait.map_or_else(|| says(&reason), |wait| waits(&reason, wait)));
            return;
        }
        if self
            .outgoing
            .on_refused(error.client_msg_id, retry_after_ms, now, &reason, out)
        {
            return;
        }
        let Some(at) = self.asked.iter().position(|it| it.request_id == id) else {
            return out.push(says(&reason));
        };
        out.push(match self.asked[at].patience.refuse(now, retry_after_ms) {
            Some(wait) => waits(&reason, wait),
            None => match self.asked.swap_remove(at).purpose {
                Purpose::Open => Out::Fail(reason),
                Purpose::History => says(&reason),
            },
        });
    }

    /// When [`Dialog::retry`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let requests = self.asked.iter().map(|it| it.patience.again_at());
        let conversation = self.conversation.as_ref().filter(|_| self.greeted);
        let sync = conversation.and_then(|it| it.timeline.poll_timeout());
        let all = requests.chain([self.outgoing.poll_timeout(), sync]);
        all.flatten().min()
    }

    /// Sends what was refused with a retry-after and has waited long enough.
    pub(super) fn retry(&mut self, now: Instant, out: &mut Vec<Out>) {
        for asked in &mut self.asked {
            if asked.patience.take_due(now) {
                out.push(Out::Frame(asked.frame.clone()));
            }
        }
        if let Some(conversation_id) = self.open_id() {
            self.outgoing.retry(now, conversation_id, out);
        }
        self.sync(now, out);
    }

    /// Sends every message again that was neither acked nor refused: a router that was started anew
    /// may know nothing of it.
    pub(super) fn resend(&mut self, out: &mut Vec<Out>) {
        if let Some(conversation_id) = self.open_id() {
            self.outgoing.resend(conversation_id, out);
        }
    }

    fn ask<T: proto::Message>(
        &mut self,
        request_id: u64,
        purpose: Purpose,
        message: &T,
        out: &mut Vec<Out>,
    ) {
        let frame = proto::encode(message);
        out.push(Out::Frame(frame.clone()));
        self.asked.push(Asked {
            request_id,
            purpose,
            frame,
            patience: Patience::default(),
        });
    }

    fn answered(&mut self, request_id: u64) {
        self.asked.retain(|asked| asked.request_id != request_id);
    }

    /// Asks for what is missing, if it is time to.
    fn sync(&mut self, now: Instant, out: &mut Vec<Out>) {
        let request_id = self.next_request_id;
        if let Some(conversation) = self.conversation.as_mut().filter(|_| self.greeted)
            && let Some(have_seq) = conversation.timeline.poll_sync(now, request_id)
        {
            self.next_request_id += 1;
            out.push(frame(&proto::Sync {
                request_id,
                conversation_id: conversation.id,
                have_seq,
                limit: PAGE_MESSAGES,
            }));
        }
    }

    fn request_id(&mut self) -> u64 {
        let request_id = self.next_request_id;
        self.next_request_id += 1;
        request_id
    }
}

pub(super) fn frame<T: proto::Message>(message: &T) -> Out {
    Out::Frame(proto::encode(message))
}

fn says(reason: &str) -> Out {
    Out::Note(format!("the server says: {reason}"))
}

pub(super) fn waits(reason: &str, wait: Duration) -> Out {
    Out::Note(format!(
        "the server says: {reason}; trying again in {:.1} s",
        wait.as_secs_f32()
    ))
}

#[cfg(test)]
#[path = "dialog_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod timeline_tests;
