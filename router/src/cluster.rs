//! The router over Kafka, CQL, PostgreSQL and Redis: the distributed parts put together.

use std::sync::Arc;

use crate::api::Outlet;
use crate::log::kafka;
use crate::service::config::Config;
use crate::service::error::StartError;
use crate::service::{RouterHandle, start_shared};
use crate::store::StoreError;
use crate::store::cluster::{self, ClusterStore};

/// What the services are reached with.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The log.
    pub kafka: kafka::Options,
    /// Messages, conversations, claims.
    pub store: cluster::Options,
}

/// A router, and the store behind it for others who speak to the same services.
pub struct Cluster {
    /// Takes requests.
    pub router: RouterHandle,
    /// Lives at least as long as the router needs it.
    pub store: Arc<ClusterStore>,
}

/// Connects and serves. Kafka and CQL must be there at the start; from then on each service may come
/// and go. Blocks for some seconds at most.
pub fn start_cluster(
    config: Config,
    options: &ClusterOptions,
    outlet: Arc<dyn Outlet>,
) -> Result<Cluster, StartError> {
    let service = |error: StoreError| StartError::Service(error.to_string());
    let store = ClusterStore::open(&options.store, Arc::clone(&config.clock)).map_err(service)?;
    let store = Arc::new(store);
    if kafka::is_empty(&options.kafka).map_err(|error| StartError::Log(error.to_string()))? {
        // Without it claims are looked up in the store as well for a week, which only costs.
        if let Err(error) = store.note_empty_log() {
            tracing::warn!(%error, "Redis is not there at the first start");
        }
    }
    let kafka_options = options.kafka.clone();
    let router = start_shared(config, outlet, store.clone(), move |acks, feed| {
        let log = kafka::open(kafka_options, acks, feed)?;
        Ok(Arc::new(log))
    })?;
    Ok(Cluster { router, store })
}
