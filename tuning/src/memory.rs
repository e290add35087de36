//! The host's memory, `/proc/meminfo`. `MemAvailable` counts live inodes and dentries of sockets as
//! reclaimable, about 2.2 KB per socket pair: what a density run may still use is nearer to `free`.

use std::path::Path;

use crate::process::field_bytes;
use crate::{ReadError, form, read};

/// Bytes, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// In use by nobody.
    pub free: u64,
    /// What the kernel believes could be had.
    pub available: u64,
    /// The kernel's object caches.
    pub slab: u64,
    /// Of `slab`, what the kernel believes could be given back.
    pub slab_reclaimable: u64,
    /// Kernel stacks and page tables.
    pub stacks_and_page_tables: u64,
    /// Of these, the page tables.
    pub page_tables: u64,
    /// Pages of vmalloc areas, a ring's file table among them.
    pub vmalloc: u64,
}

impl Memory {
    /// Reads `/proc/meminfo`.
    pub fn read() -> Result<Self, ReadError> {
        let path = Path::new("/proc/meminfo");
        Self::parse(&read(path)?).ok_or_else(|| form(path, "lacks a line that every Linux has"))
    }

    /// The text of `/proc/meminfo`.
    pub fn parse(text: &str) -> Option<Self> {
        let field = |name| field_bytes(text, name);
        Some(Self {
            total: field("MemTotal")?,
            free: field("MemFree")?,
            available: field("MemAvailable")?,
            slab: field("Slab")?,
            slab_reclaimable: field("SReclaimable")?,
            stacks_and_page_tables: field("KernelStack")?.saturating_add(field("PageTables")?),
            page_tables: field("PageTables")?,
            vmalloc: field("VmallocUsed")?,
        })
    }
}

/// What the control group leaves to this process, `/sys/fs/cgroup/memory.max`; `None` where it is not
/// limited, or the host has no control groups.
pub fn group_max_bytes() -> Option<u64> {
    let path = Path::new("/sys/fs/cgroup/memory.max");
    read(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_read() {
        let text = "MemTotal: 10 kB\nMemFree: 5 kB\nMemAvailable: 7 kB\nSlab: 3 kB\nSReclaimable: 2 kB\nKernelStack: 1 kB\nPageTables: 4 kB\nVmallocUsed: 6 kB\n";
        let memory = Memory::parse(text).unwrap();
        assert_eq!(
            (memory.total, memory.free, memory.slab),
            (10_240, 5_120, 3_072)
        );
        assert_eq!(memory.stacks_and_page_tables, 5_120);
        assert_eq!((memory.page_tables, memory.vmalloc), (4_096, 6_144));
        for missing in ["MemFree", "Slab", "PageTables"] {
            assert_eq!(Memory::parse(&text.replace(missing, "Other")), None);
        }
    }

    #[test]
    fn this_host_has_memory() {
        let memory = Memory::read().unwrap();
        assert!(memory.total > memory.free && memory.free > 0);
    }
}
