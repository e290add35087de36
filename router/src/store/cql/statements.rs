//! The statements, each prepared once, with its consistency.
//!
//! All are idempotent: rows are written with the time of what they come from (`USING TIMESTAMP`), so a
//! statement that runs twice, late, or from a process that no longer consumes the partition changes
//! nothing. So the driver may try any of them again on another node.

use futures_util::future::try_join_all;
use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;

use super::fault;
use crate::store::StoreError;

/// A statement and how its errors name it.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) prepared: PreparedStatement,
    pub(super) table: &'static str,
    pub(super) doing: &'static str,
}

/// A statement before it is prepared. `{ks}` is the keyspace's name, in quotes.
struct Text {
    table: &'static str,
    doing: &'static str,
    consistency: Consistency,
    cql: &'static str,
}

macro_rules! statements {
    ($($name:ident: $table:literal, $doing:literal, $consistency:ident, $cql:literal;)*) => {
        /// See the module.
        #[derive(Debug)]
        pub(super) struct Statements { $(pub(super) $name: Query,)* }

        const TEXTS: &[Text] = &[$(Text {
            table: $table, doing: $doing, consistency: Consistency::$consistency, cql: $cql,
        },)*];

        impl Statements {
            /// Prepares all of them.
            pub(super) async fn prepare(
                session: &Session, keyspace: &str,
            ) -> Result<Statements, StoreError> {
                let all = TEXTS.iter().map(|text| prepare(session, keyspace, text));
                let mut all = try_join_all(all).await?.into_iter();
                let mut next = || all.next().expect("one for each text");
                Ok(Statements { $($name: next(),)* })
            }
        }
    };
}

// Writes: LocalQuorum. Offsets are committed, and senders told, on the strength of them: a row that one
// node had and lost would be gone though the log was told that it is stored.
// Reads: LocalQuorum too, so that they meet every such write. A head read behind its messages would
// give seqs twice; a send read as missing would let a duplicate in; a page without its newest message
// would be a gap that no later page fills; an outbox without a conversation would be taken for all there
// is, and one without the ack that went before would say everything twice.
statements! {
    put_message: "messages", "write a message", LocalQuorum,
        "INSERT INTO {ks}.messages (conversation_id, block, seq, log_offset, message_id, hlc, sender_user_id, \
         sender_device_id, client_msg_id, payload, last_seq, next_offset) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_newest: "messages", "write which block is the newest", LocalQuorum,
        "UPDATE {ks}.messages USING TIMESTAMP ? SET newest = ? WHERE conversation_id = ? AND block = 0";
    put_send: "sends", "write a send", LocalQuorum,
        "INSERT INTO {ks}.sends (sender_user_id, client_msg_id, conversation_id, log_offset, seq, message_id, \
         hlc, at_ms, payload_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_segment: "inbox", "enter a segment into an inbox", LocalQuorum,
        "INSERT INTO {ks}.inbox (user_id, day, slot, conversation_id, from_seq, last_seq) \
         VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    put_receipt: "receipts", "write a receipt", LocalQuorum,
        "INSERT INTO {ks}.receipts (user_id, device_id, conversation_id, seq) \
         VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    put_position: "positions", "write how far a partition is", LocalQuorum,
        "INSERT INTO {ks}.positions (store_id, partition, next_offset, inbox_offset) \
         VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    put_node: "nodes", "write a node's row", LocalQuorum,
        "INSERT INTO {ks}.nodes (node_id, last_id, last_hlc) VALUES (?, ?, ?) USING TIMESTAMP ?";

    first_head: "messages", "read a head", LocalQuorum,
        "SELECT DISTINCT last_seq, next_offset, newest FROM {ks}.messages \
         WHERE conversation_id = ? AND block = 0";
    head: "messages", "read a block's head", LocalQuorum,
        "SELECT DISTINCT last_seq, next_offset FROM {ks}.messages WHERE conversation_id = ? AND block = ?";
    places: "messages", "read seqs and offsets", LocalQuorum,
        "SELECT seq, log_offset FROM {ks}.messages WHERE conversation_id = ? AND block = ? \
         ORDER BY seq DESC";
    messages_up: "messages", "read messages", LocalQuorum,
        "SELECT seq, message_id, hlc, sender_user_id, sender_device_id, client_msg_id, payload, last_seq, \
         next_offset FROM {ks}.messages WHERE conversation_id = ? AND block = ? AND seq >= ? \
         ORDER BY seq ASC";
    messages_down: "messages", "read messages", LocalQuorum,
        "SELECT seq, message_id, hlc, sender_user_id, sender_device_id, client_msg_id, payload, last_seq, \
         next_offset FROM {ks}.messages WHERE conversation_id = ? AND block = ? AND seq <= ? \
         ORDER BY seq DESC";
    sends: "sends", "read sends", LocalQuorum,
        "SELECT conversation_id, log_offset, seq, message_id, hlc, at_ms, payload_hash FROM {ks}.sends \
         WHERE sender_user_id = ? AND client_msg_id = ?";
    now: "local", "ask for the time", LocalOne,
        "SELECT toUnixTimestamp(now()) FROM system.local";
    node: "nodes", "read a node's row", LocalQuorum,
        "SELECT last_id, last_hlc FROM {ks}.nodes WHERE node_id = ?";
    position: "positions", "read how far a partition is", LocalQuorum,
        "SELECT next_offset, inbox_offset FROM {ks}.positions WHERE store_id = ? AND partition = ?";
    segments: "inbox", "read an inbox", LocalQuorum,
        "SELECT slot, conversation_id, from_seq, last_seq FROM {ks}.inbox \
         WHERE user_id = ? AND day = ? AND (slot, conversation_id, from_seq) < (?, ?, ?)";
    receipts: "receipts", "read receipts of a device", LocalQuorum,
        "SELECT conversation_id, seq, TTL(seq) FROM {ks}.receipts \
         WHERE user_id = ? AND device_id = ? AND conversation_id IN ?";
    receipt: "receipts", "look for receipts of a device", LocalQuorum,
        "SELECT conversation_id FROM {ks}.receipts WHERE user_id = ? AND device_id = ? LIMIT 1";
}

async fn prepare(session: &Session, keyspace: &str, text: &Text) -> Result<Query, StoreError> {
    let statement = Statement::new(text.cql.replace("{ks}", keyspace));
    let mut prepared = session.prepare(statement).await.map_err(|error| {
        // Most often a table that is not there yet: nothing is lost by asking again after `migrate`.
        fault::away(format_args!(
            "prepare `{}` (is keyspace {keyspace} migrated?): {error}",
            text.doing
        ))
    })?;
    prepared.set_consistency(text.consistency);
    prepared.set_is_idempotent(true);
    Ok(Query {
        prepared,
        table: text.table,
        doing: text.doing,
    })
}
