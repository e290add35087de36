//! The drain of the host: serving, not ready, draining, empty. It tells the shards what to do, and anybody
//! how far it has come. Asked by a signal it ends in the stop, asked otherwise it may be called off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rookery_shard::{Fabric, Postboxes};
use serde::{Deserialize, Serialize};

use super::keeper::tell;
use crate::admission::Gate;
use crate::config;
use crate::session::{Mail, Order, Parcel, Telemetry, Times};
use crate::unix_time::unix_ms;

/// After the last moment of a drain: for the last closes.
const SLACK: Duration = Duration::from_secs(3);

/// How far the host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainState {
    /// As always.
    #[default]
    Serving,
    /// As always, but it says that it is not ready.
    Unready,
    /// Nobody is let in; clients are told to reconnect.
    Draining,
    /// Nobody is let in, and nobody is here.
    Empty,
}

/// What was asked for cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// There is one.
    #[error("a drain is under way already: stop it first, or look at its status")]
    UnderWay,
    /// There is none.
    #[error("no drain is under way")]
    NotUnderWay,
    /// The drain is that of SIGTERM.
    #[error("the server stops, which cannot be called off")]
    Stopping,
}

/// How far a drain has come, as of one moment. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// How far the host is.
    pub state: DrainState,
    /// Whether it ends in the stop.
    pub stops: bool,
    /// Connections when it began.
    pub connections_total_at_start: u64,
    /// Clients that were sent a Reconnect since.
    pub told: u64,
    /// Clients that were closed since, because they had not gone (1001).
    pub closed: u64,
    /// Connections that were cut off since, before they had logged in.
    pub cut_off: u64,
    /// Connections that are here.
    pub remaining: u64,
    /// When it was asked for; none while serving.
    pub began: Option<u64>,
    /// When the last client is closed that has not gone by itself, or has gone; none while serving.
    pub ends: Option<u64>,
}

/// What all shards have counted of drains and the stop.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// Clients that were sent a Reconnect.
    pub(super) reconnect: u64,
    /// Clients that were closed with 1001.
    pub(super) closed: u64,
    /// Connections that ended without a word.
    pub(super) cut_off: u64,
}

/// The drain under way.
struct Run {
    state: DrainState,
    stops: bool,
    total: u64,
    before: Told,
    began_unix_ms: u64,
    window: Duration,
    /// The end of being not ready, then of draining.
    next: Instant,
    ends: Instant,
    /// When nobody was here any more.
    emptied_unix_ms: Option<u64>,
}

/// What a drain has to do with the shards.
pub(super) struct Shards {
    /// Gives an order to all of them, or calls off the last one.
    pub(super) tell: Box<dyn Fn(Option<Arc<Order>>) + Send + Sync>,
    /// Connections of all of them.
    pub(super) live: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Shards {
    /// The real ones.
    pub(super) fn of(postboxes: Postboxes<Mail>, fabric: Arc<Fabric<Parcel>>) -> Self {
        Self {
            tell: Box::new(move |order| tell(&postboxes, || Mail::Drain(order.clone()))),
            live: Box::new(move || fabric.counters().iter().map(|shard| shard.live).sum()),
        }
    }
}

/// See the module. One for the host, for any thread.
pub struct Drain {
    options: config::Drain,
    gate: Arc<Gate>,
    telemetry: Arc<[Arc<Telemetry>]>,
    shards: Shards,
    run: Mutex<Option<Run>>,
}

impl Drain {
    /// Of a host that serves.
    pub(super) fn new(
        options: config::Drain,
        gate: Arc<Gate>,
        telemetry: Arc<[Arc<Telemetry>]>,
        shards: Shards,
    ) -> Self {
        Self {
            options,
            gate,
            telemetry,
            shards,
            run: Mutex::new(None),
        }
    }

    /// Begins a drain, within a window of its own or the configured one. The server is there afterwards, and
    /// empty.
    ///
    /// # Errors
    /// One is under way.
    pub fn start(&self, window: Option<Duration>) -> Result<(), DrainError> {
        let mut run = self.run();
        if run.is_some() {
            return Err(DrainError::UnderWay);
        }
        self.begin(&mut run, window, false);
        Ok(())
    }

    /// Calls a drain off: the server lets clients in again, and those who are here stay, told or not.
    ///
    /// # Errors
    /// None is under way, or it is that of SIGTERM.
    pub fn stop(&self) -> Result<(), DrainError> {
        let mut run = self.run();
        match &*run {
            None => return Err(DrainError::NotUnderWay),
            Some(run) if run.stops => return Err(DrainError::Stopping),
            Some(_) => *run = None,
        }
        self.gate.set_closed(false);
        (self.shards.tell)(None);
        tracing::info!(live = self.live(), "the drain was called off");
        Ok(())
    }

    /// How far it is.
    pub fn status(&self) -> DrainStatus {
        let mut run = self.run();
        self.go_on(&mut run);
        let remaining = self.live();
        let Some(run) = &*run else {
            return DrainStatus {
                remaining,
                ..DrainStatus::default()
            };
        };
        let left = run.ends.saturating_duration_since(Instant::now());
        let told = self.told();
        DrainStatus {
            state: run.state,
            stops: run.stops,
            connections_total_at_start: run.total,
            told: told.reconnect - run.before.reconnect,
            closed: told.closed - run.before.closed,
            cut_off: told.cut_off - run.before.cut_off,
            remaining,
            began: Some(run.began_unix_ms),
            ends: run
                .emptied_unix_ms
                .or_else(|| Some(unix_ms(SystemTime::now()) + left.as_millis() as u64)),
        }
    }

    /// Whether new clients are welcome: no drain is under way.
    pub fn is_ready(&self) -> bool {
        self.run().is_none()
    }

    /// SIGTERM: a drain with the configured window, or the one that is under way in what is left of it, at
    /// most that window. It cannot be called off.
    pub(super) fn leave(&self) {
        let mut run = self.run();
        let window = Duration::from_millis(self.options.window_ms.into());
        match &mut *run {
            None => self.begin(&mut run, None, true),
            Some(run) => {
                run.stops = true;
                run.window = run.window.min(window);
                let is_long = run.ends > Instant::now() + window;
                if run.state == DrainState::Draining && is_long {
                    self.order(run);
                }
            }
        }
    }

    /// Whether the server leaves already.
    pub(super) fn leaves(&self) -> bool {
        self.run().as_ref().is_some_and(|run| run.stops)
    }

    /// Whether a drain of [`Self::leave`] has come to its end.
    pub(super) fn is_over(&self) -> bool {
        let mut run = self.run();
        self.go_on(&mut run);
        run.as_ref().is_some_and(|run| {
            let late = Instant::now() >= run.ends + SLACK;
            run.stops && (self.live() == 0 || run.window.is_zero() || late)
        })
    }

    /// Looks after it; called a few times a second.
    pub(super) fn look(&self) {
        self.go_on(&mut self.run());
    }

    fn run(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted since the start.
    pub(super) fn told(&self) -> Told {
        let mut told = Told::default();
        for telemetry in &*self.telemetry {
            told.reconnect += telemetry.counters.told_to_reconnect.value();
            told.closed += telemetry.counters.dismissed.value();
            told.cut_off += telemetry.counters.cut_off.value();
        }
        told
    }

    fn live(&self) -> u64 {
        (self.shards.live)()
    }

    fn begin(&self, run: &mut Option<Run>, window: Option<Duration>, stops: bool) {
        let configured = Duration::from_millis(self.options.window_ms.into());
        let unready = Duration::from_millis(self.options.unready_ms.into());
        let (now, live) = (Instant::now(), self.live());
        let mut begun = Run {
            state: DrainState::Unready,
            stops,
            total: live,
            before: self.told(),
            began_unix_ms: unix_ms(SystemTime::now()),
            window: window.unwrap_or(configured),
            next: now + unready,
            ends: now + unready,
            emptied_unix_ms: None,
        };
        begun.ends += Duration::from_millis(self.times(&begun, live).all_ms());
        tracing::info!(
            live,
            window_ms = begun.window.as_millis() as u64,
            unready_ms = unready.as_millis() as u64,
            "not ready any more: clients are to be told to reconnect"
        );
        *run = Some(begun);
        self.go_on(run);
    }

    fn times(&self, run: &Run, live: u64) -> Times {
        let window_ms = run.window.as_millis() as u64;
        Times::of(window_ms, live, self.options.clients_per_second_max)
    }

    /// What time has brought.
    fn go_on(&self, run: &mut Option<Run>) {
        let Some(run) = run else { return };
        if run.state == DrainState::Unready && run.next <= Instant::now() {
            run.state = DrainState::Draining;
            // A stop at once tells by itself.
            if !(run.stops && run.window.is_zero()) {
                self.gate.set_closed(true);
                self.order(run);
            }
        }
        if run.state == DrainState::Draining && !run.stops && self.live() == 0 {
            run.state = DrainState::Empty;
            run.emptied_unix_ms = Some(unix_ms(SystemTime::now()));
            tracing::info!("drained: nobody is here any more");
        }
    }

    /// Tells the shards.
    fn order(&self, run: &mut Run) {
        let live = self.live();
        let times = self.times(run, live);
        run.ends = Instant::now() + Duration::from_millis(times.all_ms());
        let order = Order {
            times,
            alternatives: self.options.alternatives.clone(),
            reason: match run.stops {
                true => "the server stops",
                false => "the server is drained",
            },
        };
        (self.shards.tell)(Some(Arc::new(order)));
        tracing::info!(
            live,
            tell_ms = times.tell_ms,
            leave_ms = times.leave_ms,
            stay_ms = times.stay_ms,
            "draining: nobody is let in, and clients are told to reconnect"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::admission::Limits;

    const WINDOW: Duration = Duration::from_secs(30);

    /// A host with its shards: what they are told, and how many are there.
    struct Host {
        drain: Drain,
        orders: Receiver<Option<Arc<Order>>>,
        live: Arc<AtomicU64>,
    }

    impl Host {
        fn with(live: u64, change: impl FnOnce(&mut config::Drain)) -> Self {
            let mut options = config::Drain::default();
            change(&mut options);
            let gate = Gate::new(Limits {
                connections_max: 10,
                memory_max_bytes: u64::MAX,
                connections_per_address_max: 0,
                handshakes_per_address_per_second_max: 0,
                exempt_networks: Vec::new(),
            });
            let (give, orders) = channel();
            let live = Arc::new(AtomicU64::new(live));
            let now = Arc::clone(&live);
            let shards = Shards {
                tell: Box::new(move |order| give.send(order).unwrap()),
                live: Box::new(move || now.load(Relaxed)),
            };
            let (gate, telemetry) = (Arc::new(gate), Telemetry::of_shards(1));
            Self {
                drain: Drain::new(options, gate, telemetry, shards),
                orders,
                live,
            }
        }

        /// How long each order lasts that came since the last time, ms; none: it was called off.
        fn orders(&self) -> Vec<Option<u64>> {
            let all_ms = |order: Option<Arc<Order>>| order.map(|it| it.times.all_ms());
            self.orders.try_iter().map(all_ms).collect()
        }

        fn enters(&self) -> bool {
            let gate = &self.drain.gate;
            let seat = gate.enter(std::net::Ipv4Addr::LOCALHOST.into());
            seat.is_ok_and(|seat| {
                gate.leave(seat);
                true
            })
        }
    }

    #[test]
    fn asked_for_twice_and_called_off() {
        let host = Host::with(7, |_| ());
        let drain = &host.drain;
        assert_eq!(drain.stop(), Err(DrainError::NotUnderWay));
        assert!(drain.is_ready() && host.enters());
        assert_eq!(drain.start(Some(2 * WINDOW)), Ok(()));
        assert_eq!(drain.start(None), Err(DrainError::UnderWay));
        assert_eq!(host.orders(), [Some(60_000)], "once");
        assert!(!drain.is_ready() && !host.enters());
        let status = drain.status();
        let counts = (status.connections_total_at_start, status.remaining);
        assert_eq!((status.state, counts), (DrainState::Draining, (7, 7)));
        host.live.store(0, Relaxed);
        assert_eq!(drain.status().state, DrainState::Empty);
        assert!(!drain.is_over(), "it does not stop the server");
        assert_eq!(drain.stop(), Ok(()));
        assert_eq!(host.orders(), [None]);
        assert!(drain.is_ready() && host.enters());
        assert_eq!(drain.status(), DrainStatus::default());
    }

    #[test]
    fn first_it_is_only_not_ready() {
        let host = Host::with(7, |options| options.unready_ms = 3_600_000);
        assert_eq!(host.drain.start(None), Ok(()));
        let status = host.drain.status();
        assert_eq!(status.state, DrainState::Unready);
        assert!(status.ends > status.began.map(|began| began + 3_600_000));
        assert!(!host.drain.is_ready() && host.enters());
        assert_eq!(host.orders(), []);
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.contains(r#""state":"unready""#), "{text}");
    }

    #[test]
    fn what_a_signal_began_ends_in_the_stop() {
        let host = Host::with(7, |_| ());
        host.drain.leave();
        assert_eq!(host.orders(), [Some(30_000)]);
        assert_eq!(host.drain.stop(), Err(DrainError::Stopping));
        assert_eq!(host.drain.start(None), Err(DrainError::UnderWay));
        assert!(!host.drain.is_over());
        host.live.store(0, Relaxed);
        assert!(host.drain.is_over());
    }

    #[test]
    fn a_signal_shortens_the_drain_under_way_and_lengthens_none() {
        let host = Host::with(7, |_| ());
        assert_eq!(host.drain.start(Some(10 * WINDOW)), Ok(()));
        host.drain.leave();
        assert_eq!(host.orders(), [Some(300_000), Some(30_000)]);
        let host = Host::with(7, |_| ());
        assert_eq!(host.drain.start(Some(WINDOW / 2)), Ok(()));
        host.drain.leave();
        assert_eq!(host.orders(), [Some(15_000)]);
        assert_eq!(host.drain.stop(), Err(DrainError::Stopping));
    }

    #[test]
    fn without_a_window_it_stops_at_once_and_the_stop_tells() {
        let host = Host::with(7, |options| options.window_ms = 0);
        host.drain.leave();
        assert!(host.drain.is_over());
        assert_eq!(host.orders(), []);
    }

    #[test]
    fn the_rate_of_the_others_is_kept_to() {
        let host = Host::with(100_000, |options| options.clients_per_second_max = 1_000);
        assert_eq!(host.drain.start(None), Ok(()));
        assert_eq!(host.orders(), [Some(110_000)]);
    }
}
