//! Whether a store was made from the log that is there: what each says of itself, held against the other.
//! Pure; the log and the store are asked elsewhere.
//!
//! A log is a random number, in the first record of each of its partitions (the genesis). A store has the
//! number of the log that it is filled from, one of its own, and the partition counts by epoch. The
//! invariant: a store never takes a record of another log, and nobody puts a record where the store's
//! edges do not look for it.

use crate::placement::Placement;
use crate::record::Genesis;

/// What a store knows of itself and of its log. `rookery migrate` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The log that it is filled from.
    pub log_id: u64,
    /// Its own number: a keyspace that was dropped and made again is another store.
    pub store_id: u64,
    /// The partitions by epoch.
    pub placement: Placement,
}

/// What stands at the beginning of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing was ever appended.
    Nothing,
    /// A genesis.
    Genesis(Genesis),
    /// The record at offset 0 is something else.
    Foreign,
    /// The beginning was deleted: nobody can tell.
    Gone,
}

/// The beginnings of a topic's partitions, by number.
pub type Firsts = [First];

/// What is wrong, in a sentence, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {advice}")]
pub struct Mismatch {
    /// The sentence, without its full stop.
    pub what: String,
    /// What the operator can do.
    pub advice: &'static str,
}

fn wrong(what: String, advice: &'static str) -> Mismatch {
    Mismatch { what, advice }
}

const OTHER_LOG: &str = "Go back to the brokers and the topic_prefix that this keyspace was filled from, or \
                         name another keyspace: `rookery migrate` fills it from what this topic has";
const FOREIGN: &str =
    "Was it made by a version of before, or by hand? Use another topic_prefix and keyspace";
const FEWER: &str = "A topic cannot lose partitions, so it was made anew: bring the old one back, or name \
                     another keyspace";
const NOT_MIGRATED: &str = "Run `rookery migrate` with the same configuration";

/// Whose log a topic is; nothing where it has no record yet. An error where its partitions disagree.
pub fn log_id(topic: &str, firsts: &Firsts) -> Result<Option<u64>, Mismatch> {
    let mut found: Option<u64> = None;
    for (number, first) in (0_u32..).zip(firsts) {
        match first {
            First::Nothing | First::Gone => {}
            First::Foreign => {
                let what = format!(
                    "partition {number} of {topic} begins with a record that is no genesis of ours"
                );
                return Err(wrong(what, FOREIGN));
            }
            First::Genesis(genesis) if genesis.partition != number => {
                let of = genesis.partition;
                let what = format!(
                    "partition {number} of {topic} begins with the genesis of partition {of}: the \
                     topic was copied"
                );
                return Err(wrong(what, FOREIGN));
            }
            First::Genesis(genesis) => match found {
                Some(id) if id != genesis.log_id => {
                    let what = format!(
                        "{topic} is put together from the logs {id:016x} and {:016x}",
                        genesis.log_id
                    );
                    return Err(wrong(what, FOREIGN));
                }
                _ => found = Some(genesis.log_id),
            },
        }
    }
    Ok(found)
}

/// The partition counts by epoch that a topic's geneses tell; shorter than the truth where beginnings were
/// deleted. The genesis of the first partition of each epoch has the epoch's count.
pub fn counts(firsts: &Firsts) -> Vec<u32> {
    let mut counts: Vec<u32> = Vec::new();
    loop {
        let begun = counts.last().copied().unwrap_or(0);
        match firsts.get(begun as usize) {
            Some(First::Genesis(genesis)) if genesis.partitions > begun => {
                counts.push(genesis.partitions);
            }
            _ => return counts,
        }
    }
}

/// Whether a store may be filled from a topic; and a warning where partitions were added that nobody
/// uses. `stored` is none where the keyspace has no identity.
pub fn compare(
    topic: &str,
    firsts: &Firsts,
    keyspace: &str,
    stored: Option<&Identity>,
) -> Result<Option<Mismatch>, Mismatch> {
    let Some(stored) = stored else {
        let what =
            format!("the keyspace {keyspace} does not know its log: it is new, or was made anew");
        return Err(wrong(what, NOT_MIGRATED));
    };
    let found = log_id(topic, firsts).map_err(|mismatch| {
        let what = format!(
            "the keyspace {keyspace} was filled from the log {:016x}, and {}: it was made anew",
            stored.log_id, mismatch.what
        );
        wrong(what, OTHER_LOG)
    })?;
    match found {
        Some(id) if id != stored.log_id => {
            let what = format!(
                "the keyspace {keyspace} was filled from the log {:016x}, and {topic} is the log {id:016x}: \
                 another cluster or topic_prefix, or the topic was made anew",
                stored.log_id
            );
            return Err(wrong(what, OTHER_LOG));
        }
        Some(_) => {}
        None if firsts.contains(&First::Gone) => {}
        None => {
            let what = format!(
                "the keyspace {keyspace} was filled from the log {:016x}, and {topic} is empty: it was made \
                 anew, or is another cluster's",
                stored.log_id
            );
            return Err(wrong(what, OTHER_LOG));
        }
    }
    let known = stored.placement.partitions();
    let has = firsts.len();
    if has < known as usize {
        let what =
            format!("{topic} has {has} partitions, and the keyspace {keyspace} knows {known}");
        return Err(wrong(what, FEWER));
    }
    let used = firsts.get(..known as usize).unwrap_or_default();
    if let Some(number) = used.iter().position(|first| *first == First::Nothing) {
        let what = format!("partition {number} of {topic} is empty: it was made anew");
        return Err(wrong(what, OTHER_LOG));
    }
    Ok((has > known as usize).then(|| {
        let what = format!(
            "{topic} has {has} partitions, and {known} of them are used: somebody added the others"
        );
        wrong(what, "`rookery migrate --partitions` takes them into use")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genesis(log_id: u64, partition: u32, partitions: u32) -> First {
        First::Genesis(Genesis {
            log_id,
            partition,
            partitions,
        })
    }

    fn of(log_id: u64, counts: &[u32]) -> Vec<First> {
        let mut firsts = Vec::new();
        for partitions in counts {
            let next = firsts.len() as u32;
            firsts.extend((next..*partitions).map(|number| genesis(log_id, number, *partitions)));
        }
        firsts
    }

    fn identity(log_id: u64, counts: &[u32]) -> Identity {
        Identity {
            log_id,
            store_id: 1,
            placement: Placement::new(counts.to_vec()).unwrap(),
        }
    }

    fn said(firsts: &Firsts, stored: Option<&Identity>) -> String {
        match compare("t", firsts, "k", stored) {
            Ok(None) => String::new(),
            Ok(Some(warning)) => format!("warning: {warning}"),
            Err(mismatch) => mismatch.to_string(),
        }
    }

    #[test]
    fn a_store_takes_its_own_log_and_no_other() {
        let stored = identity(7, &[6]);
        assert_eq!(said(&of(7, &[6]), Some(&stored)), "");
        let other = said(&of(8, &[6]), Some(&stored));
        assert!(
            other.contains("from the log 0000000000000007, and t is the log 0000000000000008"),
            "{other}"
        );
        let anew = said(&[First::Nothing; 6], Some(&stored));
        assert!(anew.contains("t is empty"), "{anew}");
        assert!(said(&of(7, &[6]), None).contains("rookery migrate"));
        let mut written = [First::Nothing; 6];
        written[5] = First::Foreign;
        let anew = said(&written, Some(&stored));
        assert!(
            anew.contains("was filled from the log") && anew.contains("made anew"),
            "{anew}"
        );
        let fewer = said(&of(7, &[3]), Some(&stored));
        assert!(fewer.contains("has 3 partitions"), "{fewer}");
        // A beginning that retention took says nothing; one that is back at nothing does.
        let mut firsts = of(7, &[6]);
        firsts[2] = First::Gone;
        assert_eq!(said(&firsts, Some(&stored)), "");
        assert_eq!(said(&[First::Gone; 6], Some(&stored)), "");
        firsts[2] = First::Nothing;
        assert!(said(&firsts, Some(&stored)).contains("partition 2 of t is empty"));
    }

    #[test]
    fn partitions_that_somebody_added_are_a_warning_whatever_is_in_them_not_yet() {
        let stored = identity(7, &[6]);
        let mut firsts = of(7, &[6]);
        firsts.extend([First::Nothing; 6]);
        let more = said(&firsts, Some(&stored));
        assert!(
            more.starts_with("warning: t has 12 partitions, and 6 of them are used"),
            "{more}"
        );
        // Adopted, and this edge has not heard of it.
        let grown = said(&of(7, &[6, 12]), Some(&stored));
        assert!(grown.starts_with("warning: t has 12"), "{grown}");
        assert_eq!(said(&of(7, &[6, 12]), Some(&identity(7, &[6, 12]))), "");
    }

    #[test]
    fn a_topic_that_is_no_log_of_ours_is_refused() {
        let mixed = [genesis(7, 0, 2), genesis(8, 1, 2)];
        assert!(log_id("t", &mixed).is_err());
        assert!(log_id("t", &[genesis(7, 1, 2)]).is_err(), "copied");
        assert!(log_id("t", &[First::Foreign]).is_err());
        assert_eq!(log_id("t", &[First::Nothing, First::Gone]), Ok(None));
        assert_eq!(log_id("t", &of(7, &[2])), Ok(Some(7)));
    }

    #[test]
    fn the_epochs_are_told_by_the_geneses() {
        assert_eq!(counts(&of(7, &[6, 12, 60])), [6, 12, 60]);
        assert_eq!(counts(&[First::Nothing; 3]), [0; 0]);
        // A migration ended between the first genesis of an epoch and the others.
        let mut begun = of(7, &[6, 7]);
        begun[6] = genesis(7, 6, 12);
        begun.extend([First::Nothing; 5]);
        assert_eq!(counts(&begun), [6, 12]);
    }
}
