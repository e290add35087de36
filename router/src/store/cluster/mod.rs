//! The distributed store: messages in CQL, conversations and members in PostgreSQL, claims of ids in
//! front of both in Redis.
//!
//! Blocking, for the router's threads: each call waits for drivers that run on threads of their own,
//! and for no longer than those bound their calls. The invariant is theirs: whatever fails as
//! [`StoreError::Away`](super::StoreError::Away) may be done again.

mod claim;
mod drivers;
mod members;
mod store;

pub use claim::{Sends, claim};
pub use store::{ClusterStore, Options};
