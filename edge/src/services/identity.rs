//! Makes a log and a store know each other, adds partitions, and says whether they do.
//!
//! Kafka decides between two who do it at once: what stands at the beginning of a partition was there
//! first, and the other goes on with it. The store's rows follow from that, so both write the same.

use std::hash::{BuildHasher, Hasher, RandomState};

use anyhow::Context as _;
use rookery_router::identity::{self, First, Identity, Mismatch};
use rookery_router::log::kafka::{self, Beginnings};
use rookery_router::placement::{EPOCHS_MAX, Placement};
use rookery_router::record::Genesis;
use rookery_router::store::cql;

use super::migrate::{Step, step};
use super::{Services, block_on};

/// Refuses where the services' log and store are not each other's; gives a warning where partitions are
/// not used. Blocks for some seconds.
pub fn compare(services: &Services) -> anyhow::Result<(Identity, Option<Mismatch>)> {
    let stored = block_on(cql::identity(&services.cql))?.context("cql")?;
    let firsts = Beginnings::new(&services.kafka)?.all()?;
    let (topic, keyspace) = (services.kafka.messages(), &services.cql.keyspace);
    let warning = identity::compare(&topic, &firsts, keyspace, stored.as_ref())?;
    Ok((stored.context("the keyspace has no identity")?, warning))
}

/// Refuses to make topics for a store that is filled from others already, and fewer partitions.
pub(super) fn refuse(
    services: &Services,
    grow_to: Option<u32>,
) -> anyhow::Result<Option<Identity>> {
    let stored = block_on(cql::identity(&services.cql))?.context("cql")?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let topic = services.kafka.messages();
    if kafka::missing(&services.kafka)?.contains(&topic) {
        anyhow::bail!(
            "the keyspace {} was filled from the log {:016x}, and there is no topic {topic}. Go back to the \
             brokers and the topic_prefix that it was filled from, or name another keyspace",
            services.cql.keyspace,
            stored.log_id
        );
    }
    let known = stored.placement.partitions();
    if let Some(asked) = grow_to.filter(|asked| *asked < known) {
        anyhow::bail!(
            "{topic} has {known} partitions in use, and {asked} are fewer: they only grow"
        );
    }
    Ok(Some(stored))
}

/// The log of the topic, as far as it is made.
struct Making<'a> {
    services: &'a Services,
    topic: String,
    beginnings: Beginnings,
    firsts: Vec<First>,
}

/// Does it: geneses, new partitions and theirs, then the store's rows.
pub(super) fn establish(
    services: &Services,
    grow_to: Option<u32>,
    tell: &mut dyn FnMut(Step),
) -> anyhow::Result<()> {
    let stored = refuse(services, grow_to)?;
    let beginnings = Beginnings::new(&services.kafka)?;
    let mut making = Making {
        services,
        topic: services.kafka.messages(),
        firsts: beginnings.all()?,
        beginnings,
    };
    let keyspace = &services.cql.keyspace;
    if let Some(stored) = &stored {
        identity::compare(&making.topic, &making.firsts, keyspace, Some(stored))?;
    }
    let is_new = making.firsts.iter().all(|first| *first == First::Nothing);
    let log_id = making.log_id(stored.as_ref())?;
    let mut counts = making.counts(log_id, stored.as_ref())?;
    if let Some(asked) = grow_to {
        while counts.last().is_some_and(|known| *known < asked) {
            counts.push(making.grow(log_id, &counts, asked, tell)?);
        }
    }
    let identity = Identity {
        log_id,
        store_id: stored
            .as_ref()
            .map_or_else(random, |stored| stored.store_id),
        placement: Placement::new(counts)?,
    };
    if stored.as_ref() == Some(&identity) {
        return Ok(());
    }
    block_on(cql::write_identity(&services.cql, &identity))?.context("cql")?;
    let partitions = identity.placement.partitions();
    tell(step(
        "cql",
        match (&stored, is_new) {
            (Some(_), _) => format!("{partitions} partitions in keyspace {keyspace}"),
            (None, true) => format!("log {log_id:016x} in keyspace {keyspace}"),
            (None, false) => format!(
                "log {log_id:016x} in keyspace {keyspace}, which edges fill from the log's beginning"
            ),
        },
    ));
    Ok(())
}

impl Making<'_> {
    /// Whose log it is; it is made where it is nobody's.
    fn log_id(&mut self, stored: Option<&Identity>) -> anyhow::Result<u64> {
        if self.firsts.first() == Some(&First::Nothing) {
            let partitions = self.firsts.len() as u32;
            let log_id = identity::log_id(&self.topic, &self.firsts)?.unwrap_or_else(random);
            self.begin(Genesis {
                log_id,
                partition: 0,
                partitions,
            })?;
        }
        let found = identity::log_id(&self.topic, &self.firsts)?;
        found.or(stored.map(|stored| stored.log_id)).with_context(|| {
            format!(
                "the beginning of {} was deleted, so a new keyspace cannot be filled from it: use the \
                 keyspace of before, or another topic_prefix",
                self.topic
            )
        })
    }

    /// The epochs that were begun, each completed.
    fn counts(&mut self, log_id: u64, stored: Option<&Identity>) -> anyhow::Result<Vec<u32>> {
        let told = identity::counts(&self.firsts);
        let known = stored.map_or(&[][..], |stored| stored.placement.counts());
        let counts = match told.len() > known.len() {
            true => told.clone(),
            false => known.to_vec(),
        };
        anyhow::ensure!(
            counts.starts_with(&told) && counts.starts_with(known),
            "{} tells of {told:?} partitions by epoch, and the keyspace {} of {known:?}: it is of another \
             log; name another keyspace",
            self.topic,
            self.services.cql.keyspace
        );
        for epoch in 0..counts.len() {
            self.complete(log_id, &counts[..=epoch])?;
        }
        Ok(counts)
    }

    /// Another epoch, of so many partitions or what somebody else asked for just before.
    fn grow(
        &mut self,
        log_id: u64,
        counts: &[u32],
        asked: u32,
        tell: &mut dyn FnMut(Step),
    ) -> anyhow::Result<u32> {
        let known = counts.last().copied().unwrap_or(0);
        let (topic, has) = (&self.topic, self.firsts.len() as u32);
        anyhow::ensure!(
            counts.len() < EPOCHS_MAX,
            "partitions of {topic} were added {} times, as often as a conversation's id can tell apart; a \
             new topic_prefix and keyspace begin again",
            counts.len() - 1
        );
        anyhow::ensure!(
            asked >= has,
            "{topic} has {has} partitions, of which {known} are used; say --partitions {has} or more"
        );
        if asked > has {
            kafka::grow(&self.services.kafka, asked)?;
            tell(step(
                "kafka",
                format!("{} partitions of {topic}", asked - has),
            ));
            self.firsts = self.beginnings.all()?;
        }
        // What is there already is of a migration that runs as well, or ended half-way.
        identity::log_id(&self.topic, &self.firsts)?;
        self.begin(Genesis {
            log_id,
            partition: known,
            partitions: asked,
        })?;
        let Some(First::Genesis(begun)) = self.firsts.get(known as usize).copied() else {
            anyhow::bail!(
                "partition {known} of {} does not show its genesis",
                self.topic
            );
        };
        let counts = [counts, &[begun.partitions]].concat();
        self.complete(log_id, &counts)?;
        Ok(begun.partitions)
    }

    /// Writes the geneses that the newest of these epochs lacks.
    fn complete(&mut self, log_id: u64, counts: &[u32]) -> anyhow::Result<()> {
        let (newest, before) = match counts {
            [.., before, newest] => (*newest, *before),
            [only] => (*only, 0),
            [] => return Ok(()),
        };
        let lacks = |number: &u32| self.firsts.get(*number as usize) == Some(&First::Nothing);
        let lacking = (before..newest).filter(lacks);
        let geneses: Vec<Genesis> = lacking
            .map(|partition| Genesis {
                log_id,
                partition,
                partitions: newest,
            })
            .collect();
        if !geneses.is_empty() {
            kafka::write_geneses(&self.services.kafka, &geneses)?;
            self.firsts = self.beginnings.all()?;
            identity::log_id(&self.topic, &self.firsts)?;
        }
        Ok(())
    }

    /// Writes the first record of a partition, where there is none, and looks what it is now.
    fn begin(&mut self, genesis: Genesis) -> anyhow::Result<()> {
        let number = genesis.partition as usize;
        if self.firsts.get(number) == Some(&First::Nothing) {
            kafka::write_geneses(&self.services.kafka, &[genesis])?;
            self.firsts = self.beginnings.all()?;
        }
        Ok(())
    }
}

/// Unguessable, so that no two logs or stores have the same.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
