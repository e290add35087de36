//! The timer wheel of a shard: one deadline per slot, no allocation, no kernel timer.
//!
//! One level of 4,096 buckets of 16.8 ms each, as doubly linked lists whose links stand in the slots
//! themselves. A deadline further away than one revolution (69 s) stays in its bucket and is passed
//! over once per revolution. A deadline never fires early, and less than two ticks
//! late: one by rounding up, one where its bucket is being looked at.

use crate::limits::TICK_SHIFT;

const BUCKETS: u32 = 4_096;
const NONE: u32 = u32::MAX;
/// A `prev` with this bit names a bucket, not a slot. Slot indices stay below it.
const HEAD: u32 = 1 << 31;

/// A slot's part of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    prev: u32,
    next: u32,
    due_tick: u32,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            prev: NONE,
            next: NONE,
            due_tick: 0,
        }
    }
}

impl Link {
    /// Whether a deadline is set.
    pub fn is_set(&self) -> bool {
        self.prev != NONE
    }
}

/// Where the links are.
pub trait Links {
    /// The link of a slot that has been set, or is about to be.
    fn link(&mut self, index: u32) -> &mut Link;
}

/// The wheel. Ticks count from an arbitrary start and wrap after 2.3 years.
#[derive(Debug)]
pub struct Wheel {
    heads: Box<[u32]>,
    /// One bit per bucket that is not empty.
    filled: [u64; (BUCKETS / 64) as usize],
    /// The next tick to be looked at.
    cursor: u32,
    /// Within the cursor's bucket: the next slot to be looked at, or `NONE` for its head.
    within: u32,
    /// The cursor's bucket is being looked at: what is set now goes behind it.
    started: bool,
}

fn tick_of(mono_ns: u64) -> u32 {
    (mono_ns >> TICK_SHIFT) as u32
}

fn bucket_of(tick: u32) -> u32 {
    tick % BUCKETS
}

/// Ticks wrap: `a` is before or at `b` if the way from a to b is the shorter one.
fn at_or_before(a: u32, b: u32) -> bool {
    b.wrapping_sub(a) < 1 << 31
}

impl Wheel {
    /// An empty wheel.
    pub fn new(now_ns: u64) -> Self {
        Wheel {
            heads: vec![NONE; BUCKETS as usize].into_boxed_slice(),
            filled: [0; (BUCKETS / 64) as usize],
            cursor: tick_of(now_ns),
            within: NONE,
            started: false,
        }
    }

    /// Sets (or moves) the slot's deadline.
    pub fn set(&mut self, links: &mut impl Links, index: u32, at_ns: u64) {
        self.clear(links, index);
        // Rounded up, so that it does not fire early; not behind the cursor, so that it does fire.
        let mut tick = tick_of(at_ns).wrapping_add(1);
        let first = self.cursor.wrapping_add(u32::from(self.started));
        if !at_or_before(first, tick) {
            tick = first;
        }
        let bucket = bucket_of(tick);
        let head = self.heads[bucket as usize];
        *links.link(index) = Link {
            prev: HEAD | bucket,
            next: head,
            due_tick: tick,
        };
        if head != NONE {
            links.link(head).prev = index;
        }
        self.heads[bucket as usize] = index;
        self.filled[(bucket / 64) as usize] |= 1 << (bucket % 64);
    }

    /// Removes the slot's deadline, if it has one.
    pub fn clear(&mut self, links: &mut impl Links, index: u32) {
        let link = *links.link(index);
        if !link.is_set() {
            return;
        }
        if self.within == index {
            self.within = link.next;
        }
        if link.prev & HEAD != 0 {
            let bucket = link.prev & !HEAD;
            self.heads[bucket as usize] = link.next;
            if link.next == NONE {
                self.filled[(bucket / 64) as usize] &= !(1 << (bucket % 64));
            }
        } else {
            links.link(link.prev).next = link.next;
        }
        if link.next != NONE {
            links.link(link.next).prev = link.prev;
        }
        *links.link(index) = Link::default();
    }

    /// The next slot whose deadline has passed; its deadline is removed. Call it until `None`.
    pub fn poll_expired(&mut self, links: &mut impl Links, now_ns: u64) -> Option<u32> {
        let now = tick_of(now_ns);
        while at_or_before(self.cursor, now) {
            if !self.started {
                self.within = self.heads[bucket_of(self.cursor) as usize];
                self.started = true;
            }
            while self.within != NONE {
                let index = self.within;
                let link = *links.link(index);
                self.within = link.next;
                if at_or_before(link.due_tick, now) {
                    self.clear(links, index);
                    return Some(index);
                }
            }
            self.advance(now);
        }
        None
    }

    /// To the next tick; over empty buckets in one step, but not past `now`.
    fn advance(&mut self, now: u32) {
        self.started = false;
        self.cursor = self.cursor.wrapping_add(1);
        let left = now.wrapping_sub(self.cursor);
        if left < 1 << 31 && left > 0 {
            let skip = self.empty_ahead().min(left);
            self.cursor = self.cursor.wrapping_add(skip);
        }
    }

    /// Nanoseconds until a bucket that is not empty comes up; `None` where all are empty. Something
    /// may be due then, nothing is due before.
    pub fn sleep_ns(&self, now_ns: u64) -> Option<u64> {
        let empty = self.empty_ahead();
        if empty == BUCKETS {
            return None;
        }
        let tick = self.cursor.wrapping_add(empty);
        let now = tick_of(now_ns);
        if at_or_before(tick, now) {
            return Some(0);
        }
        let start_of_tick = (now_ns >> TICK_SHIFT) << TICK_SHIFT;
        let ahead = u64::from(tick.wrapping_sub(now)) << TICK_SHIFT;
        Some(start_of_tick + ahead - now_ns)
    }

    /// Empty buckets from the cursor's on; `BUCKETS` if all are.
    fn empty_ahead(&self) -> u32 {
        let start = bucket_of(self.cursor);
        let mut seen = 0;
        while seen < BUCKETS {
            let bucket = bucket_of(start + seen);
            let rest = self.filled[(bucket / 64) as usize] >> (bucket % 64);
            if rest != 0 {
                return (seen + rest.trailing_zeros()).min(BUCKETS);
            }
            seen += 64 - bucket % 64;
        }
        BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Table(Vec<Link>);

    impl Links for Table {
        fn link(&mut self, index: u32) -> &mut Link {
            &mut self.0[index as usize]
        }
    }

    /// xorshift: the test is its seed.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
    }

    const TICK: u64 = 1 << TICK_SHIFT;

    /// Random sets, clears and steps of the clock against a plain map of deadlines.
    fn agrees_with_the_model(seed: u64) -> usize {
        let mut rng = Rng(seed);
        let mut now = rng.below(1 << 40);
        let mut wheel = Wheel::new(now);
        let mut links = Table(vec![Link::default(); 300]);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut fired_count = 0;
        for _ in 0..3_000 {
            match rng.below(10) {
                0..=4 => {
                    let index = rng.below(300) as u32;
                    let spans = [0, 10, 3 * TICK, 100 * TICK, 4_096 * TICK, 20_000 * TICK];
                    let span = spans[rng.below(6) as usize];
                    let at = now + rng.below(span + 1);
                    wheel.set(&mut links, index, at);
                    model.insert(index, at);
                }
                5 => {
                    let index = rng.below(300) as u32;
                    wheel.clear(&mut links, index);
                    model.remove(&index);
                }
                _ => {
                    let first = model.values().min().copied();
                    if let (Some(first), Some(sleep)) = (first, wheel.sleep_ns(now)) {
                        assert!(
                            sleep == 0 || now + sleep <= first + 2 * TICK,
                            "seed {seed}: would oversleep"
                        );
                    }
                    let spans = [TICK / 3, TICK, 7 * TICK, 5_000 * TICK];
                    let span = spans[rng.below(4) as usize];
                    now += rng.below(span);
                    // Bounded polls, with changes in between, as the loop does it.
                    for _ in 0..rng.below(400) {
                        let Some(index) = wheel.poll_expired(&mut links, now) else {
                            for (index, at) in &model {
                                assert!(at + 2 * TICK > now, "seed {seed}: {index} is late");
                            }
                            break;
                        };
                        let at = model.remove(&index);
                        assert!(at.is_some_and(|at| at <= now), "seed {seed}: {index} early");
                        fired_count += 1;
                        if rng.below(4) == 0 {
                            let again = now + rng.below(2 * TICK);
                            wheel.set(&mut links, index, again);
                            model.insert(index, again);
                        }
                        if rng.below(4) == 0 {
                            let other = rng.below(300) as u32;
                            wheel.clear(&mut links, other);
                            model.remove(&other);
                        }
                    }
                }
            }
        }
        fired_count
    }

    #[test]
    fn agrees_with_a_map_of_deadlines() {
        let fired: usize = (1..=200).map(agrees_with_the_model).sum();
        println!("{fired} deadlines fired over seeds 1 to 200");
        assert!(fired > 50_000, "only {fired} fired: the test tests nothing");
    }

    #[test]
    fn an_empty_wheel_lets_the_shard_sleep() {
        assert_eq!(Wheel::new(77).sleep_ns(1 << 50), None);
    }
}
