//! The distributed store over a real server, with members in memory: their authority is another service.
//!
//! All tests share one keyspace of this run and stay apart by their ids: a schema takes seconds to make.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rookery_router::admission::{Known, SendKey};
use rookery_router::log::{Offset, Partition};
use rookery_router::record::OpenKey;
use rookery_router::sequencer::Head;
use rookery_router::store::cql::{self, Cql, Options, Replication};
use rookery_router::store::{
    Batch, Below, Bound, Place, Position, Reached, Receipt, Received, Segment, SegmentRow, Sent,
    Slice, Slot, Store, StoreError,
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
        fn reached(partitions: &[Partition]) -> Vec<Reached>;
        fn heads(conversation_ids: &[u64]) -> Vec<Head>;
        fn bases(asked: &[(u64, Offset)]) -> Vec<Head>;
        fn sent(names: &[SendKey]) -> Vec<Vec<Sent>>;
        fn since(conversation_id: u64, have_seq: u64, bound: Bound) -> (Head, Slice);
        fn before_many(asked: &[Below]) -> Vec<Slice>;
        fn receive(receipts: &[Receipt], now_ms: u64) -> ();
        fn mark(segments: &[Segment]) -> ();
        fn segments(user_id: u64, from: Slot, below: Place, rows_max: usize) -> (Vec<SegmentRow>, bool);
        fn apply(batch: &Batch) -> ();
    }

    fn position(&self) -> Result<Position, StoreError> {
        self.runtime.block_on(self.cql.position(NODE))
    }

    fn head(&self, conversation_id: u64) -> Result<Head, StoreError> {
        Ok(self.heads(&[conversation_id])?[0])
    }

    fn known(&self, name: SendKey) -> Result<Option<Known>, StoreError> {
        Ok(self.sent(&[name])?[0].first().map(|sent| sent.known))
    }

    fn before(&self, below: &Below) -> Result<Slice, StoreError> {
        Ok(self.before_many(&[*below])?.remove(0))
    }

    fn received(
        &self,
        device: (u64, u32),
        conversation_ids: &[u64],
        _now_ms: u64,
    ) -> Result<Vec<Received>, StoreError> {
        self.runtime
            .block_on(self.cql.received(device, conversation_ids))
    }

    fn has_received(&self, device: (u64, u32), _now_ms: u64) -> Result<bool, StoreError> {
        self.runtime.block_on(self.cql.has_received(device))
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

    fn conversations(
        &self,
        _user_id: u64,
        _after: u64,
        _rows_max: usize,
    ) -> Result<(Vec<ConversationHead>, bool), StoreError> {
        not_here()
    }

    fn reach(&self, reached: &[(Partition, Reached)], given: &Position) -> Result<(), StoreError> {
        self.runtime.block_on(self.cql.reach(reached, NODE, given))
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
