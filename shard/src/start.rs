//! Starting the shards' threads, and joining them.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::engine::{Engine, Progress};
use crate::limits::{OTHER_FILES, RECV_BUFFERS_MAX, ring_slots_max};
use crate::probe::{self, Report};
use crate::sys::uring::{RingFds, Uring};
use crate::sys::{listen, rlimit};
use crate::{Config, Counters, Fabric, Handler, Inbox, Stopper};

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value of the configuration.
    #[error("{what} cannot be {value}: {why}")]
    Config {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The reason.
        why: &'static str,
    },
    /// The kernel lacks something.
    #[error("{0}")]
    Kernel(Report),
    /// The address cannot be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// More descriptors are needed than this process may have.
    #[error(
        "rings for {slots} connections take more open files than this process may have ({limit}): raise the \
         limit (`ulimit -n`, or `LimitNOFILE=` of its systemd unit); from 32768 on the rings are the fewest"
    )]
    OpenFiles {
        /// The connections for which there were to be slots.
        slots: u64,
        /// RLIMIT_NOFILE, the soft one.
        limit: u64,
    },
    /// The kernel refused something.
    #[error("{what}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A shard's handler panicked while it was made.
    #[error("shard {0} ended before it had started")]
    Shard(u16),
}

/// A shard that did not end as it should.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} panicked: {message}")]
pub struct JoinError {
    /// The shard.
    pub shard: u16,
    /// The panic's message.
    pub message: String,
}

/// A running engine.
pub struct Running<P> {
    fabric: Arc<Fabric<P>>,
    addrs: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Stops the other shards when one panics: an engine that has lost a shard must not go on as if
/// nothing had happened.
struct StopOnPanic<P>(Arc<Fabric<P>>);

impl<P> Drop for StopOnPanic<P> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop();
        }
    }
}

/// Starts one thread per shard. `inboxes` come from [`crate::mailbox::channel`] with the same number
/// of shards; `make_handler` is called with the shard's number on its thread. When this returns every
/// shard listens.
pub fn start<H, F>(
    config: Config,
    inboxes: Vec<Inbox<H::Mail>>,
    make_handler: F,
) -> Result<Running<H::Parcel>, StartError>
where
    H: Handler + 'static,
    F: Fn(u16) -> H + Send + Sync + 'static,
{
    check(&config, inboxes.len())?;
    check_host(&config)?;
    let (addrs, listeners) = listen_all(&config)?;
    let slots = config.capacity();
    let fabric = Fabric::new(&config, &inboxes);
    let fds = RingFds::new(&config);
    let (config, make_handler) = (Arc::new(config), Arc::new(make_handler));
    let (ready, started) = mpsc::channel();
    let mut running = Running {
        fabric: Arc::clone(&fabric),
        addrs,
        threads: Vec::new(),
    };
    for (inbox, listeners) in inboxes.into_iter().zip(listeners) {
        let shard = inbox.shard();
        let (config, make_handler) = (Arc::clone(&config), Arc::clone(&make_handler));
        let (fabric, fds, ready) = (Arc::clone(&fabric), Arc::clone(&fds), ready.clone());
        let body = move || {
            let _stop_on_panic = StopOnPanic(Arc::clone(&fabric));
            pin(&config, shard);
            let waker = Arc::clone(inbox.waker());
            match Uring::new(shard, &config, waker, listeners, fds) {
                Ok(driver) => {
                    let engine = Engine::new(driver, make_handler(shard), &config, inbox, fabric);
                    // The starter may have given up: then the order to stop is on its way.
                    let _ = ready.send((shard, Ok(())));
                    drop(ready);
                    run(engine);
                }
                Err(error) => drop(ready.send((shard, Err(error)))),
            }
        };
        let thread = thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(body);
        match thread {
            Ok(thread) => running.threads.push(thread),
            Err(source) => {
                let what = "starting a shard's thread";
                return Err(running.give_up(StartError::Os { what, source }));
            }
        }
    }
    drop(ready);
    let mut missing: Vec<u16> = (0..fabric.shards()).collect();
    for (shard, result) in started {
        if let Err(source) = result {
            let error = if source.raw_os_error() == Some(libc::EMFILE) {
                too_few_files(slots)
            } else {
                let what = "making a shard's rings";
                StartError::Os { what, source }
            };
            return Err(running.give_up(error));
        }
        missing.retain(|waited| *waited != shard);
    }
    match missing.first() {
        Some(shard) => Err(running.give_up(StartError::Shard(*shard))),
        None => Ok(running),
    }
}

/// What [`start`] asks of the host and the configuration before it makes anything: for callers that have
/// things of their own to make before it.
///
/// # Errors
/// Those of [`start`] that are known before threads and rings are made.
pub fn preflight(config: &Config) -> Result<(), StartError> {
    check(config, usize::from(config.shards))?;
    check_host(config)?;
    config.listeners.iter().try_for_each(|&addr| {
        listen::probe(addr, is_v6_only(config, addr))
            .map_err(|source| StartError::Listen { addr, source })
    })
}

fn check_host(config: &Config) -> Result<(), StartError> {
    let report = probe::check();
    if !report.is_complete() {
        return Err(StartError::Kernel(report));
    }
    let shards = u64::from(config.shards);
    let each = u64::from(config.rings_per_shard) + config.listeners.len() as u64;
    if shards * each + OTHER_FILES > rlimit::nofile() {
        return Err(too_few_files(config.capacity()));
    }
    Ok(())
}

fn too_few_files(slots: u64) -> StartError {
    let limit = rlimit::nofile();
    StartError::OpenFiles { slots, limit }
}

/// The life of a shard's thread.
fn run<H: Handler>(mut engine: Engine<Uring, H>) {
    while engine.turn() == Progress::Running {}
}

fn pin(config: &Config, shard: u16) {
    if !config.pin {
        return;
    }
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    match cores.get(usize::from(shard)) {
        Some(core) if core_affinity::set_for_current(*core) => {}
        _ => tracing::warn!(
            shard,
            cores = cores.len(),
            "the shard is not pinned to a core"
        ),
    }
}

/// Listeners by shard, and where they listen.
type Listeners = (Vec<SocketAddr>, Vec<Vec<TcpListener>>);

fn listen_all(config: &Config) -> Result<Listeners, StartError> {
    let mut by_shard: Vec<Vec<TcpListener>> = (0..config.shards).map(|_| Vec::new()).collect();
    let mut addrs = Vec::new();
    for addr in config.listeners.iter().copied() {
        let listeners = listen::group(addr, config, is_v6_only(config, addr))
            .map_err(|source| StartError::Listen { addr, source })?;
        addrs.extend(listeners.first().and_then(|l| l.local_addr().ok()));
        for (of_shard, listener) in by_shard.iter_mut().zip(listeners) {
            of_shard.push(listener);
        }
    }
    Ok((addrs, by_shard))
}

/// Whether an IPv6 listener leaves IPv4 alone: where another listener has the port for IPv4. Else a wildcard
/// takes both.
fn is_v6_only(config: &Config, addr: SocketAddr) -> bool {
    let has_port = |other: &SocketAddr| other.is_ipv4() && other.port() == addr.port();
    addr.is_ipv6() && addr.port() != 0 && config.listeners.iter().any(has_port)
}

fn check(config: &Config, inboxes: usize) -> Result<(), StartError> {
    let buffers = u64::from(config.recv_buffers);
    let slots = u64::from(config.ring_slots);
    let rules = [
        (
            "shards",
            u64::from(config.shards),
            config.shards > 0,
            "there must be one",
        ),
        (
            "inboxes",
            inboxes as u64,
            inboxes == usize::from(config.shards),
            "there must be one for each shard",
        ),
        (
            "rings_per_shard",
            u64::from(config.rings_per_shard),
            config.rings_per_shard > 0,
            "there must be one",
        ),
        (
            "ring_slots",
            slots,
            slots > 0 && slots <= u64::from(ring_slots_max()),
            "it is bounded by the limit of open files (`ulimit -n`, or `LimitNOFILE=` of a systemd unit) and by 32,768",
        ),
        (
            "recv_buffers",
            buffers,
            config.recv_buffers.is_power_of_two() && config.recv_buffers <= RECV_BUFFERS_MAX,
            "it must be a power of two up to 32,768",
        ),
        (
            "recv_buffer_bytes",
            u64::from(config.recv_buffer_bytes),
            (64..=1 << 20).contains(&config.recv_buffer_bytes),
            "it must be between 64 bytes and 1 MiB",
        ),
    ];
    for (what, value, holds, why) in rules {
        if !holds {
            return Err(StartError::Config { what, value, why });
        }
    }
    Ok(())
}

impl<P> Running<P> {
    /// Where it listens, in the order of `Config::listeners`, with the ports that were picked.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Every shard's counters, as published at the end of its last turn.
    pub fn counters(&self) -> Vec<Counters> {
        self.fabric.counters()
    }

    /// What the shards share: counters and free slots, for an exporter on another thread.
    pub fn fabric(&self) -> &Arc<Fabric<P>> {
        &self.fabric
    }

    /// Whether a shard has ended (it was stopped, or it panicked): time to join.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Whether a shard has not ended yet.
    pub fn is_running(&self) -> bool {
        !self.threads.iter().all(JoinHandle::is_finished)
    }

    /// How often each shard has turned since its start; `None` for one that has ended. One that has nothing to
    /// do turns once a second: a number that stands is a shard that hangs.
    pub fn turns(&self) -> Vec<Option<u64>> {
        let of = |(thread, counters): (&JoinHandle<()>, Counters)| {
            (!thread.is_finished()).then_some(counters.turns)
        };
        self.threads.iter().zip(self.counters()).map(of).collect()
    }

    /// Waits until every shard has ended. A shard that panicked is an error (the others are stopped).
    pub fn join(self) -> Result<(), JoinError> {
        let mut result = Ok(());
        for (shard, thread) in (0u16..).zip(self.threads) {
            if let Err(panic) = thread.join() {
                let message = message(panic.as_ref());
                tracing::error!(shard, message, "a shard panicked");
                result = result.and(Err(JoinError { shard, message }));
            }
        }
        result
    }

    fn give_up(self, error: StartError) -> StartError {
        self.fabric.stop();
        // Their panics, if any, have the same reason as the error.
        let _ = self.join();
        error
    }
}

impl<P: Send + 'static> Running<P> {
    /// A handle that stops the engine.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(Arc::clone(&self.fabric))
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
