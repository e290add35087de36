//! The kernel's object caches, `/proc/slabinfo` (version 2): what connections cost below the sockets.
//!
//! Bytes are counted as objects times object size: what is in use, without the slack of half-empty
//! slabs. Caches that the kernel has merged show under one name.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{ReadError, form, read};

/// One cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Objects in use.
    pub objects_active: u64,
    /// Objects, free ones in partly filled slabs included.
    pub objects: u64,
    /// Bytes of an object.
    pub object_bytes: u64,
}

impl Cache {
    /// Bytes of the objects in use.
    pub fn active_bytes(&self) -> u64 {
        self.objects_active.saturating_mul(self.object_bytes)
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.objects.saturating_mul(self.object_bytes)
    }
}

/// All caches at one moment, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By name, ascending.
    pub caches: BTreeMap<String, Cache>,
}

impl Snapshot {
    /// Reads `/proc/slabinfo`, which takes root.
    pub fn read() -> Result<Self, ReadError> {
        let path = Path::new("/proc/slabinfo");
        Self::parse(&read(path)?).ok_or_else(|| form(path, "is not slabinfo version 2"))
    }

    /// The text of `/proc/slabinfo`; none where it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if !lines.next()?.starts_with("slabinfo - version: 2.") {
            return None;
        }
        let mut caches = BTreeMap::new();
        for line in lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let mut number = || words.next()?.parse::<u64>().ok();
            let (objects_active, objects, object_bytes) = (number()?, number()?, number()?);
            caches.insert(
                name,
                Cache {
                    objects_active,
                    objects,
                    object_bytes,
                },
            );
        }
        Some(Self { caches })
    }

    /// Bytes of all objects of all caches.
    pub fn bytes(&self) -> u64 {
        self.caches
            .values()
            .map(Cache::bytes)
            .fold(0, u64::saturating_add)
    }

    /// What has come since an earlier snapshot: (cache, objects, bytes), only caches that changed, the
    /// largest change first. Negative where it shrank.
    pub fn since(&self, earlier: &Self) -> Vec<(String, i64, i64)> {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let mut changes = Vec::new();
        let none = Cache::default();
        let gone = earlier
            .caches
            .keys()
            .filter(|name| !self.caches.contains_key(*name));
        for name in self.caches.keys().chain(gone) {
            let (now, then) = (
                self.caches.get(name).unwrap_or(&none),
                earlier.caches.get(name).unwrap_or(&none),
            );
            let objects = signed(now.objects).saturating_sub(signed(then.objects));
            let bytes = signed(now.bytes()).saturating_sub(signed(then.bytes()));
            if objects != 0 || bytes != 0 {
                changes.push((name.clone(), objects, bytes));
            }
        }
        changes.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(bytes.unsigned_abs()));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
TCP                  120    130   2368   13    8 : tunables    0    0    0 : slabdata     10     10      0
sock_inode_cache     400    400    832   39    8 : tunables    0    0    0 : slabdata     11     11      0
";

    #[test]
    fn caches_are_counted() {
        let snapshot = Snapshot::parse(TEXT).unwrap();
        assert_eq!(snapshot.caches.len(), 2);
        let tcp = snapshot.caches["TCP"];
        assert_eq!(
            (tcp.objects_active, tcp.objects, tcp.object_bytes),
            (120, 130, 2368)
        );
        assert_eq!(tcp.active_bytes(), 120 * 2368);
        assert_eq!(snapshot.bytes(), 130 * 2368 + 400 * 832);
    }

    #[test]
    fn changes_come_largest_first() {
        let before = Snapshot::parse(TEXT).unwrap();
        let mut after = before.clone();
        after.caches.get_mut("TCP").unwrap().objects = 1_130;
        after.caches.remove("sock_inode_cache");
        let expected = [
            ("TCP".to_owned(), 1_000, 1_000 * 2368),
            ("sock_inode_cache".to_owned(), -400, -400 * 832),
        ];
        assert_eq!(after.since(&before), expected);
        assert!(before.since(&before).is_empty());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "slabinfo - version: 1.0\n",
            "slabinfo - version: 2.1\nTCP 1 x 3\n",
            "slabinfo - version: 2.1\nTCP 1\n",
        ] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
    }
}
