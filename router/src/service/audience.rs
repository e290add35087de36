//! Who hears of a conversation, grouped by shard: cached, since members don't change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dispatch::Dispatch;
use crate::generations::Generations;
use crate::store::{Store, StoreError};

/// Members kept in memory, up to twice as many: 8 B each, and some 200 B for their conversation.
const WEIGHT_MAX: usize = 2_000_000;
/// What a conversation weighs beside its members.
const CONVERSATION_WEIGHT: usize = 24;

/// The members of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    by_shard: Vec<(u16, Vec<u64>)>,
}

impl Audience {
    /// Members by the shard that owns them; no shard without one.
    pub(crate) fn by_shard(&self) -> &[(u16, Vec<u64>)] {
        &self.by_shard
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

    /// The audience of a conversation; `None` where there is no such conversation.
    pub(crate) fn of(
        &mut self,
        conversation_id: u64,
        dispatch: Option<&Dispatch>,
    ) -> Result<Option<Arc<Audience>>, StoreError> {
        if let Some(audience) = self.cached.hit(conversation_id) {
            return Ok(Some(Arc::clone(audience)));
        }
        let members = self.store.members(conversation_id)?;
        Ok(members.map(|members| self.learn(conversation_id, &members, dispatch)))
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
