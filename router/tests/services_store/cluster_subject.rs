//! The whole distributed store: CQL, PostgreSQL and Redis, each with a corner of its own.

use std::sync::{Arc, OnceLock};

use rookery_router::SystemClock;
use rookery_router::store::Store;
use rookery_router::store::cluster::{ClusterStore, Options};
use rookery_router::{postgres, redis};
use tokio_postgres::NoTls;

use crate::cql_subject::{migrated as cql_migrated, runtime};
use crate::store_support::Subject;
use crate::store_support::messages::fresh_id;

fn service(variable: &str) -> String {
    std::env::var(variable).expect("needs services: cargo xtask test --only cluster")
}

/// A schema of this run in PostgreSQL, made and migrated.
fn postgres_migrated() -> postgres::Options {
    static MADE: OnceLock<postgres::Options> = OnceLock::new();
    let make = || {
        let url = service("ROOKERY_TEST_POSTGRES");
        let schema = format!("store_suite_{}", fresh_id());
        let options = postgres::Options::new(format!("{url}?options=-c%20search_path%3D{schema}"));
        runtime().block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            let create = format!("CREATE SCHEMA {schema}");
            client.batch_execute(&create).await.unwrap();
            assert!(!postgres::migrate(&options).await.unwrap().is_empty());
        });
        options
    };
    MADE.get_or_init(make).clone()
}

/// Of a node whose Redis nobody else uses.
pub(crate) fn options() -> Options {
    let mut redis = redis::Options::new(service("ROOKERY_TEST_REDIS"));
    redis.key_prefix = format!("store_suite_{}:", fresh_id());
    // The test server shares its processors with everything else.
    redis.claim_timeout = redis.timeout;
    Options {
        node_id: 7,
        cql: cql_migrated(),
        postgres: postgres_migrated(),
        redis,
    }
}

pub(crate) fn open(options: &Options) -> ClusterStore {
    ClusterStore::open(options, Arc::new(SystemClock)).expect("options that can be")
}

/// A node.
pub(crate) struct ClusterSubject {
    store: ClusterStore,
    options: Options,
}

impl ClusterSubject {
    pub(crate) fn new() -> ClusterSubject {
        let options = options();
        let store = open(&options);
        ClusterSubject { store, options }
    }
}

impl Subject for ClusterSubject {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn restart(&mut self) {
        self.store = open(&self.options);
    }
}
