//! How much room the data directory's file system has.
//!
//! The store poisons itself when a write fails for want of space, so admission stops before that.

use std::path::Path;

/// Where free space is read. A test gives its own.
pub trait Space: Send + Sync + 'static {
    /// Bytes that an unprivileged process may still write under `path`; `None` where that can't be
    /// told, which counts as enough.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}

/// The real file system, by `statvfs(3)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskSpace;

impl Space for DiskSpace {
    fn free_bytes(&self, path: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
