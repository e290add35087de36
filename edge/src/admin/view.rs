//! What the admin port sees of the server, and the way to the main thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::SystemTime;

use rookery_router::RouterHandle;
use rookery_shard::{Fabric, Postboxes};
use tokio::sync::oneshot;

use crate::admission::Gate;
use crate::logging::Filter;
use crate::serve::Drain;
use crate::session::{Ask, Mail, Parcel, Telemetry, owner};
use crate::unix_time::unix_s;

/// What came of a command: what to tell the operator, or why it failed.
pub(crate) type Outcome = Result<String, String>;

/// What the main thread is asked to do.
pub(crate) enum Command {
    /// Read the certificate again.
    Reload(Option<oneshot::Sender<Outcome>>),
    /// Tell clients to reconnect, then stop.
    Leave,
    /// Stop at once.
    Stop,
}

/// See the module.
pub(crate) struct View {
    /// The shards' counters.
    pub(crate) fabric: Arc<Fabric<Parcel>>,
    /// What their sessions count.
    pub(crate) telemetry: Arc<[Arc<Telemetry>]>,
    /// Admission.
    pub(crate) gate: Arc<Gate>,
    /// The shards' mailboxes.
    pub(crate) postboxes: Postboxes<Mail>,
    /// The log's filter.
    pub(crate) filter: Filter,
    /// To the main thread.
    pub(crate) commands: mpsc::Sender<Command>,
    /// The drain.
    pub(crate) drain: Arc<Drain>,
    /// When the process began to serve.
    pub(crate) started: SystemTime,
    /// What the main thread changes meanwhile.
    pub(crate) changing: Changing,
}

/// See [`View`].
pub(crate) struct Changing {
    router: Mutex<RouterHandle>,
    certificate_expires_s: AtomicU64,
}

impl Changing {
    /// What there is at the start.
    pub(crate) fn new(router: RouterHandle, certificate_expires: SystemTime) -> Self {
        Self {
            router: Mutex::new(router),
            certificate_expires_s: AtomicU64::new(unix_s(certificate_expires)),
        }
    }
}

impl View {
    /// The router of the moment.
    pub(crate) fn router(&self) -> RouterHandle {
        let router = self
            .changing
            .router
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        router.clone()
    }

    /// The main thread says what is in use now.
    pub(crate) fn update(&self, router: &RouterHandle, certificate_expires: SystemTime) {
        *self
            .changing
            .router
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = router.clone();
        self.changing
            .certificate_expires_s
            .store(unix_s(certificate_expires), Relaxed);
    }

    /// When the certificate ends, Unix seconds.
    pub(crate) fn certificate_expires_s(&self) -> u64 {
        self.changing.certificate_expires_s.load(Relaxed)
    }

    /// Asks the shard that owns a user; false where its mailbox is full.
    pub(crate) fn ask_owner(&self, user_id: u64, ask: Ask) -> bool {
        self.ask(owner(user_id, self.postboxes.shards()), ask)
    }

    /// Asks a shard; false where its mailbox is full.
    pub(crate) fn ask(&self, shard: u16, ask: Ask) -> bool {
        self.postboxes.post(shard, Mail::Ask(ask)).is_ok()
    }
}
