//! The scheduler: who runs next, how time goes on, and when a simulation is over.
//!
//! A shard that would wait in the kernel is parked, with its bell armed as in the kernel, and runs again
//! when something completed, the bell was rung, or its time is up; never otherwise. So a wake that the
//! loop forgets is a simulation that does not settle, or a mail that is slept on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::account::Tally;
use super::checks::{Check, Count};
use super::driver::SimDriver;
use super::faults::Plan;
use super::kernel::{Event, Kernel};
use super::outside::Outside;
use super::peer::Peer;
use super::rng::{Rate, Rng};
use super::workload::{Echo, Mail};
use crate::driver::Driver;
use crate::mailbox::{self, Capacity, Waker};
use crate::{Config, Engine, Fabric, Progress};

/// From the calm on, a simulation settles within this time, beside what its own bounds allow.
const SETTLE_NS: u64 = 200_000_000_000;

/// A simulation that takes more steps than this runs in circles.
const STEPS_MAX: u64 = 400_000;

/// A driver that stands on a simulated one.
pub(super) trait Floor: Driver {
    /// The simulated one.
    fn sim(&self) -> &SimDriver;

    /// It has completions for the loop of which the simulated one knows nothing.
    fn has_more(&self) -> bool {
        false
    }
}

impl Floor for SimDriver {
    fn sim(&self) -> &SimDriver {
        self
    }
}

struct Station<D: Floor> {
    engine: Engine<D, Echo>,
    waker: Arc<Waker>,
    /// Waits in the kernel, until then at most.
    parked_until_ns: Option<u64>,
    /// Its thread does not run before.
    stalled_until_ns: u64,
}

/// One simulation.
pub(super) struct World<D: Floor> {
    pub(super) kernel: Rc<RefCell<Kernel>>,
    stations: Vec<Option<Station<D>>>,
    peers: Vec<Peer>,
    outside: Outside,
    fabric: Arc<Fabric<<Echo as crate::Handler>::Parcel>>,
    tally: Rc<RefCell<Tally>>,
    posted_at_stop: Vec<u64>,
    rng: Rng,
    calm_ns: u64,
    stop_ns: Option<u64>,
    bound_ns: u64,
    /// Steps taken.
    pub(super) steps: u64,
}

impl<D: Floor> World<D> {
    /// The world of a seed, each shard's driver wrapped by `wrap`.
    pub(super) fn new(
        seed: u64,
        verbose: bool,
        wrap: impl Fn(SimDriver) -> D,
    ) -> std::io::Result<World<D>> {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let config = config_of(&plan);
        let (postboxes, inboxes) = mailbox::channel(plan.shards, Capacity::messages(plan.mailbox))?;
        let fabric = Fabric::new(&config, &inboxes);
        let whole = config.linger_ms > 10_000;
        let mut peers: Vec<Peer> = (0..plan.peers)
            .map(|id| Peer::new(id, &mut rng, whole))
            .collect();
        let mut kernel = Kernel::new(Rng::new(rng.next()), plan.clone(), config.listeners.len());
        kernel.verbose = verbose;
        for peer in &mut peers {
            let delay = rng.between(0, plan.calm_ns / 4);
            kernel.schedule(delay, Event::Peer(peer.id()));
        }
        let start_ns = kernel.now().mono_ns;
        let kernel = Rc::new(RefCell::new(kernel));
        let tally = Rc::new(RefCell::new(Tally::new(plan.shards)));
        let station = |inbox: crate::Inbox<Mail>| {
            let shard = inbox.shard();
            let waker = Arc::clone(inbox.waker());
            let driver = wrap(SimDriver::new(shard, Rc::clone(&kernel)));
            let echo = Echo::new(shard, Rc::clone(&kernel), Rc::clone(&tally));
            let engine = Engine::new(driver, echo, &config, inbox, Arc::clone(&fabric));
            Some(Station {
                engine,
                waker,
                parked_until_ns: None,
                stalled_until_ns: 0,
            })
        };
        let settle_ms = config.linger_ms + config.stop_grace_ms + config.connect_timeout_ms;
        Ok(World {
            stations: inboxes.into_iter().map(station).collect(),
            outside: Outside::new(&peers, postboxes, rng.next()),
            peers,
            kernel,
            fabric,
            tally,
            posted_at_stop: Vec::new(),
            rng,
            calm_ns: start_ns + plan.calm_ns,
            stop_ns: plan.stop_ns.map(|stop| start_ns + stop),
            bound_ns: start_ns + plan.calm_ns + SETTLE_NS + settle_ms * 1_000_000,
            steps: 0,
        })
    }

    /// Runs until it is over or something is wrong.
    pub(super) fn run(&mut self) {
        while self.stations.iter().any(Option::is_some) {
            if self.kernel.borrow().checks.violation.is_some() {
                return;
            }
            self.steps += 1;
            self.step();
        }
        self.check_end();
    }

    fn now_ns(&self) -> u64 {
        self.kernel.borrow().now().mono_ns
    }

    fn step(&mut self) {
        let due = self.kernel.borrow_mut().run_due();
        for peer in due {
            if let Some(peer) = self.peers.get_mut(peer as usize) {
                peer.act(&mut self.kernel.borrow_mut());
            }
        }
        self.on_time();
        let calm = self.calm_ns == u64::MAX;
        self.outside.post(
            &mut self.kernel.borrow_mut(),
            &mut self.tally.borrow_mut(),
            calm,
        );
        let ready = self.ready();
        if ready.is_empty() {
            return self.pass_time();
        }
        let shard = ready[self.rng.index(ready.len())];
        if self.stalls(shard) {
            return;
        }
        let cost = self.rng.between(200, 20_000);
        let now_ns = self.now_ns();
        self.kernel.borrow_mut().advance_to(now_ns + cost);
        self.turn(shard);
    }

    /// The stop, the calm, the end of patience.
    fn on_time(&mut self) {
        let now_ns = self.now_ns();
        if now_ns >= self.calm_ns {
            self.calm_ns = u64::MAX;
            self.kernel.borrow_mut().calm_down();
        }
        let all_done = self.peers.iter().all(|peer| peer.done);
        let stopping = self.kernel.borrow().stopping;
        if !stopping && (all_done || self.stop_ns.is_some_and(|stop| now_ns >= stop)) {
            self.stop(all_done);
        }
        if now_ns > self.bound_ns || self.steps > STEPS_MAX {
            let shards = self.stations.iter().flatten().count();
            let kernel = &mut *self.kernel.borrow_mut();
            let busy = self.peers.iter().filter(|peer| !peer.done);
            let busy: Vec<String> = busy.map(|peer| peer.state(&kernel.lines)).collect();
            let (peers, steps) = (busy.len(), self.steps);
            let detail =
                format!("{shards} shards and {peers} peers left after {steps} steps: {busy:?}");
            kernel.checks.fail(Check::NotSettled, detail);
        }
    }

    fn stop(&mut self, all_done: bool) {
        let kernel = &mut *self.kernel.borrow_mut();
        if !all_done {
            kernel.checks.count(Count::StopUnderLoad);
        }
        kernel.stopping = true;
        // The stop has its own deadline: a jump of the clock would make it cut connections off.
        kernel.plan.rates.clock_jump = Rate::NEVER;
        kernel.plan.rates.stall = Rate::NEVER;
        kernel.plan.rates.standstill = Rate::NEVER;
        for peer in 0..self.peers.len() as u32 {
            kernel.schedule(0, Event::Peer(peer));
        }
        self.posted_at_stop = self.tally.borrow().posted.clone();
        self.fabric.stop();
    }

    fn ready(&self) -> Vec<usize> {
        let kernel = self.kernel.borrow();
        let now_ns = kernel.now().mono_ns;
        let ready = |shard: &usize| {
            let Some(station) = &self.stations[*shard] else {
                return false;
            };
            let woken = match station.parked_until_ns {
                None => true,
                Some(until) => {
                    kernel.ports[*shard].dirty || !station.waker.is_asleep() || until <= now_ns
                }
            };
            woken && station.stalled_until_ns <= now_ns
        };
        (0..self.stations.len()).filter(ready).collect()
    }

    /// Nobody can run: on to the next thing that happens.
    fn pass_time(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let now_ns = kernel.now().mono_ns;
        let later = |at: &u64| *at > now_ns;
        let times = self.stations.iter().flatten().flat_map(|station| {
            let stalled = Some(station.stalled_until_ns);
            [station.parked_until_ns, stalled].into_iter().flatten()
        });
        let next = times.chain(kernel.next_event_ns()).filter(later).min();
        let next = next.unwrap_or(now_ns + 1_000_000);
        kernel.advance_to(next);
        if kernel.strikes(|rates| rates.spurious_wake, Count::SpuriousWake) {
            let shard = self.rng.index(kernel.ports.len());
            kernel.ports[shard].dirty = true;
        }
    }

    /// Whether that shard's thread, or the whole machine, is away for a while.
    fn stalls(&mut self, shard: usize) -> bool {
        let mut kernel = self.kernel.borrow_mut();
        let now_ns = kernel.now().mono_ns;
        let away = self.rng.between(1, 300) * 1_000_000;
        if kernel.strikes(|rates| rates.stall, Count::Stall) {
            if let Some(station) = &mut self.stations[shard] {
                station.stalled_until_ns = now_ns + away;
            }
            kernel.ports[shard].away_ns += away;
            return true;
        }
        if kernel.strikes(|rates| rates.standstill, Count::Standstill) {
            let until_ns = now_ns + away;
            for station in self.stations.iter_mut().flatten() {
                station.stalled_until_ns = until_ns;
            }
            kernel
                .ports
                .iter_mut()
                .for_each(|port| port.away_ns += away);
            return true;
        }
        let rates = kernel.plan.rates;
        if self.rng.strikes(rates.clock_jump) {
            let by_ms = self.rng.between(1, 100_000_000) as i64;
            match self.rng.below(3) {
                0 => {
                    kernel.checks.count(Count::WallForward);
                    kernel.jump_wall(by_ms);
                }
                1 => {
                    kernel.checks.count(Count::WallBack);
                    kernel.jump_wall(-by_ms);
                }
                _ => {
                    kernel.checks.count(Count::MonoJump);
                    kernel.advance_to(now_ns + 10 * away);
                    kernel
                        .ports
                        .iter_mut()
                        .for_each(|port| port.away_ns += 10 * away);
                }
            }
        }
        false
    }

    fn turn(&mut self, shard: usize) {
        let Some(station) = &mut self.stations[shard] else {
            return;
        };
        let before = {
            let mut kernel = self.kernel.borrow_mut();
            let now_ns = kernel.now().mono_ns;
            kernel.checks.note(shard as u64, now_ns);
            kernel.checks.trace()
        };
        // Nobody rang: then there was nothing to ring for.
        let slept = station.parked_until_ns.is_some() && station.waker.is_asleep();
        let unheard =
            slept && self.kernel.borrow().stopping && !station.engine.handler().is_stopped();
        if slept {
            self.check_unheard(shard, unheard);
        }
        let Some(station) = &mut self.stations[shard] else {
            return;
        };
        station.parked_until_ns = None;
        let progress = station.engine.turn();
        if progress == Progress::Stopped {
            return self.end(shard);
        }
        // Parked, where the turn would have waited and nothing came of it.
        let driver = station.engine.driver_mut();
        let until = driver
            .sim()
            .sleeps_until_ns()
            .filter(|_| !driver.has_more());
        let idle = self.kernel.borrow().checks.trace() == before;
        let Some(until) = until.filter(|_| idle) else {
            return;
        };
        station.parked_until_ns = Some(until);
        station.waker.fall_asleep();
        self.check_unheard(shard, false);
    }

    /// A shard that sleeps, or has slept, has nothing waiting that came from another thread.
    fn check_unheard(&self, shard: usize, stop: bool) {
        let tally = self.tally.borrow();
        let mails = tally.posted[shard] - tally.handled[shard];
        let parcels = self.fabric.has_parcels(shard as u16);
        let checks = &mut self.kernel.borrow_mut().checks;
        checks.hold(mails == 0 && !parcels && !stop, Check::SleptOnMail, || {
            format!("shard {shard}: {mails} mails, parcels: {parcels}, stop: {stop}")
        });
    }

    fn end(&mut self, shard: usize) {
        let Some(mut station) = self.stations[shard].take() else {
            return;
        };
        station.engine.handler().check_ended();
        station.engine.driver_mut().sim().check_empty();
        if !self.kernel.borrow().stopping {
            let detail = format!("shard {shard} stopped unasked");
            self.kernel
                .borrow_mut()
                .checks
                .fail(Check::Lifecycle, detail);
        }
        self.kernel.borrow_mut().unlisten(shard as u16);
    }

    fn check_end(&mut self) {
        let kernel = &mut *self.kernel.borrow_mut();
        let tally = self.tally.borrow();
        // What was posted after the order to stop may stay in the box.
        let (before, posted, handled) = (&self.posted_at_stop, &tally.posted, &tally.handled);
        let kept = before
            .iter()
            .zip(handled)
            .all(|(before, handled)| handled >= before)
            && handled
                .iter()
                .zip(posted)
                .all(|(handled, posted)| handled <= posted);
        kernel
            .checks
            .hold(kept, Check::MailLost, || format!("{before:?}, {tally:?}"));
        // A connection that leaves for a shard that ends does not arrive. (Before the stop its client
        // would wait in vain.)
        let moved = tally.departed >= tally.arrived;
        kernel
            .checks
            .hold(moved, Check::Lifecycle, || format!("{tally:?}"));
        let held = kernel.links.iter().position(|link| link.refs > 0);
        kernel.checks.hold(held.is_none(), Check::SlotLeak, || {
            format!("file of link {held:?}")
        });
    }
}

/// The engine's configuration in that plan.
fn config_of(plan: &Plan) -> Config {
    Config {
        shards: plan.shards,
        listeners: vec![([127, 0, 0, 1], 1).into(); usize::from(plan.listeners)],
        rings_per_shard: plan.rings,
        ring_slots: plan.slots,
        recv_buffers: plan.buffers,
        recv_buffer_bytes: plan.buffer_bytes as u32,
        send_queue_bytes_max: plan.send_queue_bytes,
        parcels_max: plan.parcels,
        linger_ms: plan.linger_ms,
        connect_timeout_ms: 5_000,
        stop_grace_ms: plan.stop_grace_ms,
        ..Config::default()
    }
}
