//! The store itself: which service answers what.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rookery_wire::proto;
use tokio::runtime::Handle;

use super::claim::{Sends, claim};
use super::drivers::Drivers;
use super::members::Members;
use crate::Clock;
use crate::admission::{ConversationLimits, Known, SendKey};
use crate::identity::Identity;
use crate::ids;
use crate::log::{Offset, Partition};
use crate::postgres::{self, Postgres};
use crate::record::{OpenKey, Opened};
use crate::redis::{self, Claims};
use crate::sequencer::Head;
use crate::store::cql::{self, Cql};
use crate::store::{
    Batch, Below, Bound, Claim, Claimed, Opening, Place, Position, Reached, Receipt, Received,
    Segment, SegmentRow, Sent, Slice, Slot, Store, StoreError, StoredMessage,
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
    clock: Arc<dyn Clock>,
    cql: Cql,
    postgres: Postgres,
    claims: Claims,
    members: Members,
    /// The least id that was claimed by this process: its own are greater.
    first_claimed: AtomicU64,
    /// Last: the others are dropped while their runtime is there.
    drivers: Drivers,
}

impl Sends for Cql {
    async fn known_many(&self, names: &[SendKey]) -> Result<Vec<Option<Known>>, StoreError> {
        let sent = self.sent(names).await?;
        Ok(sent.iter().map(|of| newest(of)).collect())
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
            claims: Claims::start(&options.redis, Arc::clone(&clock), drivers.handle())?,
            clock,
            members: Members::new(),
            first_claimed: AtomicU64::new(u64::MAX),
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

    fn learn(&self, opened: &[Opened]) {
        for opened in opened {
            let members = opened.members.as_slice().into();
            self.members.learn(opened.conversation_id, members);
        }
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
}

/// What a name stands for: the message that it was used for last.
fn newest(sent: &[Sent]) -> Option<Known> {
    let newest = sent.iter().max_by_key(|sent| (sent.at_ms, sent.log_offset));
    newest.map(|sent| sent.known)
}

impl Store for ClusterStore {
    fn position(&self) -> Result<Position, StoreError> {
        self.drivers.wait(self.cql.position(self.node_id))
    }

    fn reached(&self, partitions: &[Partition]) -> Result<Vec<Reached>, StoreError> {
        self.drivers.wait(self.cql.reached(partitions))
    }

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        let heads = self.heads(&[conversation_id])?;
        Ok(heads.first().copied().unwrap_or_default())
    }

    fn heads(&self, conversation_ids: &[u64]) -> Result<Vec<Head>, StoreError> {
        self.drivers.wait(self.cql.heads(conversation_ids))
    }

    fn bases(&self, asked: &[(u64, Offset)]) -> Result<Vec<Head>, StoreError> {
        self.drivers.wait(self.cql.bases(asked))
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

    fn known(&self, name: SendKey) -> Result<Option<Known>, StoreError> {
        let sent = self.sent(&[name])?;
        Ok(sent.first().and_then(|of| newest(of)))
    }

    fn sent(&self, names: &[SendKey]) -> Result<Vec<Vec<Sent>>, StoreError> {
        self.drivers.wait(self.cql.sent(names))
    }

    fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let ids = claims.iter().map(|claim| claim.known.message_id);
        if let Some(least) = ids.min() {
            self.first_claimed.fetch_min(least, Ordering::Relaxed);
        }
        self.drivers.wait(claim(&self.claims, &self.cql, claims))
    }

    fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError> {
        self.drivers.wait(self.postgres.opened(key))
    }

    fn open(
        &self,
        opened: &Opened,
        now_ms: u64,
        limits: &ConversationLimits,
    ) -> Result<Opening, StoreError> {
        let opening = self.postgres.open(opened, now_ms, limits);
        let opening = self.drivers.wait(opening)?;
        match &opening {
            Opening::New => {
                let members = opened.members.as_slice().into();
                self.members.learn(opened.conversation_id, members);
            }
            Opening::Exists {
                conversation_id,
                members,
            } => self.members.learn(*conversation_id, Arc::clone(members)),
            Opening::Full(_) => {}
        }
        Ok(opening)
    }

    fn reopen(&self, opened: &[Opened]) -> Result<(), StoreError> {
        self.learn(opened);
        self.drivers.wait(self.postgres.reopen(opened))
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

    fn before(&self, below: &Below) -> Result<Slice, StoreError> {
        let slices = self.before_many(std::slice::from_ref(below))?;
        Ok(slices.into_iter().next().unwrap_or_default())
    }

    fn before_many(&self, asked: &[Below]) -> Result<Vec<Slice>, StoreError> {
        self.drivers.wait(self.cql.before_many(asked))
    }

    fn receive(&self, receipts: &[Receipt], now_ms: u64) -> Result<(), StoreError> {
        self.drivers.wait(self.cql.receive(receipts, now_ms))
    }

    fn received(
        &self,
        device: (u64, u32),
        conversation_ids: &[u64],
        _now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        self.drivers
            .wait(self.cql.received(device, conversation_ids))
    }

    fn has_received(&self, device: (u64, u32), _now_ms: u64) -> Result<bool, StoreError> {
        self.drivers.wait(self.cql.has_received(device))
    }

    fn mark(&self, segments: &[Segment]) -> Result<(), StoreError> {
        self.drivers.wait(self.cql.mark(segments))
    }

    fn segments(
        &self,
        user_id: u64,
        from: Slot,
        below: Place,
        rows_max: usize,
    ) -> Result<(Vec<SegmentRow>, bool), StoreError> {
        self.drivers
            .wait(self.cql.segments(user_id, from, below, rows_max))
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
        self.learn(&batch.opened);
        self.drivers.wait(self.cql.apply(batch))?;
        let ours = self.first_claimed.load(Ordering::Relaxed);
        let now_ms = self.clock.now_ms();
        let of_others = batch.messages.iter().filter(|message| {
            let id = message.deliver.message_id;
            let is_ours = ids::node(id) == self.node_id && id >= ours;
            // Redis does not lose what it has had for long.
            let is_new = now_ms.saturating_sub(message.at_ms) < redis::LOST_MS_MAX;
            is_new && !is_ours
        });
        self.claims
            .keep_applied(of_others.map(StoredMessage::claim));
        Ok(())
    }

    fn reach(&self, reached: &[(Partition, Reached)], given: &Position) -> Result<(), StoreError> {
        self.drivers
            .wait(self.cql.reach(reached, self.node_id, given))
    }

    fn rest(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn now_ms(&self) -> Result<Option<u64>, StoreError> {
        self.drivers.wait(self.cql.now_ms()).map(Some)
    }

    fn note_time(&self, _now_ms: u64) {
        // Rows run out by their TTLs, which the services keep.
    }
}
