//! Messages of the user on their way: cut to what fits into one, sent in order, sent again under the same id
//! until they are durable or are refused for good. No I/O.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use rookery_wire::proto::{self, ClientMsgId};
use uuid::Uuid;

use super::dialog::{Out, frame, waits};
use super::patience::Patience;
use super::text::{TEXT_BYTES_MAX, clean, pieces};

/// Messages that are not durable yet, above which no more are taken.
const PENDING_MAX: usize = 256;

/// A message that is not durable yet.
struct Pending {
    client_msg_id: ClientMsgId,
    text: String,
    /// It was sent once: its text can no longer be another.
    sent: bool,
    /// It was refused with a retry-after, or was said behind one that was: it goes out when the wait is over.
    waits: bool,
}

/// The messages, from the first that is not durable.
pub(super) struct Outgoing {
    text_bytes_max: usize,
    next_client_msg_id: Uuid,
    pending: VecDeque<Pending>,
    /// One for all messages: they stay in order, and any that is taken shows that it goes on.
    patience: Patience,
    /// Messages of this run: their Delivers are not shown, the typed line stands there already.
    mine: HashSet<ClientMsgId>,
}

impl Outgoing {
    pub(super) fn new(first_message_id: Uuid) -> Self {
        Self {
            text_bytes_max: TEXT_BYTES_MAX,
            next_client_msg_id: first_message_id,
            pending: VecDeque::new(),
            patience: Patience::default(),
            mine: HashSet::new(),
        }
    }

    /// Whether everything is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// What is not durable.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.pending.iter().map(|message| message.text.as_str())
    }

    /// Whether another message can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    /// Text to send, at once where the conversation is open. What is too long for one message goes as
    /// several.
    pub(super) fn say(&mut self, text: &str, open: Option<u64>, out: &mut Vec<Out>) {
        let pieces = pieces(text, self.text_bytes_max);
        if let count @ 2.. = pieces.len() {
            out.push(Out::Note(format!(
                "a line of {} bytes goes as {count} messages: at most {} fit into one",
                text.len(),
                self.text_bytes_max
            )));
        }
        for piece in pieces {
            let mut message = self.message(piece);
            message.waits = self.patience.again_at().is_some();
            if let Some(conversation_id) = open.filter(|_| !message.waits) {
                out.push(message.send(conversation_id));
            }
            self.pending.push_back(message);
        }
    }

    /// A new message, under an id of its own.
    fn message(&mut self, text: &str) -> Pending {
        let client_msg_id = self.next_client_msg_id.into_bytes();
        let number = self.next_client_msg_id.as_u128();
        self.next_client_msg_id = Uuid::from_u128(number.wrapping_add(1));
        self.mine.insert(client_msg_id);
        Pending {
            client_msg_id,
            text: text.to_owned(),
            sent: false,
            waits: false,
        }
    }

    /// What this server takes, at most: messages that were said before it told are cut anew.
    pub(super) fn fit(&mut self, payload_bytes_max: u32, out: &mut Vec<Out>) {
        self.text_bytes_max =
            usize::try_from(payload_bytes_max).map_or(TEXT_BYTES_MAX, |it| it.min(TEXT_BYTES_MAX));
        for message in std::mem::take(&mut self.pending) {
            if message.text.len() <= self.text_bytes_max {
                self.pending.push_back(message);
            } else if message.sent {
                out.push(Out::Note(format!(
                    "perhaps not sent: {} (the server no longer takes more than {} bytes)",
                    clean(message.text.as_bytes()),
                    self.text_bytes_max
                )));
            } else {
                self.mine.remove(&message.client_msg_id);
                self.say(&message.text, None, out);
            }
        }
    }

    /// The conversation is open on a new connection: everything is sent.
    pub(super) fn on_opened(&mut self, conversation_id: u64, out: &mut Vec<Out>) {
        for message in &mut self.pending {
            message.waits = false;
            out.push(message.send(conversation_id));
        }
    }

    /// The connection is lost, and its waits with it.
    pub(super) fn on_lost(&mut self) {
        self.patience.forget_wait();
    }

    /// A message is durable: its text, the first time.
    pub(super) fn on_ack(&mut self, client_msg_id: ClientMsgId) -> Option<String> {
        let message = self.pending.remove(self.position(client_msg_id)?)?;
        self.patience.accept();
        Some(message.text)
    }

    /// A message came back as a Deliver: whether it was said in this run.
    pub(super) fn on_delivered(&mut self, client_msg_id: ClientMsgId) -> bool {
        self.mine.remove(&client_msg_id)
    }

    /// If it was a message that was refused: it is sent again, under the same id, or never will be taken.
    pub(super) fn on_refused(
        &mut self,
        id: ClientMsgId,
        retry_after_ms: u32,
        now: Instant,
        reason: &str,
        out: &mut Vec<Out>,
    ) -> bool {
        let Some(at) = self.position(id) else {
            return false;
        };
        if retry_after_ms > 0 && self.patience.again_at().is_some() {
            // Of those that were on their way together one has said it.
            self.pending[at].waits = true;
        } else if let Some(wait) = self.patience.refuse(now, retry_after_ms) {
            self.pending[at].waits = true;
            out.push(waits(reason, wait));
        } else if let Some(message) = self.pending.remove(at) {
            let text = clean(message.text.as_bytes());
            out.push(Out::Note(format!("not sent: {text} ({reason})")));
            if self.pending.is_empty() {
                self.patience.accept();
            }
        }
        true
    }

    fn position(&self, client_msg_id: ClientMsgId) -> Option<usize> {
        let is_it = |message: &Pending| message.client_msg_id == client_msg_id;
        self.pending.iter().position(is_it)
    }

    /// When [`Outgoing::retry`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.patience.again_at()
    }

    /// Sends what has waited long enough.
    pub(super) fn retry(&mut self, now: Instant, conversation_id: u64, out: &mut Vec<Out>) {
        if self.patience.take_due(now) {
            for message in self.pending.iter_mut().filter(|it| it.waits) {
                message.waits = false;
                out.push(message.send(conversation_id));
            }
        }
    }

    /// Sends again what was neither acked nor refused.
    pub(super) fn resend(&mut self, conversation_id: u64, out: &mut Vec<Out>) {
        let unanswered = self.pending.iter_mut().filter(|message| !message.waits);
        out.extend(unanswered.map(|message| message.send(conversation_id)));
    }
}

impl Pending {
    /// The frame that sends it.
    fn send(&mut self, conversation_id: u64) -> Out {
        self.sent = true;
        frame(&proto::Send {
            client_msg_id: self.client_msg_id,
            conversation_id,
            payload: self.text.clone().into_bytes(),
        })
    }
}
