//! The store itself: which service answers what.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join;
use rookery_wire::proto;
use tokio::runtime::Handle;

use super::claim::{Sends, claim};
use super::drivers::Drivers;
use super::members::Members;
use crate::Clock;
use crate::admission::Known;
use crate::identity::Identity;
use crate::postgres::{self, Postgres};
use crate::record::{OpenKey, Opened};
use crate::redis::{self, Claims};
use crate::sequencer::Head;
use crate::store::cql::{self, Cql, INBOX_MEMBERS_MAX};
use crate::store::{
    Batch, Below, Bound, Claim, Claimed, InboxRow, Numbered, Opening, Placed, Position, Receipt,
    Received, Slice, Store, StoreError,
};

/// What the store is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node's, under which its position is kept.
    pub node_id: u16,
    /// Messages.
    pub cql: cql::Options,
    /// Conversations and members.
    pub postgres: postgres::Options,
    /// Claims.
    pub redis: redis::Options,
}

/// See the module above.
pub struct ClusterStore {
    node_id: u16,
    cql: Cql,
    postgres: Postgres,
    claims: Claims,
    members: Members,
    /// The greatest that was read or applied.
    position: Mutex<Position>,
    /// Last: the others are dropped while their runtime is there.
    drivers: Drivers,
}

impl Sends for Cql {
    async fn known_many(&self, sends: &[(u64, u64)]) -> Result<Vec<Option<Known>>, StoreError> {
        Cql::known_many(self, sends).await
    }
}

impl ClusterStore {
    /// Opens it on threads of its own. A service that is away is connected to later; errors are of the
    /// options only.
    pub fn open(options: &Options, clock: Arc<dyn Clock>) -> Result<ClusterStore, StoreError> {
        ClusterStore::open_with(options, clock, Drivers::start()?)
    }

    /// The same on a runtime that outlives it. Not to be called from one of that runtime's threads.
    pub fn open_on(
        options: &Options,
        clock: Arc<dyn Clock>,
        runtime: Handle,
    ) -> Result<ClusterStore, StoreError> {
        ClusterStore::open_with(options, clock, Drivers::on(runtime))
    }

    fn open_with(
        options: &Options,
        clock: Arc<dyn Clock>,
        drivers: Drivers,
    ) -> Result<ClusterStore, StoreError> {
        Ok(ClusterStore {
            node_id: options.node_id,
            cql: drivers.wait(Cql::connect(&options.cql))?,
            postgres: Postgres::new(&options.postgres)?,
            claims: Claims::start(&options.redis, clock, drivers.handle())?,
            members: Members::new(),
            position: Mutex::default(),
            drivers,
        })
    }

    /// Where the drivers run, for others who speak to the same services.
    pub fn runtime(&self) -> &Handle {
        self.drivers.handle()
    }

    /// The conversations and devices, for others who need them.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// What the store knows of itself and of its log.
    pub fn identity(&self) -> Result<Option<Identity>, StoreError> {
        self.drivers.wait(self.cql.identity())
    }

    /// Says that the log is empty at this moment: see [`Claims::note_empty_log`].
    pub fn note_empty_log(&self) -> Result<(), StoreError> {
        self.drivers.wait(self.claims.note_empty_log())
    }

    /// Waits until Redis takes claims, at most about `limit`: at a start, so that the first messages are
    /// not repetitions. False where it does not; claims are answered all the same.
    pub fn wait_for_claims(&self, limit: Duration) -> bool {
        self.drivers.wait(self.claims.wait_connected(limit))
    }

    /// The members of many conversations, as far as those exist: one call for all that are not in
    /// memory.
    async fn find_members(
        &self,
        conversation_ids: impl Iterator<Item = u64>,
    ) -> Result<HashMap<u64, Arc<[u64]>>, StoreError> {
        let mut found = HashMap::new();
        let mut missing = HashSet::new();
        for id in conversation_ids {
            match self.members.find(id) {
                Some(members) => drop(found.insert(id, members)),
                None => drop(missing.insert(id)),
            }
        }
        let missing: Vec<u64> = missing.into_iter().collect();
        for (id, members) in self.postgres.members_many(&missing).await? {
            self.members.learn(id, Arc::clone(&members));
            found.insert(id, members);
        }
        Ok(found)
    }

    /// The position kept, grown by another.
    fn grow(&self, position: &Position) -> Position {
        let mut kept: MutexGuard<'_, Position> =
            self.position.lock().unwrap_or_else(PoisonError::into_inner);
        kept.next_offset = kept.next_offset.max(position.next_offset);
        kept.last_id = kept.last_id.max(position.last_id);
        kept.last_hlc = kept.last_hlc.max(position.last_hlc);
        *kept
    }
}

impl Store for ClusterStore {
    fn position(&self) -> Result<Position, StoreError> {
        let stored = self.drivers.wait(self.cql.position(self.node_id))?;
        Ok(self.grow(&stored))
    }

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        self.drivers.wait(self.cql.head(conversation_id))
    }

    fn heads(&self, conversation_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        self.drivers.wait(self.cql.heads(conversation_ids))
    }

    fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError> {
        if let Some(members) = self.members.find(conversation_id) {
            return Ok(Some(members));
        }
        let found = self.drivers.wait(self.postgres.members(conversation_id))?;
        if let Some(members) = &found {
            self.members.learn(conversation_id, Arc::clone(members));
        }
        Ok(found)
    }

    fn members_of(&self, conversation_ids: &[u64]) -> Result<Vec<Option<Arc<[u64]>>>, StoreError> {
        let ids = conversation_ids.iter().copied();
        let found = self.drivers.wait(self.find_members(ids))?;
        let members = |id| found.get(id).map(Arc::clone);
        Ok(conversation_ids.iter().map(members).collect())
    }

    fn is_member(&self, conversation_id: u64, user_id: u64) -> Result<bool, StoreError> {
        let members = self.members(conversation_id)?;
        Ok(members.is_some_and(|members| members.binary_search(&user_id).is_ok()))
    }

    fn known(&self, sender: u64, client_msg_id: u64) -> Result<Option<Known>, StoreError> {
        self.drivers.wait(self.cql.known(sender, client_msg_id))
    }

    fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        self.drivers.wait(claim(&self.claims, &self.cql, claims))
    }

    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError> {
        self.drivers.wait(self.postgres.opened(key))
    }

    fn open(&self, opened: &Opened, now_ms: u64) -> Result<Opening, StoreError> {
        let opening = self.drivers.wait(self.postgres.open(opened, now_ms))?;
        match &opening {
            Opening::New => {
                let members = opened.members.as_slice().into();
                self.members.learn(opened.conversation_id, members);
            }
            Opening::Exists {
                conversation_id,
                members,
            } => self.members.learn(*conversation_id, Arc::clone(members)),
        }
        Ok(opening)
    }

    fn placed(&self, conversation_id: u64, message_id: u64) -> Result<Option<Placed>, StoreError> {
        self.drivers
            .wait(self.cql.placed(conversation_id, message_id))
    }

    fn placed_by_sender(
        &self,
        sender: u64,
        client_msg_id: u64,
    ) -> Result<Option<Placed>, StoreError> {
        self.drivers
            .wait(self.cql.placed_by_sender(sender, client_msg_id))
    }

    fn forget(&self) {
        // Members stay: they do not depend on who consumes.
        self.cql.forget();
    }

    fn since(
        &self,
        conversation_id: u64,
        have_seq: u64,
        bound: Bound,
    ) -> Result<(Head, Slice), StoreError> {
        self.drivers
            .wait(self.cql.since(conversation_id, have_seq, bound))
    }

    fn before(&self, conversation_id: u64, before: u64, bound: Bound) -> Result<Slice, StoreError> {
        self.drivers
            .wait(self.cql.before(conversation_id, before, bound))
    }

    fn below(&self, asked: &[Below]) -> Result<Vec<Slice>, StoreError> {
        self.drivers.wait(self.cql.below(asked))
    }

    fn numbers_below(&self, asked: &[Below]) -> Result<Vec<Vec<Numbered>>, StoreError> {
        self.drivers.wait(self.cql.numbers_below(asked))
    }

    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        self.drivers.wait(self.cql.receive(receipts, now_ms))
    }

    fn receipts(
        &self,
        user_id: u64,
        device_id: u32,
        _now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        self.drivers.wait(self.cql.receipts(user_id, device_id))
    }

    fn unread(
        &self,
        user_id: u64,
        received: &HashMap<u64, u64>,
    ) -> Result<Vec<InboxRow>, StoreError> {
        self.drivers.wait(async {
            // Conversations with too many members for inbox rows are found by their members.
            let large = self
                .postgres
                .large_conversations_of(user_id, INBOX_MEMBERS_MAX);
            let unread = self.cql.unread(user_id, received);
            let (mut rows, large) = try_join(unread, large).await?;
            let large = self.cql.inbox_rows(&large).await?;
            rows.extend(large.into_iter().filter(|row| row.is_above(received)));
            Ok(rows)
        })
    }

    fn conversations(
        &self,
        user_id: u64,
        after: u64,
        rows_max: usize,
    ) -> Result<(Vec<proto::ConversationHead>, bool), StoreError> {
        self.drivers.wait(async {
            let (ids, more) = self
                .postgres
                .conversations_of(user_id, after, rows_max)
                .await?;
            let heads = self.cql.heads(&ids).await?;
            let rows = ids
                .into_iter()
                .zip(heads)
                .map(|(conversation_id, head)| proto::ConversationHead {
                    conversation_id,
                    head_seq: head.last_seq,
                })
                .collect();
            Ok((rows, more))
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        for opened in &batch.opened {
            let members = opened.members.as_slice().into();
            self.members.learn(opened.conversation_id, members);
        }
        self.drivers.wait(async {
            let messages = batch.messages.iter();
            let ids = messages.map(|message| message.deliver.conversation_id);
            let members = self.find_members(ids).await?;
            let of = |conversation_id| members.get(&conversation_id).map(Arc::clone);
            self.cql.apply(batch, &of).await
        })?;
        self.grow(&batch.position);
        Ok(())
    }

    fn persist(&self) -> Result<(), StoreError> {
        let position = self.grow(&Position::default());
        self.drivers.wait(self.cql.persist(self.node_id, &position))
    }

    fn rest(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn note_time(&self, _now_ms: u64) {
        // Rows run out by their TTLs, which the services keep.
    }
}
