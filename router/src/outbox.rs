//! Which messages a page of a device's outbox holds: those of all of the user's conversations that the
//! device has not received, merged newest first and cut to what an outbox hands out.
//!
//! Pure but for the lookup of ids that it is given. It always begins at the newest message, also for a
//! later page: only so is it exact where the outbox ends, and where a conversation has nothing more
//! (it has been met as often as its seqs say). That is at most [`MESSAGES_MAX`] ids a page; payloads
//! are read for the page's own messages only.

#[cfg(test)]
mod tests;

use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::store::{Below, Bound, InboxRow, Numbered};

/// The most messages that an outbox hands out, the newest ones.
pub(crate) const MESSAGES_MAX: usize = 1_000;

/// Conversations that are looked into at once.
const ROUND: usize = 32;
/// Ids that are asked for at once, of all conversations together; a few of each at least.
const ROUND_IDS: usize = 256;
const IDS_MIN: usize = 8;
/// Ids of other messages that may be met on the way, received ones. There are some where nodes' clocks differ, so
/// that ids do not grow with seqs; where there are more, the outbox ends and says so.
const OTHERS_MAX: usize = 1_000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Only smaller ids; 0 for the newest.
    pub(crate) before_message_id: u64,
    /// Messages.
    pub(crate) limit: usize,
    /// Nothing with a smaller id is handed out: it is too old.
    pub(crate) oldest_id: u64,
}

/// A message of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    pub(crate) conversation_id: u64,
    pub(crate) message_id: u64,
}

/// A page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Newest first.
    pub(crate) items: Vec<Item>,
    /// There are older ones to be handed out.
    pub(crate) has_more: bool,
    /// There is, or may be, something that the device lacks and that will not be handed out.
    pub(crate) needs_full_sync: bool,
}

/// A conversation, as far as it was looked into.
struct Source {
    conversation_id: u64,
    /// What is above the one and not above the other is unread. What came after the row was read is not
    /// this outbox's business.
    have_seq: u64,
    last_seq: u64,
    /// Messages that were not met yet.
    unread: u64,
    /// Met and not taken yet, newest first.
    met: VecDeque<u64>,
    /// All ids that were met are not below it.
    below: u64,
}

/// Computes a page. `rows` are the conversations with something above `received`; `numbers` looks up
/// ids and seqs, newest first, of each conversation that it is asked for.
pub(crate) fn page<E>(
    rows: &[InboxRow],
    received: &HashMap<u64, u64>,
    asked: Asked,
    numbers: impl FnMut(&[Below]) -> Result<Vec<Vec<Numbered>>, E>,
) -> Result<Page, E> {
    let unread = rows.iter().map(|row| Source::new(row, received).unread);
    let total = unread.fold(0, u64::saturating_add);
    let mut merge = Merge::new(rows, received, numbers);
    let before = match asked.before_message_id {
        0 => u64::MAX,
        id => id,
    };
    let mut page = Page {
        // Some of these are known at once; the rest is found at the outbox's end.
        needs_full_sync: received.is_empty()
            || total > MESSAGES_MAX as u64
            || rows.iter().any(|row| row.last_message_id < asked.oldest_id),
        ..Page::default()
    };
    for _ in 0..MESSAGES_MAX {
        let Some(item) = merge.next()? else {
            break;
        };
        if item.message_id < asked.oldest_id {
            page.needs_full_sync = true;
            break;
        }
        if item.message_id < before {
            if page.items.len() == asked.limit {
                page.has_more = true;
                break;
            }
            page.items.push(item);
        }
    }
    page.needs_full_sync |= merge.gave_up;
    Ok(page)
}

/// The merge of all conversations, newest first.
struct Merge<F> {
    sources: Vec<Source>,
    /// By the id of the next message, or what that id is not above where it was not met yet.
    order: BinaryHeap<(u64, usize)>,
    numbers: F,
    others_met: usize,
    gave_up: bool,
}

impl<E, F: FnMut(&[Below]) -> Result<Vec<Vec<Numbered>>, E>> Merge<F> {
    fn new(rows: &[InboxRow], received: &HashMap<u64, u64>, numbers: F) -> Self {
        let sources: Vec<Source> = rows.iter().map(|row| Source::new(row, received)).collect();
        let newest = rows.iter().map(|row| row.last_message_id);
        let order = newest.zip(0..).filter(|&(_, at)| sources[at].unread > 0);
        Merge {
            order: order.collect(),
            sources,
            numbers,
            others_met: 0,
            gave_up: false,
        }
    }

    fn next(&mut self) -> Result<Option<Item>, E> {
        while let Some(&(_, at)) = self.order.peek() {
            let source = &mut self.sources[at];
            let Some(message_id) = source.met.pop_front() else {
                self.look()?;
                continue;
            };
            self.order.pop();
            let conversation_id = source.conversation_id;
            self.queue(at);
            return Ok(Some(Item {
                conversation_id,
                message_id,
            }));
        }
        Ok(None)
    }

    /// Puts a source where its next message is, or may be.
    fn queue(&mut self, at: usize) {
        let source = &self.sources[at];
        match source.met.front() {
            Some(&message_id) => self.order.push((message_id, at)),
            None if source.unread > 0 => self.order.push((source.below.saturating_sub(1), at)),
            None => {}
        }
    }

    /// Looks into the conversations that come next and have no message at hand.
    fn look(&mut self) -> Result<(), E> {
        let mut round = Vec::new();
        while let Some(&(_, at)) = self.order.peek()
            && self.sources[at].met.is_empty()
            && round.len() < ROUND
        {
            self.order.pop();
            round.push(at);
        }
        let each = (ROUND_IDS / round.len().max(1)).max(IDS_MIN);
        let asked: Vec<Below> = round.iter().map(|&at| self.sources[at].ask(each)).collect();
        let found = (self.numbers)(&asked)?;
        for ((&at, asked), numbers) in round.iter().zip(&asked).zip(found) {
            let source = &mut self.sources[at];
            let all = numbers.len() < asked.bound.messages_max;
            self.others_met += source.meet(&numbers);
            if all {
                source.unread = 0;
            }
        }
        if self.others_met > OTHERS_MAX {
            self.give_up();
        }
        for at in round {
            self.queue(at);
        }
        Ok(())
    }

    /// What was met is still handed out; nothing more is looked for.
    fn give_up(&mut self) {
        self.gave_up = true;
        for source in &mut self.sources {
            source.unread = 0;
        }
    }
}

impl Source {
    fn new(row: &InboxRow, received: &HashMap<u64, u64>) -> Source {
        let conversation_id = row.conversation_id;
        let have_seq = received.get(&conversation_id).copied().unwrap_or(0);
        Source {
            conversation_id,
            have_seq,
            last_seq: row.last_seq,
            unread: row.last_seq.saturating_sub(have_seq),
            met: VecDeque::new(),
            below: row.last_message_id.saturating_add(1),
        }
    }

    fn ask(&self, ids_max: usize) -> Below {
        let unread = usize::try_from(self.unread).unwrap_or(usize::MAX);
        Below {
            conversation_id: self.conversation_id,
            message_id: self.below,
            bound: Bound {
                messages_max: ids_max.min(unread),
                bytes_max: usize::MAX,
            },
        }
    }

    /// Takes what was found; how many of them are not unread.
    fn meet(&mut self, numbers: &[Numbered]) -> usize {
        let mut others = 0;
        for number in numbers {
            self.below = number.message_id;
            if number.seq > self.have_seq && number.seq <= self.last_seq {
                self.met.push_back(number.message_id);
                self.unread = self.unread.saturating_sub(1);
            } else {
                others += 1;
            }
        }
        others
    }
}
