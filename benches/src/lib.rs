//! The load generator [`flock`], whose clients live on the same engine as the server, and the [`report`]
//! that is made of a run.

pub mod flock;
pub mod report;
