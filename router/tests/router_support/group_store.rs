//! A store in memory that several routers share, with what a distributed one does: heads behind the
//! messages until a persist, writes of deposed consumers that lose to newer ones, and outages.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rookery_router::admission::Known;
use rookery_router::record::{OpenKey, Opened};
use rookery_router::sequencer::Head;
use rookery_router::store::{
    Batch, Below, Bound, Claim, Claimed, InboxRow, Numbered, Opening, Placed, Position, Receipt,
    Received, Slice, Store, StoreError, receipt_holds,
};
use rookery_wire::proto;

#[derive(Clone)]
struct Row {
    deliver: proto::Deliver,
    log_offset: u64,
}

#[derive(Default)]
struct Tables {
    messages: HashMap<u64, BTreeMap<u64, Row>>,
    sends: HashMap<(u64, u64), (Known, u64, u64)>,
    reserved: HashMap<(u64, u64), Known>,
    heads: HashMap<u64, Head>,
    conversations: HashMap<OpenKey, u64>,
    members: HashMap<u64, Arc<[u64]>>,
    receipts: HashMap<(u64, u32), HashMap<u64, (u64, u64)>>,
    positions: HashMap<u16, Position>,
}

/// What the services hold.
#[derive(Default)]
pub struct Services {
    tables: Mutex<Tables>,
    /// Where messages are.
    pub store_away: AtomicBool,
    /// What remembers claims.
    pub claims_away: AtomicBool,
}

impl Services {
    pub fn new() -> Arc<Services> {
        Arc::default()
    }

    /// Every message of a conversation, by seq.
    pub fn messages(&self, conversation_id: u64) -> Vec<proto::Deliver> {
        let tables = self.tables.lock().unwrap();
        let rows = tables.messages.get(&conversation_id).into_iter().flatten();
        let mut messages: Vec<_> = rows.map(|(_, row)| row.deliver.clone()).collect();
        messages.sort_by_key(|message| message.seq);
        messages
    }

    /// The greatest id that a node has stored.
    pub fn stored_id(&self, node_id: u16) -> u64 {
        let tables = self.tables.lock().unwrap();
        tables.positions.get(&node_id).map_or(0, |it| it.last_id)
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

/// One router's end of it.
pub struct GroupStore {
    services: Arc<Services>,
    node_id: u16,
    heads: Mutex<HashMap<u64, Head>>,
    position: Mutex<Position>,
}

impl GroupStore {
    pub fn new(services: &Arc<Services>, node_id: u16) -> Arc<GroupStore> {
        Arc::new(GroupStore {
            services: Arc::clone(services),
            node_id,
            heads: Mutex::default(),
            position: Mutex::default(),
        })
    }

    fn tables(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        self.services.there(&self.services.store_away)
    }
}

impl Store for GroupStore {
    fn position(&self) -> Result<Position, StoreError> {
        let tables = self.tables()?;
        Ok(tables
            .positions
            .get(&self.node_id)
            .copied()
            .unwrap_or_default())
    }

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        if let Some(head) = self.heads.lock().unwrap().get(&conversation_id) {
            return Ok(*head);
        }
        let tables = self.tables()?;
        Ok(tables
            .heads
            .get(&conversation_id)
            .copied()
            .unwrap_or_default())
    }

    fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError> {
        let tables = self.services.tables.lock().unwrap();
        Ok(tables.members.get(&conversation_id).cloned())
    }

    fn is_member(&self, conversation_id: u64, user_id: u64) -> Result<bool, StoreError> {
        let members = self.members(conversation_id)?;
        Ok(members.is_some_and(|members| members.contains(&user_id)))
    }

    fn known(&self, sender: u64, client_msg_id: u64) -> Result<Option<Known>, StoreError> {
        let tables = self.tables()?;
        Ok(tables
            .sends
            .get(&(sender, client_msg_id))
            .map(|send| send.0))
    }

    fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claim = |claim: &Claim| {
            let key = (claim.sender_user_id, claim.client_msg_id);
            let reserved = match self.services.there(&self.services.claims_away) {
                Ok(mut tables) => match tables.reserved.insert(key, claim.known) {
                    None => return Ok(Claimed::New),
                    Some(before) => {
                        tables.reserved.insert(key, before);
                        Some(before)
                    }
                },
                Err(_) => None,
            };
            let durable = self.known(key.0, key.1)?.map(Claimed::Durable);
            let begun = reserved.map(Claimed::Begun);
            Ok(durable.or(begun).unwrap_or(Claimed::Unsure))
        };
        claims.iter().map(claim).collect()
    }

    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError> {
        let tables = self.services.tables.lock().unwrap();
        Ok(tables.conversations.get(&key).copied())
    }

    fn open(&self, opened: &Opened, _: u64) -> Result<Opening, StoreError> {
        let mut tables = self.services.tables.lock().unwrap();
        if let Some(&conversation_id) = tables.conversations.get(&opened.key) {
            let members = Arc::clone(&tables.members[&conversation_id]);
            return Ok(Opening::Exists {
                conversation_id,
                members,
            });
        }
        let id = opened.conversation_id;
        tables.conversations.insert(opened.key, id);
        tables.members.insert(id, opened.members.clone().into());
        Ok(Opening::New)
    }

    fn placed(&self, conversation_id: u64, message_id: u64) -> Result<Option<Placed>, StoreError> {
        let tables = self.tables()?;
        let rows = tables.messages.get(&conversation_id);
        Ok(rows
            .and_then(|rows| rows.get(&message_id))
            .map(|row| Placed {
                seq: row.deliver.seq,
                log_offset: row.log_offset,
            }))
    }

    fn placed_by_sender(&self, sender: u64, id: u64) -> Result<Option<Placed>, StoreError> {
        let tables = self.tables()?;
        let send = tables.sends.get(&(sender, id));
        Ok(send.map(|&(_, seq, log_offset)| Placed { seq, log_offset }))
    }

    fn forget(&self) {
        self.heads.lock().unwrap().clear();
    }

    fn since(&self, id: u64, have: u64, bound: Bound) -> Result<(Head, Slice), StoreError> {
        let tables = self.tables()?;
        let rows = tables.messages.get(&id).into_iter().flatten();
        let mut messages: Vec<_> = rows.map(|(_, row)| row.deliver.clone()).collect();
        messages.sort_by_key(|message| message.seq);
        let last_seq = messages.last().map_or(0, |last| last.seq);
        messages.retain(|message| message.seq > have);
        let has_more = messages.len() > bound.messages_max;
        messages.truncate(bound.messages_max);
        let head = Head {
            last_seq,
            next_offset: 0,
        };
        Ok((head, Slice { messages, has_more }))
    }

    fn before(&self, id: u64, before: u64, bound: Bound) -> Result<Slice, StoreError> {
        let tables = self.tables()?;
        let rows = tables.messages.get(&id).into_iter().flatten();
        let older = rows.filter(|&(&id, _)| before == 0 || id < before);
        let mut messages: Vec<_> = older.map(|(_, row)| row.deliver.clone()).collect();
        messages.reverse();
        let has_more = messages.len() > bound.messages_max;
        messages.truncate(bound.messages_max);
        Ok(Slice { messages, has_more })
    }

    fn numbers_below(&self, asked: &[Below]) -> Result<Vec<Vec<Numbered>>, StoreError> {
        let number = |message: &proto::Deliver| Numbered {
            message_id: message.message_id,
            seq: message.seq,
        };
        let slices = self.below(asked)?.into_iter();
        Ok(slices
            .map(|slice| slice.messages.iter().map(number).collect())
            .collect())
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

    fn receipts(&self, user: u64, device: u32, now: u64) -> Result<Vec<Received>, StoreError> {
        let tables = self.tables()?;
        let rows = tables.receipts.get(&(user, device)).into_iter().flatten();
        let held = rows.filter(|(_, (_, at_ms))| receipt_holds(*at_ms, now));
        Ok(held
            .map(|(&conversation_id, &(seq, at_ms))| Received {
                conversation_id,
                seq,
                age_ms: now - at_ms,
            })
            .collect())
    }

    fn unread(&self, user: u64, have: &HashMap<u64, u64>) -> Result<Vec<InboxRow>, StoreError> {
        let tables = self.tables()?;
        let mine = tables.members.iter().filter(|it| it.1.contains(&user));
        let row = |(&id, _): (&u64, _)| {
            let rows = tables.messages.get(&id);
            InboxRow {
                conversation_id: id,
                last_seq: rows.map_or(0, |rows| rows.len() as u64),
                last_message_id: rows
                    .and_then(|rows| rows.last_key_value())
                    .map_or(0, |it| *it.0),
            }
        };
        Ok(mine.map(row).filter(|row| row.is_above(have)).collect())
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
        let mut tables = self.tables()?;
        for message in &batch.messages {
            let deliver = &message.deliver;
            let known = Known {
                conversation_id: deliver.conversation_id,
                payload_hash: message.payload_hash,
                message_id: deliver.message_id,
                hlc: deliver.hlc,
            };
            let key = (deliver.sender_user_id, deliver.client_msg_id);
            let send = (known, deliver.seq, message.log_offset);
            let newer = |old: Option<u64>| old.is_none_or(|offset| offset <= message.log_offset);
            if newer(tables.sends.get(&key).map(|send| send.2)) {
                tables.sends.insert(key, send);
            }
            let rows = tables.messages.entry(deliver.conversation_id).or_default();
            if newer(rows.get(&deliver.message_id).map(|row| row.log_offset)) {
                let row = Row {
                    deliver: deliver.clone(),
                    log_offset: message.log_offset,
                };
                rows.insert(deliver.message_id, row);
            }
        }
        self.heads.lock().unwrap().extend(&batch.heads);
        let mut position = self.position.lock().unwrap();
        position.last_id = position.last_id.max(batch.position.last_id);
        position.last_hlc = position.last_hlc.max(batch.position.last_hlc);
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let mut tables = self.tables()?;
        for (&id, &head) in self.heads.lock().unwrap().iter() {
            let stored = tables.heads.entry(id).or_default();
            if head.next_offset > stored.next_offset {
                *stored = head;
            }
        }
        let position = *self.position.lock().unwrap();
        tables.positions.insert(self.node_id, position);
        Ok(())
    }

    fn rest(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn note_time(&self, _: u64) {}
}
