//! Keeps a router behind the sessions: where its store has failed (a disk without a free byte), it is
//! closed and started anew until that succeeds. Connections stay; their requests are refused with a
//! retry-after meanwhile, and what was acked is applied again from the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rookery_router::{Health, RouterHandle, StartError};
use rookery_shard::Postboxes;

use super::outlet::Mailboxes;
use crate::session::Mail;

/// Between two tries: a start on a full disk costs a few reads.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct RouterKeeper {
    config: rookery_router::Config,
    postboxes: Postboxes<Mail>,
    outlet: Arc<Mailboxes>,
    router: RouterHandle,
    next_try: Instant,
}

impl RouterKeeper {
    /// Starts the router.
    pub(super) fn start(
        config: rookery_router::Config,
        postboxes: Postboxes<Mail>,
    ) -> Result<Self, StartError> {
        let outlet = Arc::new(Mailboxes::new(postboxes.clone()));
        let router = rookery_router::start(config.clone(), outlet.clone())?;
        Ok(Self {
            config,
            postboxes,
            outlet,
            router,
            next_try: Instant::now(),
        })
    }

    /// The router of the moment.
    pub(super) fn router(&self) -> &RouterHandle {
        &self.router
    }

    /// Looks after it; called a few times a second.
    pub(super) fn look(&mut self) {
        if self.router.health() != Health::StoreFailed || Instant::now() < self.next_try {
            return;
        }
        // Frees the directory; the sessions' handles refuse from here on.
        self.router.close();
        match rookery_router::start(self.config.clone(), self.outlet.clone()) {
            Ok(router) => {
                tracing::info!("the store was opened again");
                self.router = router;
                tell(&self.postboxes, || Mail::RouterAnew(self.router.clone()));
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be opened again yet");
                self.next_try = Instant::now() + PAUSE;
            }
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
