//! `rookery serve`: composes the engine, the sessions and the router; `main_loop` runs them and stops them.

mod announce;
mod certificates;
mod cluster;
mod commands;
mod compose;
mod directory;
mod doorman;
mod drain;
mod keeper;
mod key_fetcher;
mod limits;
mod main_loop;
mod memory;
mod outlet;
mod reload;
mod supervisor;
mod watch;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use rookery_shard::mailbox;

use crate::admin::{self, Admin, Changing, View};
use crate::admission::Gate;
use crate::auth::{LoginKeys, Revocation, Revocations, Wanted};
use crate::certificate;
use crate::config::{Config, LogKind};
use crate::logging::Filter;
use crate::services::Services;
use crate::session::{Mode, Sessions, Telemetry, owner};
use crate::unix_time::unix_ms;
use certificates::CertificateKeeper;
use commands::Commands;
use doorman::Doorman;
pub use drain::{Drain, DrainError, DrainState, DrainStatus};
use keeper::RouterKeeper;
pub(crate) use key_fetcher::Fetched;
use limits::LimitsKept;
use main_loop::MainLoop;
use reload::Reloader;
pub use reload::Reread;
pub(crate) use reload::{Asker, Read};
use supervisor::Supervisor;

/// Runs the server until SIGINT or SIGTERM, which may take the window of a drain.
pub fn serve(config: &Config, reread: Reread, mode: Mode, filter: Filter) -> anyhow::Result<()> {
    if let Err(error) = rookery_shard::limits::raise_open_files() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // What is asked of the host comes before anything is written.
    rookery_shard::preflight(&compose::engine(config, mode))?;
    let reserved = admin::Reserved::take(&config.admin)?;
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("cannot make the data directory {}", config.data.display()))?;
    let now = SystemTime::now();
    let certificate = certificate::load(&config.tls, &config.data, now)?;
    let keys = LoginKeys::load(&config.auth, &config.data)?;
    let revocations = Arc::new(Revocations::open(
        &config.data,
        config.auth.token_life_ms(),
    )?);
    let services = match config.log.kind {
        LogKind::Embedded => None,
        LogKind::Kafka => Some(Services::of(config)?),
    };
    let commands = Commands::listen().context("cannot listen for signals")?;
    let login = reload::logins_at_start(config, keys, Wanted::default(), commands.sender())?;

    let shards = config.engine.shard_count();
    let (postboxes, inboxes) = mailbox::channel(shards, compose::mailbox(config)?)
        .context("cannot make the shards' mailboxes")?;
    let router_config = compose::router(config);
    let rates = Arc::clone(&router_config.rates);
    let keeper = match &services {
        None => RouterKeeper::embedded(router_config, postboxes.clone())?,
        Some(services) => RouterKeeper::distributed(
            router_config,
            services,
            compose::heard_every(config),
            postboxes.clone(),
        )?,
    };
    let presence = keeper.presence().filter(|_| mode == Mode::Chat);
    let settings = Arc::new(compose::settings(config, mode, presence)?);
    let gate = Arc::new(Gate::new(compose::admission(config)?));
    let doorman = Doorman::new(Arc::clone(&gate))?;
    let telemetry = Telemetry::of_shards(shards);
    let engine = {
        let telemetry = Arc::clone(&telemetry);
        let gate = Arc::clone(&gate);
        let (settings, router) = (Arc::clone(&settings), keeper.router().clone());
        let keys = Arc::new(login.keys.verifier(&login.fetched, &login.wanted));
        let tls = Arc::clone(&certificate.tls);
        let revoked = revocations.all();
        let limits = compose::limits(config);
        rookery_shard::start(compose::engine(config, mode), inboxes, move |shard| {
            let (settings, gate) = (Arc::clone(&settings), Arc::clone(&gate));
            let (tls, keys) = (Arc::clone(&tls), Arc::clone(&keys));
            let telemetry = Arc::clone(&telemetry[usize::from(shard)]);
            let router = router.clone();
            let mut sessions = Sessions::new(telemetry, settings, limits, tls, keys, router, gate);
            let of_shard = |one: &&Revocation| owner(one.user_id, shards) == shard;
            sessions.revoke(revoked.iter().filter(of_shard), unix_ms(now));
            sessions
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
        revocations: Arc::clone(&revocations),
        postboxes: postboxes.clone(),
        filter: filter.clone(),
        commands: commands.sender(),
        started: now,
        changing: Changing::new(keeper.router().clone(), certificate.expires()),
    });
    let admin = Admin::start(config, reserved, Arc::clone(&view))?;
    announce::started(config, mode, engine.local_addrs(), &settings.listeners);
    announce::memory(&compose::worst_case(config)?, memory::host_bytes()?);
    let dev_key = login.keys.dev_key.clone();
    let reloader = Reloader {
        reread,
        limits: LimitsKept {
            gate: Arc::clone(&view.gate),
            rates,
            postboxes: postboxes.clone(),
            room: config.limits.connections_max,
        },
        used: config.clone(),
        filter,
        postboxes: postboxes.clone(),
        revocations,
        commands: commands.sender(),
        login,
        reading: None,
    };
    let certificates = CertificateKeeper::new(config, postboxes, certificate, now);
    announce::credentials(config, certificates.certificate(), dev_key.as_ref());
    announce::admin(&admin);
    announce::services(services.as_ref());
    announce::ready();
    MainLoop {
        commands,
        engine,
        settings,
        keeper,
        doorman,
        certificates,
        reloader,
        drain,
        supervisor: Supervisor::of_environment(Instant::now()),
        admin,
        view,
    }
    .run()
}
