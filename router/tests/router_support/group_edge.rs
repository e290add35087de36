//! An edge among others: a router over the log and the store that they share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rookery_router::log::Partition;
use rookery_router::store::Store;
use rookery_router::{Config, RouterHandle, start_shared};
use rookery_wire::proto;
use tempfile::TempDir;

use super::group_log::{Brokers, GroupLog, PARTITIONS};
use super::group_store::{GroupStore, Services};
use super::{Client, HandClock, Mailbox, PATIENCE, config};

/// One edge: a router, its end of the log, its clients' mailbox.
pub struct Edge {
    pub router: RouterHandle,
    pub log: Arc<GroupLog>,
    pub mailbox: Arc<Mailbox>,
    _dir: TempDir,
}

impl Edge {
    pub fn start(node_id: u16, brokers: &Arc<Brokers>, services: &Arc<Services>) -> Edge {
        Edge::start_with(node_id, brokers, services, &|_| {})
    }

    pub fn start_at(
        clock: Arc<HandClock>,
        node_id: u16,
        brokers: &Arc<Brokers>,
        services: &Arc<Services>,
    ) -> Edge {
        Edge::start_with(node_id, brokers, services, &|config| {
            config.clock = clock.clone();
        })
    }

    pub fn start_with(
        node_id: u16,
        brokers: &Arc<Brokers>,
        services: &Arc<Services>,
        with: &dyn Fn(&mut Config),
    ) -> Edge {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.node_id = node_id;
        config.clock = HandClock::new();
        config.persist_interval = Duration::from_millis(20);
        // What is refused while the store is away should be so soon.
        config.close_grace = Duration::from_secs(5);
        with(&mut config);
        let mailbox = Mailbox::new();
        let store: Arc<dyn Store> = GroupStore::new(services, node_id);
        let mut log = None;
        let router = start_shared(
            config,
            mailbox.clone(),
            store,
            Brokers::placement(),
            |acks, feed| Ok(log.insert(GroupLog::open(brokers, acks, feed)).clone()),
        )
        .unwrap();
        Edge {
            router,
            log: log.unwrap(),
            mailbox,
            _dir: dir,
        }
    }

    pub fn client(&self, user_id: u64) -> Client {
        Client::new(&self.router, &self.mailbox, user_id)
    }
}

pub fn all() -> Vec<Partition> {
    (0..PARTITIONS).map(Partition).collect()
}

/// Time passes for an edge and for the services.
pub fn pass(clock: &HandClock, services: &Services, ms: u64) {
    services.now_ms.fetch_add(ms, Ordering::SeqCst);
    clock.pass(ms);
}

/// Waits until so many messages are stored in all.
#[allow(
    clippy::disallowed_methods,
    reason = "a store tells nobody what it has"
)]
pub fn wait_stored(services: &Services, conversations: &[u64], messages: usize) {
    let end = Instant::now() + PATIENCE;
    loop {
        let stored: usize = conversations
            .iter()
            .map(|&id| services.messages(id).len())
            .sum();
        if stored >= messages {
            return;
        }
        assert!(Instant::now() < end, "{stored} of {messages} stored");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn assert_seqs_dense(messages: &[proto::Deliver]) {
    let seqs: Vec<u64> = messages.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let keys: HashSet<_> = messages
        .iter()
        .map(|message| (message.sender_user_id, message.client_msg_id))
        .collect();
    assert_eq!(keys.len(), messages.len(), "a message is there twice");
}
