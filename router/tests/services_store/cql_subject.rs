//! The distributed store over a real server, with members in memory: their authority is another service.
//!
//! All tests share one keyspace of this run and stay apart by their ids: a schema takes seconds to make.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rookery_router::admission::Known;
use rookery_router::record::OpenKey;
use rookery_router::sequencer::Head;
use rookery_router::store::cql::{self, Caps, Cql, Options, Replication};
use rookery_router::store::{
    Batch, Below, Bound, InboxRow, Numbered, Placed, Position, Receipt, Received, Slice, Store,
    StoreError,
};
use rookery_wire::proto::ConversationHead;
use tokio::runtime::Runtime;

use crate::store_support::Subject;
use crate::store_support::messages::fresh_id;

const NODE: u16 = 7;

/// How the test server is reached, with a keyspace that nobody has used; not made yet.
pub(crate) fn options() -> Options {
    let node =
        std::env::var("ROOKERY_TEST_CQL").expect("needs services: cargo xtask test --only cluster");
    Options {
        nodes: vec![node],
        username: "rookery".to_owned(),
        password: "rookery-test".to_owned(),
        keyspace: format!("store_suite_{}", fresh_id()),
        replication: Replication {
            class: "SimpleStrategy".to_owned(),
            factor: 1,
        },
        // The test server shares its processors with everything else.
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(20),
        caps: Caps {
            rows_max: 50,
            bytes_max: 1 << 20,
        },
        ..Options::default()
    }
}

/// The same with the keyspace of this run, made and migrated.
pub(crate) fn migrated() -> Options {
    static MADE: OnceLock<Options> = OnceLock::new();
    let make = || {
        let options = options();
        let applied = runtime().block_on(cql::migrate(&options));
        assert!(!applied.expect("migrate").is_empty());
        options
    };
    MADE.get_or_init(make).clone()
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// [`Cql`] behind the trait.
pub(crate) struct CqlStore {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) cql: Cql,
}

impl CqlStore {
    pub(crate) fn new(runtime: &Arc<Runtime>, options: &Options) -> CqlStore {
        let cql = runtime
            .block_on(Cql::connect(options))
            .expect("options that can be");
        CqlStore {
            runtime: Arc::clone(runtime),
            cql,
        }
    }
}

fn not_here<T>() -> Result<T, StoreError> {
    Err(StoreError::Failed {
        doing: "ask the store for members",
        reason: "another service has them".to_owned(),
    })
}

/// What the store answers as [`Cql`] does.
macro_rules! as_cql {
    ($(fn $name:ident($($argument:ident: $form:ty),*) -> $answer:ty;)*) => {$(
        fn $name(&self, $($argument: $form),*) -> Result<$answer, StoreError> {
            self.runtime.block_on(self.cql.$name($($argument),*))
        }
    )*};
}

impl Store for CqlStore {
    as_cql! {
        fn head(conversation_id: u64) -> Head;
        fn known(sender: u64, client_msg_id: u64) -> Option<Known>;
        fn placed(conversation_id: u64, message_id: u64) -> Option<Placed>;
        fn placed_by_sender(sender: u64, client_msg_id: u64) -> Option<Placed>;
        fn since(conversation_id: u64, have_seq: u64, bound: Bound) -> (Head, Slice);
        fn before(conversation_id: u64, before: u64, bound: Bound) -> Slice;
        fn numbers_below(asked: &[Below]) -> Vec<Vec<Numbered>>;
        fn receive(receipts: &[Receipt], now_ms: u64) -> ();
        fn unread(user_id: u64, received: &HashMap<u64, u64>) -> Vec<InboxRow>;
    }

    fn position(&self) -> Result<Position, StoreError> {
        self.runtime.block_on(self.cql.position(NODE))
    }

    fn receipts(&self, user: u64, device: u32, _now_ms: u64) -> Result<Vec<Received>, StoreError> {
        self.runtime.block_on(self.cql.receipts(user, device))
    }

    fn members(&self, _conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError> {
        not_here()
    }

    fn is_member(&self, _conversation_id: u64, _user_id: u64) -> Result<bool, StoreError> {
        not_here()
    }

    fn opened(&self, _key: OpenKey) -> Result<Option<u64>, StoreError> {
        not_here()
    }

    fn forget(&self) {
        self.cql.forget();
    }

    fn conversations(
        &self,
        _user_id: u64,
        _after: u64,
        _rows_max: usize,
    ) -> Result<(Vec<ConversationHead>, bool), StoreError> {
        not_here()
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.runtime.block_on(self.cql.apply(batch, &|_| None))
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.runtime
            .block_on(self.cql.persist(NODE, &Position::default()))
    }

    fn rest(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn note_time(&self, _now_ms: u64) {}
}

/// A process on the keyspace of this run.
pub(crate) struct CqlSubject {
    store: CqlStore,
    options: Options,
}

impl CqlSubject {
    pub(crate) fn new() -> CqlSubject {
        let options = migrated();
        let store = CqlStore::new(&Arc::new(runtime()), &options);
        CqlSubject { store, options }
    }
}

impl Subject for CqlSubject {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn restart(&mut self) {
        self.store = CqlStore::new(&self.store.runtime, &self.options);
    }
}
