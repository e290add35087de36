//! Which partitions cannot go on, since the topic does not have the offset that comes next: it was let
//! go before it was applied, or the topic is another one of the same name. Nothing is skipped by itself.

use std::ops::RangeInclusive;
use std::time::Duration;

use rdkafka::Offset as At;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::rebalance::Group;

/// A sentence for each that is stuck. One that only did not know where to begin is set going.
pub(super) fn find(
    consumer: &BaseConsumer<Group>,
    group: &Group,
    timeout: Duration,
) -> KafkaResult<Vec<String>> {
    let mut sentences = Vec::new();
    let committed = consumer.committed(timeout)?;
    let position = consumer.position()?;
    for element in committed.elements() {
        let partition = element.partition();
        let read = position.find_partition(&group.topic, partition);
        let read = read.and_then(|read| offset(read.offset()));
        let (low, high) = consumer.fetch_watermarks(&group.topic, partition, timeout)?;
        match verdict(read, offset(element.offset()), low..=high) {
            Verdict::Goes => {}
            Verdict::Stuck(next) => sentences.push(format!(
                "partition {partition} goes on at offset {next}, and the topic has {low} to {high}"
            )),
            Verdict::Begin(next) => {
                let begin = group.list(&[(u32::try_from(partition).unwrap_or_default(), next)])?;
                consumer.incremental_unassign(&begin)?;
                consumer.incremental_assign(&begin)?;
            }
        }
    }
    Ok(sentences)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Goes,
    /// At this offset, which the topic does not have.
    Stuck(i64),
    /// Nothing was read yet, and it can begin here.
    Begin(At),
}

/// `read` is the next to be read where anything was read since the partition came.
fn verdict(read: Option<i64>, committed: Option<i64>, has: RangeInclusive<i64>) -> Verdict {
    match (read, committed) {
        (Some(next), _) | (None, Some(next)) if !has.contains(&next) => Verdict::Stuck(next),
        (Some(_), _) => Verdict::Goes,
        (None, Some(next)) => Verdict::Begin(At::Offset(next)),
        (None, None) => Verdict::Begin(At::Beginning),
    }
}

fn offset(at: At) -> Option<i64> {
    match at {
        At::Offset(offset) => Some(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_skipped() {
        assert_eq!(
            verdict(None, Some(5), 9..=20),
            Verdict::Stuck(5),
            "let go too early"
        );
        assert_eq!(
            verdict(None, Some(30), 0..=20),
            Verdict::Stuck(30),
            "another topic"
        );
        assert_eq!(
            verdict(Some(25), Some(5), 0..=20),
            Verdict::Stuck(25),
            "cut off"
        );
        assert_eq!(
            verdict(None, None, 9..=20),
            Verdict::Begin(At::Beginning),
            "a fresh group"
        );
        assert_eq!(
            verdict(None, Some(20), 9..=20),
            Verdict::Begin(At::Offset(20))
        );
        assert_eq!(verdict(Some(12), Some(5), 9..=20), Verdict::Goes);
    }
}
