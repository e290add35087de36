//! The only reader of clocks in the router. Everything else takes the time as an argument.

/// Wall-clock time. A test gives its own.
pub trait Clock: Send + Sync + 'static {
    /// Unix time in ms. May jump either way; what is derived from it must not.
    fn now_ms(&self) -> u64;
    /// Time since some moment of the past, in ms, by a clock that nobody sets.
    fn steady_ms(&self) -> u64;
}

/// The host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs on while the host sleeps, as the wall clock does.
    fn steady_ms(&self) -> u64 {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let s = u64::try_from(since.tv_sec).unwrap_or(0);
        s * 1_000 + u64::try_from(since.tv_nsec).unwrap_or(0) / 1_000_000
    }
}
