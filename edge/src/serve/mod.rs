//! `rookery serve`: composes the engine, the sessions and the router, runs until a signal, and stops in
//! the order in which nothing is lost: first the connections, then the router.

mod announce;
mod certificates;
mod cluster;
mod compose;
mod directory;
mod doorman;
mod keeper;
mod memory;
mod outlet;
mod signals;
mod supervisor;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use rookery_shard::{Running, mailbox};

use crate::admission::Gate;
use crate::certificate;
use crate::config::{Config, LogKind};
use crate::services::Services;
use crate::session::{Mode, Parcel, Sessions};
use certificates::CertificateKeeper;
use doorman::Doorman;
use keeper::RouterKeeper;
use signals::{Signal, Signals};
use supervisor::{Sight, Supervisor};

/// Mails that may wait for one shard: a fan-out each, drained every turn.
const MAILBOX: usize = 16_384;

/// How often it is looked whether a stopping engine has ended.
const STOP_LOOK_UP: Duration = Duration::from_millis(20);

/// Runs the server until SIGINT or SIGTERM.
pub fn serve(config: &Config, mode: Mode) -> anyhow::Result<()> {
    if let Err(error) = rookery_shard::limits::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // What is asked of the host comes before anything is written.
    rookery_shard::preflight(&compose::engine(config, mode))?;
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("cannot make the data directory {}", config.data.display()))?;
    let now = SystemTime::now();
    let certificate = certificate::load(&config.tls, &config.data, now)?;
    let (verifier, dev_key) = crate::auth::verifier(&config.auth, &config.data)?;
    let services = match config.log.kind {
        LogKind::Embedded => None,
        LogKind::Kafka => Some(Services::of(config)?),
    };
    let signals = Signals::listen().context("cannot listen for signals")?;

    let shards = config.engine.shard_count();
    let (postboxes, inboxes) =
        mailbox::channel(shards, MAILBOX).context("cannot make the shards' mailboxes")?;
    let mut keeper = match &services {
        None => RouterKeeper::embedded(compose::router(config), postboxes.clone())?,
        Some(services) => RouterKeeper::distributed(
            compose::router(config),
            services,
            compose::heard_every(config),
            postboxes.clone(),
        )?,
    };
    let presence = keeper.presence().filter(|_| mode == Mode::Chat);
    let settings = Arc::new(compose::settings(config, mode, verifier, presence)?);
    let gate = Arc::new(Gate::new(compose::admission(config)?));
    let mut doorman = Doorman::new(Arc::clone(&gate))?;
    let engine = {
        let (settings, router) = (Arc::clone(&settings), keeper.router().clone());
        let tls = Arc::clone(&certificate.tls);
        rookery_shard::start(compose::engine(config, mode), inboxes, move |_| {
            let (settings, tls) = (Arc::clone(&settings), Arc::clone(&tls));
            Sessions::new(settings, tls, router.clone(), Arc::clone(&gate))
        })?
    };
    announce::started(config, mode, engine.local_addrs(), &settings.listeners);
    let mut certificates = CertificateKeeper::new(config, postboxes, certificate, now);
    announce::credentials(config, certificates.certificate(), dev_key.as_ref());
    announce::services(services.as_ref());
    announce::ready();
    let mut supervisor = Supervisor::of_environment(Instant::now());
    supervisor.ready(&sight(&engine));

    let stopper = engine.stopper();
    let mut looked = Ok(());
    while !engine.has_ended() {
        match signals.wait() {
            Some(Signal::Reload) => {
                supervisor.reloading();
                let success = certificates.reload(SystemTime::now());
                supervisor.reloaded(success, &sight(&engine));
            }
            Some(Signal::Stop) => {
                let sight = sight(&engine);
                tracing::info!(
                    live = sight.live,
                    "stopping: clients are told to come again"
                );
                supervisor.stopping(Instant::now(), &sight);
                stopper.stop();
                break;
            }
            None => {
                looked = keeper.look();
                if looked.is_err() {
                    stopper.stop();
                    break;
                }
                doorman.look();
                certificates.look(SystemTime::now());
                supervisor.look(Instant::now(), &sight(&engine));
            }
        }
    }
    while engine.is_running() {
        std::thread::sleep(STOP_LOOK_UP);
        supervisor.look(Instant::now(), &sight(&engine));
    }
    supervisor.closing();
    let ended = engine.join();
    // With them go the last who tell the directory anything.
    drop(settings);
    keeper.close();
    ended?;
    looked?;
    tracing::info!("stopped");
    Ok(())
}

fn sight(engine: &Running<Parcel>) -> Sight {
    Sight {
        turns: engine.turns(),
        live: engine.counters().iter().map(|shard| shard.live).sum(),
    }
}
