//! One direct conversation as its user sees it: what to send, and what to show. No I/O.
//!
//! Invariant: what has been shown is exactly the messages up to `have_seq` (from the first that was
//! asked for), in order and each once. A Deliver that is not the next is not shown: the gap is asked
//! for with Sync, which brings it again.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use rookery_wire::proto::{self, ServerFrame};

use super::patience::Patience;

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

/// A message that is not durable yet.
struct Pending {
    client_msg_id: u64,
    text: String,
    /// It was refused with a retry-after, or was said behind one that was: it goes out when the wait is over.
    waits: bool,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Open,
    Sync,
    History,
}

/// A request that is not answered yet.
struct Asked {
    request_id: u64,
    purpose: Purpose,
    frame: Vec<u8>,
    patience: Patience,
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
    /// One for all messages: they stay in order, and any that is taken shows that it goes on.
    patience: Patience,
    /// Of this connection.
    asked: Vec<Asked>,
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
            patience: Patience::default(),
            asked: Vec::new(),
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
        let message = Pending {
            client_msg_id,
            text,
            waits: self.patience.again_at().is_some(),
        };
        if let Some(conversation_id) = self.conversation.filter(|_| self.greeted && !message.waits)
        {
            out.push(send(conversation_id, &message));
        }
        self.pending.push_back(message);
    }

    /// `/history`.
    pub(super) fn history(&mut self, out: &mut Vec<Out>) {
        match self.conversation {
            Some(conversation_id) => {
                let before_message_id = self.oldest_shown;
                let request_id = self.request_id();
                let history = proto::History {
                    request_id,
                    conversation_id,
                    before_message_id,
                    limit: PAGE_MESSAGES,
                };
                self.ask(request_id, Purpose::History, &history, out);
            }
            None => out.push(Out::Note("not connected".to_owned())),
        }
    }

    /// The connection is lost. What was not acked is sent again on the next, under the same ids.
    pub(super) fn on_lost(&mut self) {
        self.greeted = false;
        self.syncing = false;
        self.asked.clear();
        self.patience.forget_wait();
    }

    /// A frame of the server.
    pub(super) fn on_frame(&mut self, received: ServerFrame<'_>, now: Instant, out: &mut Vec<Out>) {
        match received {
            ServerFrame::Welcome(welcome) => {
                self.me = welcome.user_id.to_native();
                let request_id = self.request_id();
                let open = proto::OpenDirect {
                    request_id,
                    peer_user_id: self.peer,
                };
                self.ask(request_id, Purpose::Open, &open, out);
            }
            ServerFrame::ConversationOpened(opened) => self.on_opened(&proto::owned(opened), out),
            ServerFrame::SendAck(ack) => {
                self.on_ack(ack.client_msg_id.to_native(), ack.hlc.to_native(), out)
            }
            ServerFrame::Deliver(deliver) => self.on_deliver(&proto::owned(deliver), out),
            ServerFrame::SyncEnd(end) => {
                self.answered(end.request_id.to_native());
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
            ServerFrame::Error(error) => self.on_error(&proto::owned(error), now, out),
            ServerFrame::Pong(_)
            | ServerFrame::Conversations(_)
            | ServerFrame::Members(_)
            | ServerFrame::OutboxPage(_) => {}
        }
    }

    /// The answer to OpenDirect. (One with another member list is another conversation's, pushed.)
    fn on_opened(&mut self, opened: &proto::ConversationOpened, out: &mut Vec<Out>) {
        if opened.request_id == 0 || self.greeted {
            return;
        }
        self.answered(opened.request_id);
        self.greeted = true;
        if self.conversation.replace(opened.conversation_id).is_none() {
            self.have_seq = opened.head_seq;
            if opened.head_seq > 0 {
                self.history(out);
            }
        } else if opened.head_seq > self.have_seq {
            self.sync(out);
        }
        for message in &mut self.pending {
            message.waits = false;
            out.push(send(opened.conversation_id, message));
        }
    }

    fn on_ack(&mut self, client_msg_id: u64, hlc: u64, out: &mut Vec<Out>) {
        if let Some(at) = self
            .pending
            .iter()
            .position(|message| message.client_msg_id == client_msg_id)
            && let Some(message) = self.pending.remove(at)
        {
            self.patience.accept();
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
        self.answered(page.request_id);
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

    fn on_error(&mut self, error: &proto::Error, now: Instant, out: &mut Vec<Out>) {
        let reason = clean(&error.reason);
        let (id, retry_after_ms) = (error.request_id, error.retry_after_ms);
        let message = self.pending.iter().position(|it| it.client_msg_id == id);
        let request = self.asked.iter().position(|it| it.request_id == id);
        match (message, request) {
            (Some(at), _) => self.on_refused(at, retry_after_ms, now, &reason, out),
            (None, Some(at)) => match self.asked[at].patience.refuse(now, retry_after_ms) {
                Some(wait) => out.push(waits(&reason, wait)),
                None => self.give_up(at, reason, out),
            },
            (None, None) => out.push(Out::Note(format!("the server says: {reason}"))),
        }
    }

    /// A message was refused: it is sent again, under the same id, or never will be taken.
    fn on_refused(
        &mut self,
        at: usize,
        retry_after_ms: u32,
        now: Instant,
        reason: &str,
        out: &mut Vec<Out>,
    ) {
        if retry_after_ms > 0 && self.patience.again_at().is_some() {
            // Of those that were on their way together one has said it.
            self.pending[at].waits = true;
        } else if let Some(wait) = self.patience.refuse(now, retry_after_ms) {
            self.pending[at].waits = true;
            out.push(waits(reason, wait));
        } else if let Some(message) = self.pending.remove(at) {
            out.push(Out::Note(format!(
                "not sent: {} ({reason})",
                clean(message.text.as_bytes())
            )));
            if self.pending.is_empty() {
                self.patience.accept();
            }
        }
    }

    /// A request is not tried again.
    fn give_up(&mut self, at: usize, reason: String, out: &mut Vec<Out>) {
        out.push(match self.asked.swap_remove(at).purpose {
            Purpose::Open => Out::Fail(reason),
            Purpose::History => Out::Note(format!("the server says: {reason}")),
            Purpose::Sync => {
                // The next Deliver finds the gap again.
                self.syncing = false;
                Out::Note(format!("the server says: {reason}"))
            }
        });
    }

    /// When [`Dialog::retry`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let requests = self.asked.iter().map(|it| it.patience.again_at());
        requests.chain([self.patience.again_at()]).flatten().min()
    }

    /// Sends what was refused with a retry-after and has waited long enough.
    pub(super) fn retry(&mut self, now: Instant, out: &mut Vec<Out>) {
        for asked in &mut self.asked {
            if asked.patience.take_due(now) {
                out.push(Out::Frame(asked.frame.clone()));
            }
        }
        if self.patience.take_due(now)
            && let Some(conversation_id) = self.conversation.filter(|_| self.greeted)
        {
            for message in self.pending.iter_mut().filter(|it| it.waits) {
                message.waits = false;
                out.push(send(conversation_id, message));
            }
        }
    }

    /// Sends every message again that was neither acked nor refused: a router that was started anew
    /// may know nothing of it.
    pub(super) fn resend(&self, out: &mut Vec<Out>) {
        if let Some(conversation_id) = self.conversation.filter(|_| self.greeted) {
            let unanswered = self.pending.iter().filter(|message| !message.waits);
            out.extend(unanswered.map(|message| send(conversation_id, message)));
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

    fn sync(&mut self, out: &mut Vec<Out>) {
        if let Some(conversation_id) = self.conversation.filter(|_| !self.syncing) {
            self.syncing = true;
            let (request_id, have_seq) = (self.request_id(), self.have_seq);
            let sync = proto::Sync {
                request_id,
                conversation_id,
                have_seq,
                limit: PAGE_MESSAGES,
            };
            self.ask(request_id, Purpose::Sync, &sync, out);
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

fn waits(reason: &str, wait: Duration) -> Out {
    Out::Note(format!(
        "the server says: {reason}; trying again in {:.1} s",
        wait.as_secs_f32()
    ))
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
