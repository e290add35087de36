//! The one source of chance of a simulation: xoshiro256++ seeded by splitmix64.
//!
//! Our own thirty lines rather than a crate, because a seed in a bug report must mean the same run
//! after any dependency update.

/// How often a fault strikes, in 65,536ths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate(pub u32);

impl Rate {
    /// It never strikes.
    pub(super) const NEVER: Rate = Rate(0);

    /// Once in `n`.
    pub(super) const fn one_in(n: u32) -> Rate {
        Rate(65_536 / n)
    }
}

/// A stream of numbers that its seed determines.
#[derive(Clone, Debug)]
pub(super) struct Rng([u64; 4]);

impl Rng {
    /// The stream of a seed.
    pub(super) fn new(seed: u64) -> Rng {
        let mut state = seed;
        Rng(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        }))
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// A number below `n`, which is not 0. (The bias of the multiplication is of no matter here.)
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index into something of that length, which is not 0.
    pub(super) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Whether something of that rate strikes now.
    pub(super) fn strikes(&mut self, rate: Rate) -> bool {
        rate.0 > 0 && self.below(65_536) < u64::from(rate.0)
    }

    /// True once in `n`.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Any order of the items.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.index(end + 1));
        }
    }
}

/// Splitmix64's finaliser: every bit of the result depends on every bit of `x`.
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's first outputs for the state 1, 2, 3, 4
    /// (<https://prng.di.unimi.it/xoshiro256plusplus.c>).
    #[test]
    fn it_is_xoshiro() {
        let mut rng = Rng([1, 2, 3, 4]);
        let outputs = [(); 4].map(|()| rng.next());
        assert_eq!(
            outputs,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn rates_are_kept() {
        let mut rng = Rng::new(1);
        let struck = (0..100_000)
            .filter(|_| rng.strikes(Rate::one_in(10)))
            .count();
        assert!(
            (9_500..10_500).contains(&struck),
            "{struck} of 100,000 for one in ten"
        );
        assert!((0..1_000).all(|_| !rng.strikes(Rate::NEVER)));
    }
}
