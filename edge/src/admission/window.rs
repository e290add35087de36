//! How many connections a shard takes in before others are through.
//!
//! A client that is slow (or shares the machine with the storm that it is part of) answers late, and to
//! take in more meanwhile makes all of them later. So an accept takes a place in the window, a login or
//! an end gives it back, and who finds none waits in the backlog, where no time limit of ours runs.
//! Places also come back with time: clients that say nothing cannot keep everybody else out.

/// Places. At three round trips of 100 ms and this many, a shard does 3,400 logins a second.
const PLACES: u64 = 1_024;

/// A place that nobody gave back is there again after this time, nanoseconds.
const LOST_AFTER_NS: u64 = 4_000_000_000;

/// One place comes back with time.
const EACH_NS: u64 = LOST_AFTER_NS / PLACES;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    free: u64,
    /// Up to when time has given places back.
    since_ns: u64,
}

impl Window {
    /// All places are free.
    pub fn new() -> Self {
        Self {
            free: PLACES,
            since_ns: 0,
        }
    }

    /// Places that are free now.
    pub fn free(&mut self, now_ns: u64) -> u32 {
        let back = now_ns.saturating_sub(self.since_ns) / EACH_NS;
        self.since_ns += back * EACH_NS;
        self.free = self.free.saturating_add(back).min(PLACES);
        self.free as u32
    }

    /// A connection was taken in.
    pub fn take(&mut self) {
        self.free = self.free.saturating_sub(1);
    }

    /// One is through, or gone.
    pub fn give_back(&mut self) {
        self.free = (self.free + 1).min(PLACES);
    }

    /// When there is a free place at the latest, where there is none now.
    pub fn next_ns(&self) -> Option<u64> {
        (self.free == 0).then_some(self.since_ns + EACH_NS)
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_through_makes_room_and_so_does_time() {
        let mut window = Window::new();
        assert_eq!(window.free(1_000 * LOST_AFTER_NS), PLACES as u32);
        let now_ns = 1_000 * LOST_AFTER_NS;
        (0..PLACES + 50).for_each(|_| window.take());
        assert_eq!(window.free(now_ns), 0);
        let next_ns = window.next_ns().expect("time gives one back");
        assert!(next_ns > now_ns && next_ns <= now_ns + EACH_NS);
        (0..10).for_each(|_| window.give_back());
        assert_eq!((window.free(now_ns), window.next_ns()), (10, None));
        assert_eq!(
            window.free(now_ns + LOST_AFTER_NS / 4),
            10 + PLACES as u32 / 4
        );
        assert_eq!(window.free(now_ns + 2 * LOST_AFTER_NS), PLACES as u32);
        window.give_back();
        assert_eq!(
            window.free(now_ns + 2 * LOST_AFTER_NS),
            PLACES as u32,
            "never more"
        );
    }
}
