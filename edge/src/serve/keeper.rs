//! Keeps a router behind the sessions. The embedded one, where its store has failed (a disk without a free
//! byte), is closed and started anew until that succeeds. Connections stay; their requests are refused
//! with a retry-after meanwhile, and what was acked is applied again from the log. The distributed one
//! waits for its services by itself and is never started anew. Where a thread of either ended, the process
//! does: it would keep its partitions and stand still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rookery_router::{Health, RouterHandle};
use rookery_shard::Postboxes;

use super::cluster::Cluster;
use super::directory::Directory;
use super::outlet::Mailboxes;
use crate::services::Services;
use crate::session::{Mail, Presence};

/// Between two tries: a start on a full disk costs a few reads.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct RouterKeeper {
    postboxes: Postboxes<Mail>,
    outlet: Arc<Mailboxes>,
    router: RouterHandle,
    form: Form,
}

enum Form {
    Embedded {
        config: Box<rookery_router::Config>,
        next_try: Instant,
    },
    Distributed {
        cluster: Box<Cluster>,
        directory: Directory,
    },
}

impl RouterKeeper {
    /// Starts the embedded router.
    pub(super) fn embedded(
        config: rookery_router::Config,
        postboxes: Postboxes<Mail>,
    ) -> anyhow::Result<Self> {
        let outlet = Arc::new(Mailboxes::new(postboxes.clone()));
        let router = rookery_router::start(config.clone(), outlet.clone())?;
        let form = Form::Embedded {
            config: Box::new(config),
            next_try: Instant::now(),
        };
        Ok(Self {
            postboxes,
            outlet,
            router,
            form,
        })
    }

    /// Starts the distributed router. Clients are heard of at least every `heard_every`.
    pub(super) fn distributed(
        config: rookery_router::Config,
        services: &Services,
        heard_every: Duration,
        postboxes: Postboxes<Mail>,
    ) -> anyhow::Result<Self> {
        let outlet = Arc::new(Mailboxes::new(postboxes.clone()));
        let (router, cluster) = Cluster::start(config, services, outlet.clone())?;
        let directory = cluster.directory(services, heard_every)?;
        let form = Form::Distributed {
            cluster: Box::new(cluster),
            directory,
        };
        Ok(Self {
            postboxes,
            outlet,
            router,
            form,
        })
    }

    /// The router of the moment.
    pub(super) fn router(&self) -> &RouterHandle {
        &self.router
    }

    /// Who is told which users are here.
    pub(super) fn presence(&self) -> Option<Presence> {
        match &self.form {
            Form::Embedded { .. } => None,
            Form::Distributed { directory, .. } => Some(directory.presence()),
        }
    }

    /// Looks after it; called a few times a second. An error: the server must stop.
    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        if let Some(why) = self.router.ended() {
            anyhow::bail!("{why}");
        }
        match &mut self.form {
            Form::Distributed { cluster, .. } => cluster.look()?,
            Form::Embedded { config, next_try } => {
                if self.router.health() != Health::StoreFailed || Instant::now() < *next_try {
                    return Ok(());
                }
                // Frees the directory; the sessions' handles refuse from here on.
                self.router.close();
                match rookery_router::start((**config).clone(), self.outlet.clone()) {
                    Ok(router) => {
                        tracing::info!("the store was opened again");
                        self.router = router;
                        tell(&self.postboxes, || Mail::RouterAnew(self.router.clone()));
                    }
                    Err(error) => {
                        tracing::error!(%error, "the store cannot be opened again yet");
                        *next_try = Instant::now() + PAUSE;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends it, once nobody has a [`Presence`] any more: what was accepted is finished first.
    pub(super) fn close(self) {
        self.router.close();
        if let Form::Distributed { cluster, directory } = self.form {
            directory.join();
            cluster.close();
        }
    }
}

/// Posts to every shard. A mailbox may be full for a moment; the main thread may wait.
pub(super) fn tell(postboxes: &Postboxes<Mail>, mail: impl Fn() -> Mail) {
    for shard in 0..postboxes.shards() {
        let mut mail = mail();
        while let Err(refused) = postboxes.post(shard, mail) {
            mail = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
