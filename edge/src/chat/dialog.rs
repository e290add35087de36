//! One direct conversation as its user sees it: what to send, and what to show. No I/O.
//!
//! Invariant: what has been shown is exactly the messages up to `have_seq` (from the first that was
//! asked for), in order and each once. A Deliver that is not the next is not shown: the gap is asked
//! for with Sync, which brings it again.

use std::collections::{HashSet, VecDeque};

use rookery_wire::proto::{self, ServerFrame};

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
}

/// A message that is not durable yet.
struct Pending {
    client_msg_id: u64,
    text: String,
}

/// The state of a conversation. It outlives connections.
pub(super) struct Dialog {
    me: u64,
    peer: u64,
    conversation: Option<u64>,
    have_seq: u64,
    oldest_shown: u64,
    /// A Sync is on its way: gaps seen meanwhile are in its answer or found after it.
    syncing: bool,
    greeted: bool,
    next_request_id: u64,
    next_client_msg_id: u64,
    pending: VecDeque<Pending>,
    /// Messages of this run: their Delivers are not shown, the typed line stands there already.
    mine: HashSet<u64>,
}

impl Dialog {
    pub(super) fn new(peer: u64, first_message_id: u64) -> Self {
        Self {
            me: 0,
            peer,
            conversation: None,
            have_seq: 0,
            oldest_shown: 0,
            syncing: false,
            greeted: false,
            next_request_id: 1,
            next_client_msg_id: first_message_id,
            pending: VecDeque::new(),
            mine: HashSet::new(),
        }
    }

    /// Whether everything that was said is durable.
    pub(super) fn is_all_durable(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the conversation is open and everything that was said in it is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.greeted && self.pending.is_empty()
    }

    /// A line of the user.
    pub(super) fn say(&mut self, text: String, out: &mut Vec<Out>) {
        let client_msg_id = self.next_client_msg_id;
        self.next_client_msg_id = client_msg_id.wrapping_add(1);
        self.mine.insert(client_msg_id);
        self.pending.push_back(Pending {
            client_msg_id,
            text,
        });
        if let (Some(conversation_id), Some(message)) = (
            self.conversation.filter(|_| self.greeted),
            self.pending.back(),
        ) {
            out.push(send(conversation_id, message));
        }
    }

    /// `/history`.
    pub(super) fn history(&mut self, out: &mut Vec<Out>) {
        match self.conversation {
            Some(conversation_id) => {
                let before_message_id = self.oldest_shown;
                let request_id = self.request_id();
                out.push(frame(&proto::History {
                    request_id,
                    conversation_id,
                    before_message_id,
                    limit: PAGE_MESSAGES,
                }));
            }
            None => out.push(Out::Note("not connected".to_owned())),
        }
    }

    /// The connection is lost. What was not acked is sent again on the next, under the same ids.
    pub(super) fn on_lost(&mut self) {
        self.greeted = false;
        self.syncing = false;
    }

    /// A frame of the server.
    pub(super) fn on_frame(&mut self, received: ServerFrame<'_>, out: &mut Vec<Out>) {
        match received {
            ServerFrame::Welcome(welcome) => {
                self.me = welcome.user_id.to_native();
                let request_id = self.request_id();
                out.push(frame(&proto::OpenDirect {
                    request_id,
                    peer_user_id: self.peer,
                }));
            }
            ServerFrame::ConversationOpened(opened) => self.on_opened(&proto::owned(opened), out),
            ServerFrame::SendAck(ack) => {
                self.on_ack(ack.client_msg_id.to_native(), ack.hlc.to_native(), out)
            }
            ServerFrame::Deliver(deliver) => self.on_deliver(&proto::owned(deliver), out),
            ServerFrame::SyncEnd(end) => {
                self.syncing = false;
                if end.last_seq.to_native() < end.head_seq.to_native() {
                    self.sync(out);
                }
            }
            ServerFrame::HistoryPage(page) => self.on_page(&proto::owned(page), out),
            ServerFrame::Lagged(_) => self.sync(out),
            ServerFrame::Ping(ping) => out.push(frame(&proto::Pong {
                nonce: ping.nonce.to_native(),
            })),
            ServerFrame::Error(error) => self.on_error(&proto::owned(error), out),
            ServerFrame::Pong(_) | ServerFrame::Conversations(_) | ServerFrame::OutboxPage(_) => {}
        }
    }

    /// The answer to OpenDirect. (One with another member list is another conversation's, pushed.)
    fn on_opened(&mut self, opened: &proto::ConversationOpened, out: &mut Vec<Out>) {
        if opened.request_id == 0 || self.greeted {
            return;
        }
        self.greeted = true;
        if self.conversation.replace(opened.conversation_id).is_none() {
            self.have_seq = opened.head_seq;
            if opened.head_seq > 0 {
                self.history(out);
            }
        } else if opened.head_seq > self.have_seq {
            self.sync(out);
        }
        out.extend(
            self.pending
                .iter()
                .map(|message| send(opened.conversation_id, message)),
        );
    }

    fn on_ack(&mut self, client_msg_id: u64, hlc: u64, out: &mut Vec<Out>) {
        if let Some(at) = self
            .pending
            .iter()
            .position(|message| message.client_msg_id == client_msg_id)
            && let Some(message) = self.pending.remove(at)
        {
            out.push(Out::Show(format!(
                "  ✓ {} {}",
                clock(hlc),
                clean(message.text.as_bytes())
            )));
        }
    }

    fn on_deliver(&mut self, deliver: &proto::Deliver, out: &mut Vec<Out>) {
        if Some(deliver.conversation_id) != self.conversation || deliver.seq <= self.have_seq {
            return;
        }
        if deliver.seq > self.have_seq + 1 {
            return self.sync(out);
        }
        self.have_seq = deliver.seq;
        let typed_here =
            deliver.sender_user_id == self.me && self.mine.remove(&deliver.client_msg_id);
        if !typed_here {
            out.push(Out::Show(line(deliver)));
        }
    }

    /// Newest first; shown oldest first. What is newer than the live messages comes as Delivers.
    fn on_page(&mut self, page: &proto::HistoryPage, out: &mut Vec<Out>) {
        if Some(page.conversation_id) != self.conversation {
            return;
        }
        let shown = page
            .messages
            .iter()
            .rev()
            .filter(|message| message.seq <= self.have_seq);
        out.extend(shown.map(|message| Out::Show(line(message))));
        if let Some(oldest) = page.messages.last() {
            self.oldest_shown = oldest.message_id;
        }
        if page.has_more == 0 {
            out.push(Out::Note(
                "that is the beginning of the conversation".to_owned(),
            ));
        }
    }

    fn on_error(&mut self, error: &proto::Error, out: &mut Vec<Out>) {
        let reason = clean(&error.reason);
        // With a retry-after the message stays pending and is sent again with the next line or
        // connection; without one it will never be taken.
        let given_up = self.pending.iter().position(|message| {
            error.retry_after_ms == 0 && message.client_msg_id == error.request_id
        });
        match given_up.and_then(|at| self.pending.remove(at)) {
            Some(message) => out.push(Out::Note(format!(
                "not sent: {} ({reason})",
                clean(message.text.as_bytes())
            ))),
            None => out.push(Out::Note(format!("the server says: {reason}"))),
        }
    }

    /// Sends every unacked message again, after the server asked for patience.
    pub(super) fn resend(&self, out: &mut Vec<Out>) {
        if let Some(conversation_id) = self.conversation.filter(|_| self.greeted) {
            out.extend(
                self.pending
                    .iter()
                    .map(|message| send(conversation_id, message)),
            );
        }
    }

    fn sync(&mut self, out: &mut Vec<Out>) {
        if let Some(conversation_id) = self.conversation.filter(|_| !self.syncing) {
            self.syncing = true;
            let (request_id, have_seq) = (self.request_id(), self.have_seq);
            out.push(frame(&proto::Sync {
                request_id,
                conversation_id,
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

fn frame<T: proto::Message>(message: &T) -> Out {
    Out::Frame(proto::encode(message))
}

fn send(conversation_id: u64, message: &Pending) -> Out {
    let payload = message.text.clone().into_bytes();
    frame(&proto::Send {
        client_msg_id: message.client_msg_id,
        conversation_id,
        payload,
    })
}

fn line(message: &proto::Deliver) -> String {
    format!(
        "{} {}: {}",
        clock(message.hlc),
        message.sender_user_id,
        clean(&message.payload)
    )
}

/// The time of day of a hybrid logical clock, UTC.
fn clock(hlc: u64) -> String {
    let seconds = (hlc >> 16) / 1_000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Somebody else's bytes, without what would command the terminal.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "dialog_tests.rs"]
mod tests;
