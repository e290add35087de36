//! The highest rate that a server keeps up with: doubled while it does (or halved until it does), then closed
//! in on between the last that it kept up with and the first that it did not.

use anyhow::Result;

/// Beyond it the load generator, which shares the cores, is what does not keep up.
const RATE_MAX: u32 = 128_000;
/// Below it there is nothing worth a search.
const RATE_MIN: u32 = 100;

/// A rate that was tried.
pub(super) trait Tried {
    /// Whether the server kept up with it.
    fn keeps_up(&self) -> bool;
}

/// Tries rates from `first` on; all that were tried, in that order.
pub(super) fn climb<T: Tried>(
    first: u32,
    halvings: u32,
    mut attempt: impl FnMut(u32) -> Result<T>,
) -> Result<Vec<T>> {
    let mut tried = Vec::new();
    let (mut good, mut bad) = (0, first);
    let mut go = |rate| -> Result<bool> {
        let one = attempt(rate)?;
        let keeps_up = one.keeps_up();
        tried.push(one);
        Ok(keeps_up)
    };
    while bad <= RATE_MAX && go(bad)? {
        (good, bad) = (bad, bad * 2);
    }
    while good == 0 && bad / 2 >= RATE_MIN {
        match go(bad / 2)? {
            true => good = bad / 2,
            false => bad /= 2,
        }
    }
    for _ in 0..halvings {
        let middle = good.midpoint(bad);
        if good == 0 || bad > RATE_MAX {
            break;
        }
        match go(middle)? {
            true => good = middle,
            false => bad = middle,
        }
    }
    Ok(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rate(u32, bool);

    impl Tried for Rate {
        fn keeps_up(&self) -> bool {
            self.1
        }
    }

    fn tried(limit: u32, halvings: u32) -> Vec<u32> {
        let rates = climb(1_000, halvings, |rate| Ok(Rate(rate, rate <= limit))).unwrap();
        rates.iter().map(|rate| rate.0).collect()
    }

    #[test]
    fn rates_close_in_on_the_limit() {
        assert_eq!(tried(5_500, 2), [1_000, 2_000, 4_000, 8_000, 6_000, 5_000]);
        assert_eq!(tried(5_500, 0), [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(tried(300, 2), [1_000, 500, 250, 375, 312]);
        assert_eq!(tried(0, 2), [1_000, 500, 250, 125], "not even the least");
        assert_eq!(tried(u32::MAX, 2).last(), Some(&128_000));
    }
}
