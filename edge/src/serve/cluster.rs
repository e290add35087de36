//! The distributed form: starts the router over the services, holds this host's number among its peers,
//! and lets the directory be written.
//!
//! A start needs Kafka and CQL; Redis and PostgreSQL may come later. The invariant: no id is given while
//! it is known that another living process has this node id.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rookery_router::log::kafka;
use rookery_router::log::{Log, LogError};
use rookery_router::placement::SharedPlacement;
use rookery_router::postgres::Postgres;
use rookery_router::redis::{self, Instance, Node, USER_TTL};
use rookery_router::store::cluster::{ClusterStore, Options};
use rookery_router::store::{Store, StoreError};
use rookery_router::{Outlet, RouterHandle};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::directory::{Directory, Places};
use super::watch::{Looking, Watch};
use crate::services::{self, Services};

/// Between two tries to take the node id.
const SEEK_PAUSE: Duration = Duration::from_secs(2);

/// What the distributed form has beside the router.
pub(super) struct Cluster {
    store: Arc<ClusterStore>,
    watch: Watch,
    lease: Lease,
    node_id: u16,
}

impl Cluster {
    /// Starts the router; waits for Kafka and CQL as long as their drivers do.
    pub(super) fn start(
        config: rookery_router::Config,
        services: &Services,
        outlet: Arc<dyn Outlet>,
    ) -> anyhow::Result<(RouterHandle, Self)> {
        services::refuse_where_behind(services)?;
        let found = services::compare(services)?;
        let options = Options {
            node_id: config.node_id,
            cql: services.cql.clone(),
            postgres: services.postgres.clone(),
            redis: services.redis.clone(),
        };
        let store = Arc::new(ClusterStore::open(&options, Arc::clone(&config.clock))?);
        if kafka::is_empty(&services.kafka)?
            && let Err(error) = store.note_empty_log()
        {
            // Without it claims are looked up in the store as well for a week, which only costs.
            tracing::warn!(%error, "Redis is not there at the first start");
        }
        let (node_id, data_dir) = (config.node_id, config.data_dir.clone());
        let placement = Arc::new(SharedPlacement::new(found.0.placement.clone()));
        let (mut lease, mut log) = (None, None);
        let open_log = |acks, feed| {
            // The data directory is this process's from here on, and nothing has an id yet.
            lease = Some(Lease::take(
                &services.redis,
                node_id,
                &data_dir,
                store.runtime(),
            )?);
            let opened = Arc::new(kafka::open(services.kafka.clone(), acks, feed)?);
            Ok(Arc::clone(log.insert(opened)) as Arc<dyn Log>)
        };
        let shared: Arc<dyn Store> = Arc::clone(&store) as _;
        let learning = Arc::clone(&placement);
        let router = rookery_router::start_shared(config, outlet, shared, placement, open_log)?;
        let lease = lease.context("the log was not opened")?;
        let log = log.context("the log was not opened")?;
        let looking = Looking::new(services, found, log, Arc::clone(&store), learning)?;
        let watch = Watch::start(looking).context("cannot start the watch over log and store")?;
        let cluster = Self {
            store,
            watch,
            lease,
            node_id,
        };
        Ok((router, cluster))
    }

    /// Starts the directory's thread. Clients are heard of at least every `heard_every`.
    pub(super) fn directory(
        &self,
        services: &Services,
        heard_every: Duration,
    ) -> anyhow::Result<Directory> {
        // An entry outlives one note that was dropped.
        let ttl = USER_TTL.max(2 * heard_every);
        let drivers = Drivers {
            runtime: self.store.runtime().clone(),
            directory: redis::Directory::new(&services.redis, self.node_id)?.with_ttl(ttl),
            postgres: self.store.postgres().clone(),
        };
        Directory::start(drivers).context("cannot start the directory's thread")
    }

    /// Looks after the node id. An error: another living process has it, and two that give ids under one
    /// would give the same ones.
    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        self.lease.look(self.store.runtime())
    }

    /// Gives the node id back; after the router was closed.
    pub(super) fn close(self) {
        drop(self.watch);
        match self.lease {
            Lease::Held(node) => {
                if let Err(error) = self.store.runtime().block_on(node.release()) {
                    tracing::warn!(%error, "the node id was not given back; it runs out");
                }
            }
            Lease::Sought(seeking) => seeking.abort(),
        }
    }
}

/// This host's number among its peers, leased in Redis.
enum Lease {
    Held(Box<Node>),
    /// Redis was away at the start: taken as soon as it can be asked.
    Sought(JoinHandle<Result<Node, StoreError>>),
}

impl Lease {
    /// The caller holds the data directory.
    fn take(
        options: &redis::Options,
        node_id: u16,
        data_dir: &std::path::Path,
        runtime: &Handle,
    ) -> Result<Self, LogError> {
        let wrong = |error: StoreError| LogError::Options(error.to_string());
        let instance = Instance::of_dir(data_dir).map_err(wrong)?;
        match runtime.block_on(Node::take(options, node_id, &instance, runtime)) {
            Ok(node) => Ok(Self::Held(Box::new(node))),
            Err(error @ StoreError::Away { .. }) => {
                tracing::warn!(%error, node_id, "nobody can tell yet whether another process has this node id");
                let (options, handle) = (options.clone(), runtime.clone());
                let seek = async move { seek(&options, node_id, &instance, &handle).await };
                Ok(Self::Sought(runtime.spawn(seek)))
            }
            Err(error) => Err(wrong(error)),
        }
    }

    fn look(&mut self, runtime: &Handle) -> anyhow::Result<()> {
        match self {
            Self::Held(node) if node.is_taken() => anyhow::bail!(
                "another process took this host's node id while Redis did not hear of this one; give \
                 every host a `router.node_id` of its own"
            ),
            Self::Sought(seeking) if seeking.is_finished() => {
                *self = Self::Held(Box::new(runtime.block_on(seeking)??));
                tracing::info!("the node id is this process's");
            }
            Self::Held(_) | Self::Sought(_) => {}
        }
        Ok(())
    }
}

/// Takes the node id once Redis can be asked.
async fn seek(
    options: &redis::Options,
    node_id: u16,
    instance: &Instance,
    runtime: &Handle,
) -> Result<Node, StoreError> {
    loop {
        match Node::take(options, node_id, instance, runtime).await {
            Err(StoreError::Away { .. }) => tokio::time::sleep(SEEK_PAUSE).await,
            done => return done,
        }
    }
}

/// The directory's way to the services.
struct Drivers {
    runtime: Handle,
    directory: redis::Directory,
    postgres: Postgres,
}

impl Places for Drivers {
    fn here(&mut self, users: &[u64]) -> Result<(), String> {
        let done = self.runtime.block_on(self.directory.refresh(users));
        done.map_err(|error| error.to_string())
    }

    fn gone(&mut self, users: &[u64]) -> Result<(), String> {
        let done = self.runtime.block_on(self.directory.gone(users));
        done.map_err(|error| error.to_string())
    }

    fn devices(&mut self, devices: &[(u64, u32, u64)]) -> Result<(), String> {
        let done = self.runtime.block_on(self.postgres.touch_devices(devices));
        done.map_err(|error| error.to_string())
    }
}
