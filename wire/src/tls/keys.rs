//! Keys of the sessions that speak: expanded from their secrets once, and kept beside them for a while.
//!
//! A parked session has its secrets only ([`super::parked`]); key and iv follow from a secret (RFC 8446
//! section 7.3), at about half a microsecond each. Every thread keeps those that it used last, in two
//! generations: what is used stands in the newer one; when that is full, or its time is over
//! ([`forget_unused_keys`]), the older one is wiped and the newer becomes the older. It is a memory, not a
//! part of any result: what is not here is expanded again. Invariant: keys are wiped where they lie when they
//! go, and go with their session at the latest; one that goes to another thread has them forgotten first
//! ([`super::Session::forget_keys`]).

use std::cell::RefCell;

use hashbrown::HashTable;
use zeroize::Zeroize;

use super::record::{AeadKey, IV};
use super::secrets::expand_label;
use super::{Error, Suite};

/// Directions in a generation: sixteen thousand clients of a thread that speak again and again find both of
/// theirs.
const GENERATION: usize = 32_768;

/// Bytes of a thread's keys, at most: two generations, an allocation of 64 B and a place in the table for each.
pub const KEYS_BYTES_MAX: usize = 2 * GENERATION * (64 + 18);

/// The time of a generation: who says something every second finds its keys.
const GENERATION_NS: u64 = 1_000_000_000;

/// The longest AEAD key.
const KEY_MAX: usize = 32;

/// Bytes of a secret by which its keys are found. Secrets are as good as random: two that share so many do not
/// occur.
const NAME: usize = 16;

/// What a secret expands to.
struct Keys {
    name: [u8; NAME],
    key: [u8; KEY_MAX],
    iv: [u8; IV],
}

// An allocator's class.
const _: () = assert!(size_of::<Keys>() <= 64);

impl Keys {
    /// For a secret; in the place where they stay.
    fn named(name: [u8; NAME]) -> Box<Self> {
        Box::new(Self {
            name,
            key: [0; KEY_MAX],
            iv: [0; IV],
        })
    }

    /// RFC 8446 section 7.3.
    fn expand(&mut self, suite: Suite, secret: &[u8]) -> Result<(), Error> {
        let prk = suite.prk(secret);
        expand_label(&prk, b"key", &mut self.key[..suite.key_len()])?;
        expand_label(&prk, b"iv", &mut self.iv)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.name.zeroize();
        self.key.zeroize();
        self.iv.zeroize();
    }
}

/// The first bytes of a secret, which has twice as many at least.
fn name(secret: &[u8]) -> [u8; NAME] {
    let mut name = [0; NAME];
    name.copy_from_slice(&secret[..NAME]);
    name
}

/// A secret's bytes are spread as well as any hash.
fn hash(name: &[u8; NAME]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *name;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// See the module.
#[derive(Default)]
struct Memory {
    newer: HashTable<Box<Keys>>,
    older: HashTable<Box<Keys>>,
    /// When the newer one becomes the older.
    due_ns: u64,
}

impl Memory {
    fn count(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    /// Does something with the keys of a secret.
    fn with<T>(
        &mut self,
        suite: Suite,
        secret: &[u8],
        work: impl FnOnce(&Keys) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let name = name(secret);
        let (newer, older) = (&self.newer, &mut self.older);
        if let Some(keys) = newer.find(hash(&name), |keys| keys.name == name) {
            return work(keys);
        }
        let keys = match older.find_entry(hash(&name), |keys| keys.name == name) {
            Ok(entry) => entry.remove().0,
            Err(_) => {
                let mut keys = Keys::named(name);
                keys.expand(suite, secret)?;
                keys
            }
        };
        let result = work(&keys);
        self.keep(keys);
        result
    }

    fn keep(&mut self, keys: Box<Keys>) {
        if self.newer.len() >= GENERATION {
            self.age();
        }
        self.newer
            .insert_unique(hash(&keys.name), keys, |keys| hash(&keys.name));
    }

    fn age(&mut self) {
        self.older = std::mem::take(&mut self.newer);
    }

    fn forget(&mut self, secret: &[u8]) {
        let name = name(secret);
        for generation in [&mut self.newer, &mut self.older] {
            if let Ok(entry) = generation.find_entry(hash(&name), |keys| keys.name == name) {
                drop(entry.remove());
            }
        }
    }
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// The key of a secret, ready for records.
pub(super) fn aead(suite: Suite, secret: &[u8]) -> Result<AeadKey, Error> {
    MEMORY.with_borrow_mut(|memory| {
        memory.with(suite, secret, |keys| {
            AeadKey::new(suite, &keys.key[..suite.key_len()], &keys.iv)
        })
    })
}

/// Keeps what is known already: the key and iv that come of a secret.
pub(super) fn know(secret: &[u8], key: &[u8], iv: &[u8]) -> Result<(), Error> {
    let wrong = Error::Internal("a key of the wrong length");
    let mut keys = Keys::named(name(secret));
    match (keys.key.get_mut(..key.len()), iv.len()) {
        (Some(room), IV) => room.copy_from_slice(key),
        _ => return Err(wrong),
    }
    keys.iv.copy_from_slice(iv);
    MEMORY.with_borrow_mut(|memory| {
        memory.forget(secret);
        memory.keep(keys);
    });
    Ok(())
}

/// Wipes the keys of a secret.
pub(super) fn forget(secret: &[u8]) {
    // At a thread's end the memory may have gone before.
    let _ = MEMORY.try_with(|memory| memory.borrow_mut().forget(secret));
}

/// Wipes the keys that this thread has not used for a second (two at most), where it is time. When that is
/// next, in nanoseconds of the same clock; `None` where there are no keys.
pub fn forget_unused_keys(now_ns: u64) -> Option<u64> {
    MEMORY.with_borrow_mut(|memory| {
        if memory.due_ns <= now_ns {
            memory.age();
            memory.due_ns = now_ns.saturating_add(GENERATION_NS);
        }
        (memory.count() > 0).then_some(memory.due_ns)
    })
}

/// Whether the keys that are kept for a secret are those that it expands to.
#[cfg(test)]
pub(super) fn is_known_right(suite: Suite, secret: &[u8]) -> bool {
    let name = name(secret);
    let mut anew = Keys::named(name);
    anew.expand(suite, secret).unwrap();
    MEMORY.with_borrow(|memory| {
        let kept = memory.newer.find(hash(&name), |keys| keys.name == name);
        kept.is_some_and(|kept| (kept.key, kept.iv) == (anew.key, anew.iv))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count() -> usize {
        MEMORY.with_borrow(Memory::count)
    }

    fn secret(number: u64) -> [u8; 32] {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        secret
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let suite = Suite::Aes128GcmSha256;
        for number in 0..3 {
            aead(suite, &secret(number)).unwrap();
        }
        assert_eq!(count(), 3);
        let first = forget_unused_keys(1).unwrap();
        assert_eq!(first, 1 + GENERATION_NS);
        assert_eq!(forget_unused_keys(first - 1), Some(first), "not yet");
        aead(suite, &secret(1)).unwrap();
        let second = forget_unused_keys(first).unwrap();
        assert_eq!(count(), 1, "the one that was used");
        assert_eq!(forget_unused_keys(second), None);
        assert_eq!(count(), 0);
    }

    #[test]
    fn two_generations_are_all() {
        for number in 0..3 * GENERATION as u64 {
            know(&secret(number), &[1; 16], &[2; IV]).unwrap();
        }
        assert_eq!(count(), 2 * GENERATION);
    }

    #[test]
    fn what_is_known_is_what_would_be_expanded() {
        for suite in Suite::ALL {
            let secret = vec![7; suite.secret_len()];
            let expanded = |memory: &mut Memory| {
                let copy = |keys: &Keys| Ok((keys.key, keys.iv));
                memory.with(suite, &secret, copy).unwrap()
            };
            let (key, iv) = MEMORY.with_borrow_mut(expanded);
            assert!(know(&secret, &key[..suite.key_len()], &iv[..11]).is_err());
            know(&secret, &key[..suite.key_len()], &iv).unwrap();
            assert_eq!(count(), 1);
            assert_eq!(MEMORY.with_borrow_mut(expanded), (key, iv));
            forget(&secret);
        }
    }
}
