//! What the admin port sees of the server, and the way to the main thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::SystemTime;

use rookery_router::RouterHandle;
use rookery_shard::{Fabric, Postboxes};

use crate::admission::Gate;
use crate::auth::Revocations;
use crate::logging::Filter;
use crate::serve::{Asker, Drain, Fetched, Read};
use crate::session::{Ask, Mail, Parcel, Telemetry, owner};
use crate::unix_time::unix_s;

/// What came of a command: what to tell the operator, or why it failed.
pub(crate) type Outcome = Result<String, String>;

/// What the main thread is asked to do.
pub(crate) enum Command {
    /// Read the configuration again.
    Reload(Asker),
    /// Its files were read.
    Read(Read),
    /// Login keys were fetched.
    Keys(Fetched),
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
    /// Tokens that were taken back.
    pub(crate) revocations: Arc<Revocations>,
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
    keys_fetched_s: AtomicU64,
}

impl Changing {
    /// What there is at the start.
    pub(crate) fn new(router: RouterHandle, certificate_expires: SystemTime) -> Self {
        Self {
            router: Mutex::new(router),
            certificate_expires_s: AtomicU64::new(unix_s(certificate_expires)),
            keys_fetched_s: AtomicU64::new(0),
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
    pub(crate) fn update(
        &self,
        router: &RouterHandle,
        certificate_expires: SystemTime,
        keys_fetched_s: u64,
    ) {
        self.changing.keys_fetched_s.store(keys_fetched_s, Relaxed);
        *self
            .changing
            .router
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = router.clone();
        self.changing
            .certificate_expires_s
            .store(unix_s(certificate_expires), Relaxed);
    }

    /// When the login keys in use were asked for, Unix seconds.
    pub(crate) fn keys_fetched_s(&self) -> u64 {
        self.changing.keys_fetched_s.load(Relaxed)
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
