//! The embedded store keeps what every store promises (`store_support`).

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

mod store_support;

use rookery_router::store::Store;
use rookery_router::store::fjall::FjallStore;
use store_support::Subject;

const CACHE_BYTES: u64 = 8 << 20;

/// The store in a folder of its own.
struct FjallSubject {
    // Before the folder, which it has open.
    store: Option<FjallStore>,
    folder: tempfile::TempDir,
}

impl FjallSubject {
    fn new() -> FjallSubject {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = FjallStore::open(folder.path(), CACHE_BYTES).expect("a new store");
        FjallSubject {
            store: Some(store),
            folder,
        }
    }
}

impl Subject for FjallSubject {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("it is open")
    }

    fn restart(&mut self) {
        self.store = None;
        let store = FjallStore::open(self.folder.path(), CACHE_BYTES).expect("the store again");
        self.store = Some(store);
    }
}

store_support::keeps! { fjall, crate::FjallSubject::new() }
store_support::keeps_members! { fjall_members, crate::FjallSubject::new() }
store_support::keeps_outbox! { fjall_outbox, crate::FjallSubject::new() }
// The others have the services' time.
store_support::tests! {
    fjall_time, crate::FjallSubject::new(),
    promises_outbox [receipts_run_out_after_thirty_days,]
}
