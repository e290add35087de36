//! The name of a connection.

/// A connection of one shard: the generation of its slot in the high half, the slot's index in the
/// shard's table (ring * slots_per_ring + slot) in the low half. Never used twice in a shard's life
/// (a generation wraps after 2^28 uses of one slot). Plain data: it may travel as a `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

/// Generations have 28 bits: the kind of an operation stands above them in its tag.
pub(crate) const GENERATION_MASK: u32 = (1 << 28) - 1;

impl ConnId {
    pub(crate) fn new(generation: u32, index: u32) -> Self {
        ConnId(u64::from(generation & GENERATION_MASK) << 32 | u64::from(index))
    }

    /// The plain number.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`ConnId::as_u64`]. Any number is allowed; one that names no live connection is
    /// answered like a connection that is gone.
    pub fn from_u64(value: u64) -> Self {
        ConnId(value)
    }

    /// The number of its slot, which other connections have before and after it.
    pub fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
