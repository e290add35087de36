//! What the main thread does while the server runs: what it is asked to do, and, a few times a second, a look
//! at everything. Then the stop, in the order in which nothing is lost: first the connections, then the router.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rookery_shard::Running;

use super::certificates::CertificateKeeper;
use super::commands::Commands;
use super::doorman::Doorman;
use super::drain::Drain;
use super::keeper::RouterKeeper;
use super::reload::Reloader;
use super::supervisor::{Sight, Supervisor};
use crate::admin::{Admin, Command, View};
use crate::session::{Parcel, Settings};

/// How often everything is looked after.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often it is looked whether a stopping engine has ended.
const STOP_LOOK_UP: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct MainLoop {
    pub(super) commands: Commands,
    pub(super) engine: Running<Parcel>,
    /// Whoever has it may tell the directory something.
    pub(super) settings: Arc<Settings>,
    pub(super) keeper: RouterKeeper,
    pub(super) doorman: Doorman,
    pub(super) certificates: CertificateKeeper,
    pub(super) reloader: Reloader,
    pub(super) drain: Arc<Drain>,
    pub(super) supervisor: Supervisor,
    pub(super) admin: Admin,
    pub(super) view: Arc<View>,
}

/// Whether the server goes on.
enum Flow {
    GoesOn,
    Stops,
}

impl MainLoop {
    /// Until the server has stopped. An error: a shard or the router ended before it was asked to.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let sight = self.sight();
        self.supervisor.ready(&sight);
        let ran = self.attend();
        self.engine.stopper().stop();
        tracing::info!(live = self.drain.status().remaining, "stopping");
        self.end().and(ran)
    }

    /// Until it has to stop, or the engine has ended.
    fn attend(&mut self) -> anyhow::Result<()> {
        let mut looked_at = Instant::now();
        while !self.engine.has_ended() {
            if let Some(command) = self.commands.wait()
                && let Flow::Stops = self.obey(command)
            {
                break;
            }
            // Also where commands come without end.
            if looked_at.elapsed() >= LOOK_EVERY {
                looked_at = Instant::now();
                self.look()?;
            }
            if self.drain.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Flow {
        match command {
            Command::Reload(asker) => {
                self.supervisor.reloading();
                let concluded = self.reloader.begin(asker);
                return self.reloaded(concluded);
            }
            Command::Read(read) => {
                let now = SystemTime::now();
                let concluded = self.reloader.finish(read, &mut self.certificates, now);
                return self.reloaded(concluded);
            }
            Command::Keys(fetched) => {
                self.reloader.take_fetched(fetched);
                return Flow::GoesOn;
            }
            // The second one is a stop at once.
            Command::Leave if !self.drain.leaves() => self.drain.leave(),
            Command::Leave | Command::Stop => return Flow::Stops,
        }
        let sight = self.sight();
        self.supervisor.stopping(Instant::now(), &sight);
        Flow::GoesOn
    }

    /// A reload came to its end, or has not yet.
    fn reloaded(&mut self, concluded: Option<bool>) -> Flow {
        if let Some(went_well) = concluded {
            let sight = self.sight();
            self.supervisor.reloaded(went_well, &sight);
        }
        Flow::GoesOn
    }

    fn look(&mut self) -> anyhow::Result<()> {
        if self.reloader.gives_up(Instant::now()) {
            self.reloaded(Some(false));
        }
        self.drain.look();
        self.keeper.look()?;
        self.doorman.look();
        self.certificates.look(SystemTime::now());
        let expires = self.certificates.certificate().expires();
        let keys_fetched_s = self.reloader.keys_fetched_s();
        self.view
            .update(self.keeper.router(), expires, keys_fetched_s);
        let sight = self.sight();
        self.supervisor.look(Instant::now(), &sight);
        Ok(())
    }

    /// The engine has been stopped: waits for its connections, then closes the router.
    fn end(mut self) -> anyhow::Result<()> {
        let sight = self.sight();
        self.supervisor.stopping(Instant::now(), &sight);
        let fabric = Arc::clone(self.engine.fabric());
        while self.engine.is_running() {
            std::thread::sleep(STOP_LOOK_UP);
            let sight = self.sight();
            self.supervisor.look(Instant::now(), &sight);
        }
        self.supervisor.closing();
        let ended = self.engine.join();
        drop(self.admin);
        drop(self.settings);
        self.keeper.close();
        ended?;
        let told = self.drain.told();
        let shards = fabric.counters().into_iter();
        let cut_off: u64 = shards.map(|shard| shard.stop_cut_off).sum();
        tracing::info!(
            told_to_reconnect = told.reconnect,
            closed = told.closed,
            cut_off = told.cut_off + cut_off,
            "stopped"
        );
        Ok(())
    }

    fn sight(&self) -> Sight {
        Sight {
            turns: self.engine.turns(),
            live: self.engine.counters().iter().map(|shard| shard.live).sum(),
        }
    }
}
