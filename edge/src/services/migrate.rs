//! Makes what the services lack: topics, the keyspace and its tables, the tables of PostgreSQL, and what
//! binds log and store. Each service first says what it lacks; nothing lacking is nothing done.

use anyhow::Context as _;
use rookery_router::log::kafka;
use rookery_router::postgres;
use rookery_router::store::cql;

use super::{Services, block_on, identity};

/// Something that is made, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub service: &'static str,
    /// What.
    pub what: String,
}

pub(super) fn step(service: &'static str, what: String) -> Step {
    Step { service, what }
}

/// What [`migrate`] would do. Changes nothing.
pub fn plan(services: &Services, grow_to: Option<u32>) -> anyhow::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let stored = identity::refuse(services, grow_to)?;
    for topic in kafka::missing(&services.kafka)? {
        steps.push(step("kafka", topic_text(services, &topic)));
    }
    let cql = block_on(cql::pending(&services.cql))?.context("cql")?;
    steps.extend(cql.iter().map(|name| step("cql", cql_text(services, name))));
    let tables = block_on(postgres::pending(&services.postgres))?.context("postgres")?;
    steps.extend(tables.into_iter().map(|name| step("postgres", name)));
    let known = stored.map(|stored| stored.placement.partitions());
    match (known, grow_to) {
        (None, _) => steps.push(step("cql", cql_text(services, "the log's id"))),
        (Some(known), Some(asked)) if asked > known => {
            let topic = services.kafka.messages();
            steps.push(step(
                "kafka",
                format!("{asked} partitions of {topic} in use, {known} before"),
            ));
        }
        _ => {}
    }
    Ok(steps)
}

/// Does it, telling each step that was done; an error where one cannot be. What was done before stays, and
/// the next run goes on from there.
pub fn migrate(
    services: &Services,
    grow_to: Option<u32>,
    mut done: impl FnMut(&Step),
) -> anyhow::Result<usize> {
    identity::refuse(services, grow_to)?;
    let mut count = 0;
    let mut tell = |step: Step| {
        count += 1;
        done(&step);
    };
    let topics = services.topics;
    let partitions = grow_to.unwrap_or(topics.partitions);
    for topic in kafka::ensure(&services.kafka, partitions, topics.replication)? {
        tell(step("kafka", topic_text(services, &topic)));
    }
    for name in block_on(cql::migrate(&services.cql))?.context("cql")? {
        tell(step("cql", cql_text(services, &name)));
    }
    for made in block_on(postgres::migrate(&services.postgres))?.context("postgres")? {
        tell(step("postgres", made));
    }
    identity::establish(services, grow_to, &mut tell)?;
    Ok(count)
}

fn topic_text(services: &Services, topic: &str) -> String {
    let super::Topics {
        partitions,
        replication,
    } = services.topics;
    let partitions = if topic == services.kafka.messages() {
        partitions
    } else {
        1
    };
    let count = |number: u32, name: &str| match number {
        1 => format!("1 {name}"),
        _ => format!("{number} {name}s"),
    };
    let (partitions, replicas) = (
        count(partitions, "partition"),
        count(replication, "replica"),
    );
    format!("topic {topic}, {partitions}, {replicas}")
}

fn cql_text(services: &Services, name: &str) -> String {
    format!("{name} in keyspace {}", services.cql.keyspace)
}
