//! A store in memory that several routers share, with what a distributed one does: rows that are written
//! with offsets as times, so that those of deposed consumers lose to newer ones; and outages.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rookery_router::admission::{ConversationLimits, Conversations, Known, SendKey};
use rookery_router::log::{Offset, Partition};
use rookery_router::record::{OpenKey, Opened};
use rookery_router::sequencer::Head;
use rookery_router::store::{
    Batch, Below, Bound, Claim, Claimed, Opening, Place, Position, Reached, Receipt, Received,
    Segment, SegmentRow, Sent, Slice, Slot, Store, StoreError, StoredMessage, receipt_holds,
};
use rookery_wire::proto;

use super::NOW_MS;

#[derive(Default)]
struct Tables {
    /// By conversation and seq.
    messages: BTreeMap<(u64, u64), StoredMessage>,
    /// By name and offset.
    sends: BTreeMap<(SendKey, u64), Sent>,
    reserved: HashMap<SendKey, Known>,
    conversations: HashMap<OpenKey, u64>,
    members: HashMap<u64, Arc<[u64]>>,
    receipts: HashMap<(u64, u32), HashMap<u64, (u64, u64)>>,
    inbox: BTreeMap<(u64, Place), u64>,
    reached: HashMap<Partition, Reached>,
    given: HashMap<u16, Position>,
    /// A seq was overwritten with another message.
    rewritten: Vec<(u64, u64)>,
}

impl Tables {
    fn of(&self, id: u64) -> impl DoubleEndedIterator<Item = &StoredMessage> {
        self.messages.range((id, 0)..=(id, u64::MAX)).map(|it| it.1)
    }

    fn head(&self, id: u64) -> Head {
        self.of(id)
            .next_back()
            .map(StoredMessage::head)
            .unwrap_or_default()
    }
}

/// What the services hold.
#[derive(Default)]
pub struct Services {
    tables: Mutex<Tables>,
    /// Where messages are.
    pub store_away: AtomicBool,
    /// How far partitions are is not stored any more.
    pub deaf: AtomicBool,
    /// Writing takes a while.
    pub slow: AtomicBool,
    /// Where conversations are hangs: whoever asks waits until it does not any more.
    pub hangs: AtomicBool,
    /// How often it was asked for the members of a conversation that does not exist.
    pub asked_in_vain: AtomicU64,
    /// Reading messages takes until this is over.
    pub reads_held: AtomicBool,
    /// The conversations that were read, in order.
    pub read: Mutex<Vec<u64>>,
    /// Writing is a defect.
    pub panics: AtomicBool,
    /// Only where inboxes are.
    pub inbox_away: AtomicBool,
    /// Only where conversations and members are.
    pub conversations_away: AtomicBool,
    /// Payloads that the store refuses for good.
    pub refused: Mutex<Vec<Vec<u8>>>,
    /// It refuses whatever is to be written.
    pub refuses_all: AtomicBool,
    /// What remembers claims.
    pub claims_away: AtomicBool,
    /// The clock of where messages are, Unix ms.
    pub now_ms: AtomicU64,
}

impl Services {
    pub fn new() -> Arc<Services> {
        Arc::new(Services {
            now_ms: AtomicU64::new(NOW_MS),
            ..Services::default()
        })
    }

    /// Every message of a conversation, by seq.
    pub fn messages(&self, conversation_id: u64) -> Vec<proto::Deliver> {
        let tables = self.tables.lock().unwrap();
        let all = tables.of(conversation_id);
        all.map(|message| message.deliver.clone()).collect()
    }

    /// Seqs that were given to another message than before: there are to be none.
    pub fn rewritten(&self) -> Vec<(u64, u64)> {
        self.tables.lock().unwrap().rewritten.clone()
    }

    /// What the ids of a node are below, as far as is stored.
    pub fn stored_id(&self, node_id: u16) -> u64 {
        let tables = self.tables.lock().unwrap();
        tables.given.get(&node_id).map_or(0, |it| it.last_id)
    }

    /// How far partitions are.
    pub fn reached(&self, partition: Partition) -> Reached {
        let tables = self.tables.lock().unwrap();
        tables.reached.get(&partition).copied().unwrap_or_default()
    }

    /// The newest slot of a user's inbox.
    pub fn newest_slot(&self, user_id: u64) -> Option<Slot> {
        let tables = self.tables.lock().unwrap();
        let mut rows = tables.inbox.keys().filter(|(user, _)| *user == user_id);
        rows.next_back().map(|(_, place)| place.slot)
    }

    /// Segments of a user's inbox.
    pub fn segments(&self, user_id: u64) -> usize {
        let tables = self.tables.lock().unwrap();
        tables
            .inbox
            .keys()
            .filter(|(user, _)| *user == user_id)
            .count()
    }

    /// Where conversations and members are, once that answers.
    fn authority(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        while_held(&self.hangs);
        self.there(&self.conversations_away)
    }

    /// What is the authority over members failed over to a copy that lacks a conversation.
    pub fn lose_conversation(&self, conversation_id: u64) {
        let mut tables = self.tables.lock().unwrap();
        tables.conversations.retain(|_, id| *id != conversation_id);
        tables.members.remove(&conversation_id);
    }

    /// Whether it has a conversation.
    pub fn has_conversation(&self, conversation_id: u64) -> bool {
        let tables = self.tables.lock().unwrap();
        tables.members.contains_key(&conversation_id)
    }

    fn there(&self, what: &AtomicBool) -> Result<MutexGuard<'_, Tables>, StoreError> {
        match what.load(Ordering::SeqCst) {
            true => Err(StoreError::Away {
                service: "memory",
                reason: "the test says so".to_owned(),
            }),
            false => Ok(self.tables.lock().unwrap()),
        }
    }
}

/// Some half a minute at most, so that a test that fails ends.
fn while_held(hold: &AtomicBool) {
    let mut looks = 0;
    while hold.load(Ordering::SeqCst) && looks < 30_000 {
        std::thread::park_timeout(Duration::from_millis(1));
        looks += 1;
    }
}

/// One router's end of it.
pub struct GroupStore {
    services: Arc<Services>,
    node_id: u16,
}

impl GroupStore {
    pub fn new(services: &Arc<Services>, node_id: u16) -> Arc<GroupStore> {
        Arc::new(GroupStore {
            services: Arc::clone(services),
            node_id,
        })
    }

    fn tables(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        self.services.there(&self.services.store_away)
    }
}

fn bounded<'a>(rows: impl Iterator<Item = &'a StoredMessage>, bound: Bound) -> Slice {
    let mut messages: Vec<_> = rows
        .take(bound.messages_max + 1)
        .map(|row| row.deliver.clone())
        .collect();
    let has_more = messages.len() > bound.messages_max;
    messages.truncate(bound.messages_max);
    Slice { messages, has_more }
}

impl Store for GroupStore {
    fn position(&self) -> Result<Position, StoreError> {
        let tables = self.tables()?;
        Ok(tables.given.get(&self.node_id).copied().unwrap_or_default())
    }

    fn reached(&self, partitions: &[Partition]) -> Result<Vec<Reached>, StoreError> {
        let tables = self.tables()?;
        let reached = |id| tables.reached.get(id).copied().unwrap_or_default();
        Ok(partitions.iter().map(reached).collect())
    }

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        Ok(self.tables()?.head(conversation_id))
    }

    fn bases(&self, asked: &[(u64, Offset)]) -> Result<Vec<Head>, StoreError> {
        let tables = self.tables()?;
        let base = |&(id, next): &(u64, Offset)| {
            let mut below = tables.of(id).rev().filter(|row| row.log_offset < next.0);
            below.next().map(StoredMessage::head).unwrap_or_default()
        };
        Ok(asked.iter().map(base).collect())
    }

    fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError> {
        let found = self
            .services
            .authority()?
            .members
            .get(&conversation_id)
            .cloned();
        let in_vain = u64::from(found.is_none());
        self.services
            .asked_in_vain
            .fetch_add(in_vain, Ordering::SeqCst);
        Ok(found)
    }

    fn is_member(&self, conversation_id: u64, user_id: u64) -> Result<bool, StoreError> {
        let members = self.members(conversation_id)?;
        Ok(members.is_some_and(|members| members.contains(&user_id)))
    }

    fn known(&self, name: SendKey) -> Result<Option<Known>, StoreError> {
        let tables = self.tables()?;
        let mut sent = tables.sends.range((name, 0)..=(name, u64::MAX));
        Ok(sent.next_back().map(|(_, sent)| sent.known))
    }

    fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claim = |claim: &Claim| {
            let reserved = match self.services.there(&self.services.claims_away) {
                Ok(mut tables) => match tables.reserved.insert(claim.name(), claim.known) {
                    None => return Ok(Claimed::New),
                    Some(before) => {
                        tables.reserved.insert(claim.name(), before);
                        Some(before)
                    }
                },
                Err(_) => None,
            };
            let durable = self.known(claim.name())?.map(Claimed::Durable);
            let begun = reserved.map(Claimed::Begun);
            Ok(durable.or(begun).unwrap_or(Claimed::Unsure))
        };
        claims.iter().map(claim).collect()
    }

    fn sent(&self, names: &[SendKey]) -> Result<Vec<Vec<Sent>>, StoreError> {
        let tables = self.tables()?;
        let of = |&name: &SendKey| {
            let sent = tables.sends.range((name, 0)..=(name, u64::MAX));
            sent.map(|(_, sent)| *sent).collect()
        };
        Ok(names.iter().map(of).collect())
    }

    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError> {
        let tables = self.services.authority()?;
        Ok(tables.conversations.get(&key).copied())
    }

    fn open(
        &self,
        opened: &Opened,
        _: u64,
        limits: &ConversationLimits,
    ) -> Result<Opening, StoreError> {
        let mut tables = self.services.authority()?;
        if let Some(&conversation_id) = tables.conversations.get(&opened.key) {
            let members = Arc::clone(&tables.members[&conversation_id]);
            return Ok(Opening::Exists {
                conversation_id,
                members,
            });
        }
        for &user_id in &opened.members {
            let theirs = |members: &&Arc<[u64]>| members.contains(&user_id);
            let all = tables.members.values().filter(theirs).count();
            let has = Conversations { opened: 0, all };
            if user_id != opened.opener_user_id
                && let Err(full) = limits.check_member(user_id, has)
            {
                return Ok(Opening::Full(full));
            }
        }
        let id = opened.conversation_id;
        tables.conversations.insert(opened.key, id);
        tables.members.insert(id, opened.members.clone().into());
        Ok(Opening::New)
    }

    fn reopen(&self, opened: &[Opened]) -> Result<(), StoreError> {
        let mut tables = self.services.authority()?;
        for it in opened {
            let id = it.conversation_id;
            tables.conversations.entry(it.key).or_insert(id);
            tables
                .members
                .entry(id)
                .or_insert_with(|| it.members.clone().into());
        }
        Ok(())
    }

    fn since(&self, id: u64, have: u64, bound: Bound) -> Result<(Head, Slice), StoreError> {
        self.services.read.lock().unwrap().push(id);
        while_held(&self.services.reads_held);
        let tables = self.tables()?;
        let above = tables.of(id).filter(|row| row.deliver.seq > have);
        Ok((tables.head(id), bounded(above, bound)))
    }

    fn before(&self, below: &Below) -> Result<Slice, StoreError> {
        let tables = self.tables()?;
        let within = |row: &&StoredMessage| {
            let seq = row.deliver.seq;
            (below.before_seq == 0 || seq < below.before_seq) && seq > below.above_seq
        };
        let rows = tables.of(below.conversation_id).rev().filter(within);
        Ok(bounded(rows, below.bound))
    }

    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        let mut tables = self.tables()?;
        for it in receipts {
            let device = tables.receipts.entry((it.user_id, it.device_id));
            let row = device.or_default().entry(it.conversation_id).or_default();
            *row = (row.0.max(it.seq), now_ms);
        }
        Ok(())
    }

    fn received(
        &self,
        device: (u64, u32),
        ids: &[u64],
        now: u64,
    ) -> Result<Vec<Received>, StoreError> {
        let tables = self.tables()?;
        let rows = tables.receipts.get(&device).into_iter().flatten();
        let held = rows.filter(|(id, (_, at_ms))| ids.contains(id) && receipt_holds(*at_ms, now));
        Ok(held
            .map(|(&conversation_id, &(seq, at_ms))| Received {
                conversation_id,
                seq,
                age_ms: now - at_ms,
            })
            .collect())
    }

    fn has_received(&self, device: (u64, u32), now: u64) -> Result<bool, StoreError> {
        let tables = self.tables()?;
        let mut rows = tables.receipts.get(&device).into_iter().flatten();
        Ok(rows.any(|(_, (_, at_ms))| receipt_holds(*at_ms, now)))
    }

    fn mark(&self, segments: &[Segment]) -> Result<(), StoreError> {
        drop(self.tables()?);
        let mut tables = self.services.there(&self.services.inbox_away)?;
        for segment in segments {
            let place = Place {
                slot: segment.slot,
                conversation_id: segment.conversation_id,
                from_seq: segment.from_seq,
            };
            for &user_id in segment.members.iter() {
                let last_seq = tables.inbox.entry((user_id, place)).or_default();
                *last_seq = segment.last_seq.max(*last_seq);
            }
        }
        Ok(())
    }

    fn segments(
        &self,
        user_id: u64,
        from: Slot,
        below: Place,
        rows_max: usize,
    ) -> Result<(Vec<SegmentRow>, bool), StoreError> {
        let tables = self.services.there(&self.services.inbox_away)?;
        let oldest = Place {
            slot: from,
            ..Place::default()
        };
        let rows = tables
            .inbox
            .range((user_id, oldest)..(user_id, below))
            .rev();
        let row = |(&(_, place), &last_seq)| SegmentRow { place, last_seq };
        let mut rows: Vec<SegmentRow> = rows.map(row).take(rows_max + 1).collect();
        let more = rows.len() > rows_max;
        rows.truncate(rows_max);
        Ok((rows, more))
    }

    fn conversations(
        &self,
        _: u64,
        _: u64,
        _: usize,
    ) -> Result<(Vec<proto::ConversationHead>, bool), StoreError> {
        Ok((Vec::new(), false))
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        assert!(
            !self.services.panics.load(Ordering::SeqCst),
            "the test says so"
        );
        if self.services.slow.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        let mut tables = self.tables()?;
        let refused = self.services.refused.lock().unwrap();
        let refuses_all = self.services.refuses_all.load(Ordering::SeqCst);
        for message in &batch.messages {
            let deliver = &message.deliver;
            if refuses_all || refused.contains(&deliver.payload) {
                // What stands before it in the batch is written.
                return Err(StoreError::Failed {
                    doing: "write a message",
                    reason: "the test says so".to_owned(),
                });
            }
            let sent = Sent {
                known: Known {
                    conversation_id: deliver.conversation_id,
                    payload_hash: message.payload_hash,
                    message_id: deliver.message_id,
                    hlc: deliver.hlc,
                },
                seq: deliver.seq,
                log_offset: message.log_offset,
                at_ms: message.at_ms,
            };
            let name = (deliver.sender_user_id, deliver.client_msg_id);
            tables.sends.insert((name, message.log_offset), sent);
            let key = (deliver.conversation_id, deliver.seq);
            let before = tables.messages.get(&key);
            if before.is_some_and(|before| before.deliver != *deliver) {
                tables.rewritten.push(key);
            }
            tables.messages.insert(key, message.clone());
        }
        Ok(())
    }

    fn reach(&self, reached: &[(Partition, Reached)], given: &Position) -> Result<(), StoreError> {
        let mut tables = self.tables()?;
        let deaf = self.services.deaf.load(Ordering::SeqCst);
        for (partition, reached) in reached.iter().filter(|_| !deaf) {
            let stored = tables.reached.entry(*partition).or_default();
            if (reached.next, reached.inbox) > (stored.next, stored.inbox) {
                *stored = *reached;
            }
        }
        let kept = tables.given.entry(self.node_id).or_default();
        kept.last_id = kept.last_id.max(given.last_id);
        kept.last_hlc = kept.last_hlc.max(given.last_hlc);
        Ok(())
    }

    fn rest(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn now_ms(&self) -> Result<Option<u64>, StoreError> {
        drop(self.tables()?);
        Ok(Some(self.services.now_ms.load(Ordering::SeqCst)))
    }

    fn note_time(&self, _: u64) {}
}
