//! What the tests share: where the services are, names of their own, a clock, a runtime.

pub(crate) mod gate;
pub(crate) mod redis_server;
pub(crate) mod sends;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rookery_router::Clock;
use rookery_router::redis::Instance;
use tokio::runtime::{Builder, Runtime};

/// What a hang meets, and a machine that has other work does not.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// The variable's value.
pub(crate) fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: needs services: cargo xtask test --only cluster")
    })
}

/// A name that no other test has.
pub(crate) fn own_name() -> String {
    let random = Instance::random()
        .expect("the kernel's randomness")
        .to_string();
    format!("t{}", &random[..12])
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Waits for something that comes about by itself.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < end, "{HANG:?} passed, and not yet: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct SetClock(Arc<AtomicU64>);

impl SetClock {
    /// In 2027.
    pub(crate) fn new() -> SetClock {
        SetClock(Arc::new(AtomicU64::new(1_800_000_000_000)))
    }

    pub(crate) fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn steady_ms(&self) -> u64 {
        0
    }
}
