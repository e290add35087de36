//! Redis: the front of deduplication, the directory of who is connected where, and which instance is
//! which node.
//!
//! Nothing here is the truth: claims are also in the log and in the store of messages, the directory
//! is refreshed by heartbeats. So Redis may be away or lose everything; what it must not do is make a
//! duplicate of a message, and [`Claims`] says how that is kept.

mod check;
mod claims;
mod connect;
mod directory;
mod keys;
mod lane;
mod node;
mod options;
mod recent;
mod restore;

pub use check::check;
pub use claims::{Claims, Taken};
pub use directory::{Directory, USER_TTL};
pub use node::{Instance, NODE_TTL, Node};
pub use options::Options;
pub use recent::AGE_MAX_MS as LOST_MS_MAX;

/// The name that errors and checks give.
const SERVICE: &str = "redis";
