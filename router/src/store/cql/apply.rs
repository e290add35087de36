//! Writing a batch: every conversation's messages in their order, conversations beside one another.
//!
//! Order. Within a conversation: first the spans and marks, then the messages, each statement after the
//! one before it was acked. So whoever reads sees the messages up to some seq and none beyond it, and
//! finds the partition of each. Neighbours of one partition share an unlogged batch, which that
//! partition's replicas take as one write; a batch over several partitions would only add a hop.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::statement::batch::{Batch as Statements, BatchType};

use super::options::Caps;
use super::session::Live;
use super::tail::{Arrival, Part, Place, Span, Tail};
use super::tails::Inbox;
use super::{Cql, bits, fault, heads, inbox, nodes, sends, spans};
use crate::bucket;
use crate::store::{Batch, Position, StoreError, StoredMessage};

/// Payload bytes of one unlogged batch: servers warn from 5 KiB and refuse from 50 KiB on (Cassandra's
/// `batch_size_fail_threshold`).
const CHUNK_BYTES_MAX: usize = 32 << 10;
/// Statements of one.
const CHUNK_ROWS_MAX: usize = 64;
/// What a row takes there besides its payload: names are not sent, ids are.
const ROW_BYTES: usize = 128;

/// The messages of one conversation in a batch, in their order.
type Group<'a> = (u64, Vec<&'a StoredMessage>);

/// One unit of work of a batch.
enum Task<'a> {
    Conversation(Group<'a>),
    Send(&'a StoredMessage),
}

/// A write time: so many microseconds after 1970, that is 1 and more. What comes later in the log wins
/// wherever it is written from.
fn timestamp(log_offset: u64) -> i64 {
    bits(log_offset + 1)
}

impl Cql {
    /// Writes a batch's messages, with their sends, marks and spans, and remembers heads and inbox rows
    /// for [`persist`](Self::persist). Messages that are stored already are left alone. After an error
    /// the same batch is to be applied again; nothing counts as applied before.
    ///
    /// `members` is asked once for every conversation with a message, and must not block; none: its
    /// inbox rows stay as they are.
    pub async fn apply(
        &self,
        batch: &Batch,
        members: &dyn Fn(u64) -> Option<Arc<[u64]>>,
    ) -> Result<(), StoreError> {
        let live = self.live().await?;
        let groups = by_conversation(&batch.messages);
        let sends = batch.messages.iter().map(Task::Send);
        let tasks = groups.into_iter().map(Task::Conversation).chain(sends);
        let done: Vec<Option<(u64, Tail)>> = stream::iter(tasks)
            .map(|task| self.run(live, task))
            .buffer_unordered(self.options.in_flight_max)
            .try_collect()
            .await?;
        let told: Vec<_> = done
            .into_iter()
            .flatten()
            .map(|(conversation_id, tail)| (conversation_id, tail, members(conversation_id)))
            .collect();
        let mut tails = self.tails();
        for opened in &batch.opened {
            let row = Inbox {
                members: opened.members.as_slice().into(),
                last_seq: 0,
                last_message_id: 0,
                // Below the time of any message: the conversation's record came before them.
                timestamp: timestamp(0),
            };
            tails.deliver(opened.conversation_id, row);
        }
        for (conversation_id, tail, members) in told {
            tails.advance(conversation_id, tail);
            if let Some(members) = members {
                let row = Inbox {
                    members,
                    last_seq: tail.head.last_seq,
                    last_message_id: tail.last_message_id,
                    timestamp: bits(tail.head.next_offset),
                };
                tails.deliver(conversation_id, row);
            }
        }
        Ok(())
    }

    async fn run(&self, live: &Live, task: Task<'_>) -> Result<Option<(u64, Tail)>, StoreError> {
        match task {
            Task::Send(message) => sends::write(live, message).await.map(|()| None),
            Task::Conversation((conversation_id, messages)) => {
                let tail = self.tail_before(live, conversation_id, messages[0]).await?;
                let write = Write {
                    live,
                    conversation_id,
                    caps: self.options.caps,
                };
                let after = write.messages(tail, &messages).await?;
                Ok(after.map(|tail| (conversation_id, tail)))
            }
        }
    }

    /// The tail that a conversation's first message in a batch comes after.
    async fn tail_before(
        &self,
        live: &Live,
        conversation_id: u64,
        first: &StoredMessage,
    ) -> Result<Tail, StoreError> {
        let kept = self.tails().find(conversation_id);
        match kept {
            Some(tail) => Ok(tail),
            None if first.deliver.seq == 1 => Ok(Tail::default()),
            None => heads::read(live, conversation_id).await,
        }
    }

    /// Writes what [`apply`](Self::apply) has remembered: inbox rows, then heads (a message that a head counts
    /// is not applied again after a crash, so nothing of it may be missing), and when all of them are there,
    /// the node's greatest id and stamp. After that the log's offsets may be committed.
    pub async fn persist(&self, node_id: u16, position: &Position) -> Result<(), StoreError> {
        let live = self.live().await?;
        let unwritten = self.tails().unwritten();
        let limit = self.options.in_flight_max;
        let rows = unwritten
            .inboxes
            .iter()
            .flat_map(|(id, row)| row.members.iter().map(move |user| (*user, *id, row)));
        stream::iter(rows)
            .map(|(user_id, id, row)| inbox::write(live, user_id, id, row))
            .buffer_unordered(limit)
            .try_collect::<()>()
            .await?;
        stream::iter(&unwritten.tails)
            .map(|(id, tail)| heads::write(live, *id, tail))
            .buffer_unordered(limit)
            .try_collect::<()>()
            .await?;
        if *position != Position::default() {
            nodes::write(live, node_id, position).await?;
        }
        self.tails().wrote(&unwritten);
        Ok(())
    }
}

/// The messages by conversation, each in its order.
fn by_conversation(messages: &[StoredMessage]) -> Vec<Group<'_>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for message in messages {
        let id = message.deliver.conversation_id;
        let place = *places.entry(id).or_insert_with(|| {
            groups.push((id, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(message);
    }
    groups
}

/// The writing of one conversation's messages.
struct Write<'a> {
    live: &'a Live,
    conversation_id: u64,
    caps: Caps,
}

impl Write<'_> {
    /// Places and writes; the tail after them, none where all were stored already.
    async fn messages(
        &self,
        mut tail: Tail,
        messages: &[&StoredMessage],
    ) -> Result<Option<Tail>, StoreError> {
        let before = tail.head.last_seq;
        let new = messages
            .iter()
            .filter(|message| message.deliver.seq > before);
        let mut placed = Vec::with_capacity(messages.len());
        let mut begun = Vec::new();
        for message in new {
            let place = self.place(&mut tail, message, &begun).await?;
            if place.seq != message.deliver.seq {
                let reason = format!(
                    "conversation {}: seq {} was given where {} comes next",
                    self.conversation_id, message.deliver.seq, place.seq
                );
                return Err(fault::failed("apply", reason));
            }
            begun.extend(place.span);
            placed.push((*message, place));
        }
        for (message, place) in &placed {
            self.index(message, place).await?;
        }
        for chunk in chunks(&placed) {
            self.chunk(chunk).await?;
        }
        Ok((!placed.is_empty()).then_some(tail))
    }

    /// `begun` are the spans that this batch has begun, which are not written yet.
    async fn place(
        &self,
        tail: &mut Tail,
        message: &StoredMessage,
        begun: &[Span],
    ) -> Result<Place, StoreError> {
        let message_id = message.deliver.message_id;
        let arrival = Arrival {
            message_id,
            payload_bytes: message.deliver.payload.len() as u64,
            log_offset: message.log_offset,
        };
        let mut earlier = Vec::new();
        if tail.is_behind(message_id) {
            let bucket = bucket::of_message(message_id);
            earlier = spans::of_bucket(self.live, self.conversation_id, bucket).await?;
            earlier.extend(begun);
        }
        Ok(tail.place(arrival, self.caps, &earlier))
    }

    /// The span and the mark of a message, where it has them.
    async fn index(&self, message: &StoredMessage, place: &Place) -> Result<(), StoreError> {
        let timestamp = timestamp(message.log_offset);
        if let Some(span) = &place.span {
            spans::write(self.live, self.conversation_id, span, timestamp).await?;
        }
        if place.marked {
            let (bucket, sub) = place.part.columns();
            let values = (
                bits(self.conversation_id),
                bits(place.seq),
                bits(message.deliver.message_id),
                bucket,
                sub,
                timestamp,
            );
            let query = &self.live.statements.put_mark;
            self.live.write(query, values).await?;
        }
        Ok(())
    }

    /// Neighbours of one partition, as one write.
    async fn chunk(&self, chunk: &[(&StoredMessage, Place)]) -> Result<(), StoreError> {
        let query = &self.live.statements.put_message;
        if let [(message, place)] = chunk {
            return self.live.write(query, row(message, place.part)).await;
        }
        let mut statements = Statements::new(BatchType::Unlogged);
        for _ in chunk {
            statements.append_statement(query.prepared.clone());
        }
        statements.set_is_idempotent(true);
        let rows: Vec<_> = chunk
            .iter()
            .map(|(message, place)| row(message, place.part))
            .collect();
        let result = self.live.session.batch(&statements, rows).await;
        result
            .map(drop)
            .map_err(|error| fault::of_execution(query.doing, &error))
    }
}

type Row<'a> = (
    i64,
    i32,
    i32,
    i64,
    i64,
    i64,
    i64,
    i32,
    i64,
    i64,
    &'a [u8],
    i64,
);

fn row(message: &StoredMessage, part: Part) -> Row<'_> {
    let deliver = &message.deliver;
    let (bucket, sub) = part.columns();
    (
        bits(deliver.conversation_id),
        bucket,
        sub,
        bits(deliver.message_id),
        bits(deliver.seq),
        bits(deliver.hlc),
        bits(deliver.sender_user_id),
        deliver.sender_device_id.cast_signed(),
        bits(deliver.client_msg_id),
        bits(message.log_offset),
        &deliver.payload,
        timestamp(message.log_offset),
    )
}

/// Runs of neighbours that go into one partition and fit one write.
fn chunks<'a, 'm>(
    placed: &'a [(&'m StoredMessage, Place)],
) -> impl Iterator<Item = &'a [(&'m StoredMessage, Place)]> {
    let mut rest = placed;
    std::iter::from_fn(move || {
        let (first, _) = rest.split_first()?;
        let mut bytes = 0;
        let fits = |(message, place): &&(&StoredMessage, Place)| {
            bytes += message.deliver.payload.len() + ROW_BYTES;
            place.part == first.1.part && bytes <= CHUNK_BYTES_MAX
        };
        let rows = rest.iter().take(CHUNK_ROWS_MAX).take_while(fits).count();
        let (chunk, after) = rest.split_at(rows.max(1));
        rest = after;
        Some(chunk)
    })
}
