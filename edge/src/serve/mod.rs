//! `rookery serve`: composes the engine, the sessions and the router, runs until a signal, and stops in
//! the order in which nothing is lost: first the connections, then the router.

mod announce;
mod certificates;
mod cluster;
mod commands;
mod compose;
mod directory;
mod doorman;
mod drain;
mod keeper;
mod memory;
mod outlet;
mod supervisor;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use rookery_shard::{Running, mailbox};

use crate::admin::{Admin, Changing, Command, View};
use crate::admission::Gate;
use crate::certificate;
use crate::config::{Config, LogKind};
use crate::logging::Filter;
use crate::services::Services;
use crate::session::{Mode, Parcel, Sessions, Telemetry};
use certificates::CertificateKeeper;
use commands::Commands;
use doorman::Doorman;
pub use drain::{Drain, DrainError, DrainState, DrainStatus};
use keeper::RouterKeeper;
use supervisor::{Sight, Supervisor};

/// Mails that may wait for one shard: a fan-out each, drained every turn.
const MAILBOX: usize = 16_384;

/// How often everything is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked whether a stopping engine has ended.
const STOP_LOOK_UP: Duration = Duration::from_millis(20);

/// Runs the server until SIGINT or SIGTERM, which may take the window of a drain.
pub fn serve(config: &Config, mode: Mode, filter: Filter) -> anyhow::Result<()> {
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
    let commands = Commands::listen().context("cannot listen for signals")?;

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
    let telemetry = Telemetry::of_shards(shards);
    let engine = {
        let telemetry = Arc::clone(&telemetry);
        let gate = Arc::clone(&gate);
        let (settings, router) = (Arc::clone(&settings), keeper.router().clone());
        let tls = Arc::clone(&certificate.tls);
        rookery_shard::start(compose::engine(config, mode), inboxes, move |shard| {
            let (settings, tls) = (Arc::clone(&settings), Arc::clone(&tls));
            let telemetry = Arc::clone(&telemetry[usize::from(shard)]);
            Sessions::new(telemetry, settings, tls, router.clone(), Arc::clone(&gate))
        })?
    };
    let drain = Arc::new(Drain::new(
        compose::drain(config, mode),
        Arc::clone(&gate),
        Arc::clone(&telemetry),
        drain::Shards::of(postboxes.clone(), Arc::clone(engine.fabric())),
    ));
    let view = Arc::new(View {
        drain: Arc::clone(&drain),
        fabric: Arc::clone(engine.fabric()),
        telemetry,
        gate,
        postboxes: postboxes.clone(),
        filter,
        commands: commands.sender(),
        started: now,
        changing: Changing::new(keeper.router().clone(), certificate.expires()),
    });
    let admin = Admin::start(config, Arc::clone(&view))?;
    announce::started(config, mode, engine.local_addrs(), &settings.listeners);
    let mut certificates = CertificateKeeper::new(config, postboxes, certificate, now);
    announce::credentials(config, certificates.certificate(), dev_key.as_ref());
    announce::admin(&admin);
    announce::services(services.as_ref());
    announce::ready();
    let mut supervisor = Supervisor::of_environment(Instant::now());
    supervisor.ready(&sight(&engine));

    let stopper = engine.stopper();
    let mut looked = Ok(());
    let mut leaves = false;
    let mut looked_at = Instant::now();
    while !engine.has_ended() {
        match commands.wait() {
            None => {}
            Some(Command::Reload(answer)) => {
                supervisor.reloading();
                let outcome = certificates.reload(SystemTime::now());
                supervisor.reloaded(outcome.is_ok(), &sight(&engine));
                if let Some(answer) = answer {
                    let _ = answer.send(outcome);
                }
            }
            Some(Command::Leave) if !leaves => {
                leaves = true;
                supervisor.stopping(Instant::now(), &sight(&engine));
                drain.leave();
            }
            Some(Command::Leave | Command::Stop) => {
                supervisor.stopping(Instant::now(), &sight(&engine));
                stopper.stop();
                break;
            }
        }
        // Also where commands come without end.
        if looked_at.elapsed() >= LOOK_EVERY {
            looked_at = Instant::now();
            drain.look();
            looked = keeper.look();
            if looked.is_err() {
                stopper.stop();
                break;
            }
            doorman.look();
            certificates.look(SystemTime::now());
            view.update(keeper.router(), certificates.certificate().expires());
            supervisor.look(Instant::now(), &sight(&engine));
        }
        if leaves && drain.is_over() {
            stopper.stop();
            break;
        }
    }
    tracing::info!(live = drain.status().remaining, "stopping");
    let fabric = Arc::clone(engine.fabric());
    while engine.is_running() {
        std::thread::sleep(STOP_LOOK_UP);
        supervisor.look(Instant::now(), &sight(&engine));
    }
    supervisor.closing();
    let ended = engine.join();
    drop(admin);
    // With them go the last who tell the directory anything.
    drop(settings);
    keeper.close();
    ended?;
    looked?;
    let told = drain.told();
    let cut_off = fabric
        .counters()
        .into_iter()
        .map(|shard| shard.stop_cut_off);
    tracing::info!(
        told_to_reconnect = told.reconnect,
        closed = told.closed,
        cut_off = told.cut_off + cut_off.sum::<u64>(),
        "stopped"
    );
    Ok(())
}

fn sight(engine: &Running<Parcel>) -> Sight {
    Sight {
        turns: engine.turns(),
        live: engine.counters().iter().map(|shard| shard.live).sum(),
    }
}
