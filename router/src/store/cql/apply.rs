//! Writing a batch: every conversation's messages in their order, conversations beside one another.
//!
//! Order. Within a conversation messages are written in chunks of one block, each after the one before it was
//! acked. A chunk is one mutation, so whoever reads sees all of it or nothing, and the head that it brings. So
//! what is visible of a conversation is a run of seqs from 1 on, and its block's head is the last of them.

use std::collections::HashMap;

use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::session::Live;
use super::{Cql, bits, block, inbox, nodes, positions, sends};
use crate::log::Partition;
use crate::store::{Batch, Position, Reached, Segment, StoreError, StoredMessage};

/// Payload bytes of one chunk. Servers check the size of batches of several mutations only; a mutation is bound
/// by half a segment of their commit log, 16 MiB.
const CHUNK_BYTES_MAX: usize = 128 << 10;
/// Rows of one.
const CHUNK_ROWS_MAX: usize = 64;
/// What a row takes there besides its payload: names are not sent, ids are.
const ROW_BYTES: usize = 160;

/// The messages of one conversation in a batch, in their order.
type Group<'a> = Vec<&'a StoredMessage>;

/// A write time: so many microseconds after 1970, that is 1 and more. What comes later in the log wins
/// wherever it is written from.
fn timestamp(log_offset: u64) -> i64 {
    bits(log_offset + 1)
}

impl Cql {
    /// Writes a batch's messages, with their sends. After an error the same batch is to be applied again;
    /// nothing counts as applied before.
    pub async fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let live = self.live().await?;
        let limit = self.options.in_flight_max;
        let groups = stream::iter(by_conversation(&batch.messages))
            .map(|group| conversation(live, group))
            .buffer_unordered(limit)
            .try_collect::<()>();
        let sends = stream::iter(sends::together(live, &batch.messages))
            .map(async |group| sends::write(live, &group).await)
            .buffer_unordered(limit)
            .try_collect::<()>();
        try_join(groups, sends).await.map(drop)
    }

    /// Enters segments into the inboxes of their members.
    pub async fn mark(&self, segments: &[Segment]) -> Result<(), StoreError> {
        let live = self.live().await?;
        let rows = segments.iter().flat_map(|segment| {
            segment
                .members
                .iter()
                .map(move |&user_id| (segment, user_id))
        });
        stream::iter(rows)
            .map(|(segment, user_id)| inbox::write(live, segment, user_id))
            .buffer_unordered(self.options.in_flight_max)
            .try_collect()
            .await
    }

    /// Writes how far partitions are, and what ids and stamps of a node are below.
    pub async fn reach(
        &self,
        reached: &[(Partition, Reached)],
        node_id: u16,
        given: &Position,
    ) -> Result<(), StoreError> {
        let live = self.live().await?;
        if *given != Position::default() {
            nodes::write(live, node_id, given).await?;
        }
        let store_id = self.store_id().await?;
        let writes = reached
            .iter()
            .map(|(partition, reached)| positions::write(live, store_id, *partition, reached));
        try_join_all(writes).await.map(drop)
    }
}

/// The messages by conversation, each in its order.
fn by_conversation(messages: &[StoredMessage]) -> Vec<Group<'_>> {
    let mut places = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for message in messages {
        let place = *places
            .entry(message.deliver.conversation_id)
            .or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
        groups[place].push(message);
    }
    groups
}

async fn conversation(live: &Live, messages: Group<'_>) -> Result<(), StoreError> {
    let mut rest = &messages[..];
    while let Some(first) = rest.first() {
        let (part, after) = rest.split_at(chunk(rest));
        let begins = block::of(first.deliver.seq);
        if first.deliver.seq + block::SEQS == block::end(begins) + 1 && begins > 0 {
            try_join(write(live, part), hint(live, first)).await?;
        } else {
            write(live, part).await?;
        }
        rest = after;
    }
    Ok(())
}

/// How many of the messages, at least one, go into one block and fit one write.
fn chunk(messages: &[&StoredMessage]) -> usize {
    let block = messages.first().map(|first| block::of(first.deliver.seq));
    let mut bytes = 0;
    let fits = |message: &&&StoredMessage| {
        bytes += message.deliver.payload.len() + ROW_BYTES;
        Some(block::of(message.deliver.seq)) == block && bytes <= CHUNK_BYTES_MAX
    };
    let fitting = messages.iter().take(CHUNK_ROWS_MAX).take_while(fits);
    fitting.count().max(1)
}

async fn write(live: &Live, chunk: &[&StoredMessage]) -> Result<(), StoreError> {
    let rows = chunk.iter().map(|message| row(message)).collect();
    live.write_all(&live.statements.put_message, rows).await
}

/// Says in block 0 that a block was begun.
async fn hint(live: &Live, first: &StoredMessage) -> Result<(), StoreError> {
    let deliver = &first.deliver;
    let values = (
        timestamp(first.log_offset),
        block::of(deliver.seq),
        bits(deliver.conversation_id),
    );
    live.write(&live.statements.put_newest, values).await
}

type Row<'a> = (
    i64,
    i32,
    i64,
    i64,
    i64,
    i64,
    i64,
    i32,
    &'a [u8],
    &'a [u8],
    i64,
    i64,
    i64,
);

fn row(message: &StoredMessage) -> Row<'_> {
    let deliver = &message.deliver;
    let head = message.head();
    (
        bits(deliver.conversation_id),
        block::of(deliver.seq),
        bits(deliver.seq),
        bits(message.log_offset),
        bits(deliver.message_id),
        bits(deliver.hlc),
        bits(deliver.sender_user_id),
        deliver.sender_device_id.cast_signed(),
        &deliver.client_msg_id[..],
        &deliver.payload,
        bits(head.last_seq),
        bits(head.next_offset),
        timestamp(message.log_offset),
    )
}
