//! Bytes on disk.

/// What a batch and a record add to a body.
pub(crate) const OVERHEAD: usize = 64;
