//! Who hears of a conversation, grouped by shard: cached, since members don't change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dispatch::Dispatch;
use crate::generations::Generations;
use crate::store::{Store, StoreError};

/// Members kept in memory, up to twice as many: 16 B each, and some 200 B for their conversation.
const WEIGHT_MAX: usize = 2_000_000;
/// What a conversation weighs beside its members.
const CONVERSATION_WEIGHT: usize = 24;

/// The members of one conversation.
#[derive(Debug)]
pub(crate) struct Audience {
    members: Arc<[u64]>,
    by_shard: Vec<(u16, Vec<u64>)>,
}

impl Audience {
    /// Members by the shard that owns them; no shard without one.
    pub(crate) fn by_shard(&self) -> &[(u16, Vec<u64>)] {
        &self.by_shard
    }

    /// All of them, ascending.
    pub(crate) fn members(&self) -> &Arc<[u64]> {
        &self.members
    }

    fn new(members: &[u64], dispatch: Option<&Dispatch>) -> Audience {
        let mut by_shard: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        if let Some(dispatch) = dispatch {
            let shards = dispatch.shards().max(1);
            for &user_id in members {
                let shard = dispatch.owner(user_id).min(shards - 1);
                by_shard.entry(shard).or_default().push(user_id);
            }
        }
        Audience {
            members: members.into(),
            by_shard: by_shard.into_iter().collect(),
        }
    }
}

/// See the module.
pub(crate) struct Audiences {
    store: Arc<dyn Store>,
    cached: Generations<u64, Arc<Audience>>,
}

impl Audiences {
    pub(crate) fn new(store: Arc<dyn Store>) -> Audiences {
        Audiences {
            store,
            cached: Generations::new(WEIGHT_MAX),
        }
    }

    /// Whether a conversation's audience is in memory.
    pub(crate) fn knows(&mut self, conversation_id: u64) -> bool {
        self.cached.hit(conversation_id).is_some()
    }

    /// The audience of a conversation, where it is in memory.
    pub(crate) fn find(&mut self, conversation_id: u64) -> Option<Arc<Audience>> {
        self.cached
            .hit(conversation_id)
            .map(|found| Arc::clone(found))
    }

    /// Looks up the audiences of conversations, as far as those exist.
    pub(crate) fn look_up(
        &mut self,
        conversation_ids: &[u64],
        dispatch: Option<&Dispatch>,
    ) -> Result<(), StoreError> {
        if conversation_ids.is_empty() {
            return Ok(());
        }
        let found = self.store.members_of(conversation_ids)?;
        for (&id, members) in conversation_ids.iter().zip(found) {
            if let Some(members) = members {
                self.learn(id, &members, dispatch);
            }
        }
        Ok(())
    }

    /// The audience of a conversation whose members are known.
    pub(crate) fn learn(
        &mut self,
        conversation_id: u64,
        members: &[u64],
        dispatch: Option<&Dispatch>,
    ) -> Arc<Audience> {
        let audience = Arc::new(Audience::new(members, dispatch));
        let weight = members.len() + CONVERSATION_WEIGHT;
        self.cached
            .insert(conversation_id, Arc::clone(&audience), weight);
        audience
    }

    /// Ages the cache. Only while everything learnt is in the store.
    pub(crate) fn turn(&mut self) {
        self.cached.turn();
    }
}
