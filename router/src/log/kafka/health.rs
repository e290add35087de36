//! What is wrong with the brokers right now, as far as our own clients have noticed: said once in the
//! log when it begins and when it ends, and readable meanwhile. Not here: [`check`](super::check), which
//! asks the brokers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::problem::Problem;

/// The name of this service in a [`Problem`].
pub(super) const SERVICE: &str = "kafka";

/// A kind of trouble, of which there is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// No broker answers. Ends by itself.
    Unreachable,
    /// The brokers do not take our name and password.
    Credentials,
    /// They do not let us write, read or join the group.
    Forbidden,
    /// There is no such topic.
    NoTopic,
    /// The topic is not the log that the store was made from.
    Mismatch,
    /// A record that cannot be applied cannot be kept either.
    DeadLetters,
    /// The client takes no more until the process is started again.
    Fatal,
}

impl Trouble {
    /// What an error of librdkafka amounts to; nothing for the many that it mends by itself.
    pub(super) fn of(code: Code) -> Option<Self> {
        match code {
            Code::AllBrokersDown => Some(Self::Unreachable),
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Some(Self::Credentials),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => Some(Self::Forbidden),
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                Some(Self::NoTopic)
            }
            Code::Fatal | Code::Fenced | Code::FencedInstanceId | Code::ProducerFenced => {
                Some(Self::Fatal)
            }
            _ => None,
        }
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "Start the brokers, or mend the way to them; this process goes on by itself then."
            }
            Self::Credentials => {
                "Check username and password in [kafka], and that the listener's mechanism is PLAIN."
            }
            Self::Forbidden => {
                "Allow this user to write and read the topics of the prefix and to use its group \
                 (kafka-acls.sh)."
            }
            Self::NoTopic => "Make the topics: `rookery migrate`.",
            Self::Mismatch => {
                "Stop all edges. Bring back the topic that the store was filled from, or use another \
                 keyspace, which `rookery migrate` fills from what the topic has (docs/deploy/changes.md)."
            }
            Self::DeadLetters => {
                "Look at the dead-letters topic of the prefix: it must exist and take this user's \
                 records."
            }
            Self::Fatal => {
                "Start this process again. With group_instance set, make sure that no two processes \
                 bear the same."
            }
        }
    }
}

/// What is wrong now.
#[derive(Debug, Default)]
pub(super) struct Health {
    troubles: Mutex<BTreeMap<Trouble, String>>,
    /// Whether there is any, so that the many good events cost nothing.
    any: AtomicBool,
    /// Why the process must end.
    ended: OnceLock<String>,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Trouble, String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is wrong; says so in the log where it was not known.
    pub(super) fn note(&self, trouble: Trouble, what: &str) {
        let before = self.lock().insert(trouble, what.to_owned());
        self.any.store(true, Ordering::Release);
        if trouble == Trouble::Fatal {
            drop(self.ended.set(format!("{what}. {}", trouble.advice())));
        }
        if before.is_none() {
            tracing::error!(what, advice = trouble.advice(), "kafka");
        }
    }

    /// An error that librdkafka tells.
    pub(super) fn note_code(&self, code: Code, reason: &str) {
        match Trouble::of(code) {
            Some(trouble) => self.note(trouble, reason),
            None => tracing::debug!(?code, reason, "kafka"),
        }
    }

    /// The process must end: going on would lose what was acked. The first reason is kept.
    pub(super) fn end(&self, trouble: Trouble, what: String) {
        self.end_for(trouble, &what, trouble.advice());
    }

    /// The same, with an advice of its own.
    pub(super) fn end_for(&self, trouble: Trouble, what: &str, advice: &str) {
        self.note(trouble, what);
        drop(self.ended.set(format!("{what}. {advice}")));
    }

    /// Why it must end, and what to do; none while it may go on.
    pub(super) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    /// It is over.
    pub(super) fn clear(&self, over: &[Trouble]) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut troubles = self.lock();
        for trouble in over {
            if let Some(what) = troubles.remove(trouble) {
                tracing::info!(what, "kafka: that is over");
            }
        }
        self.any.store(!troubles.is_empty(), Ordering::Release);
    }

    /// A broker answered something.
    pub(super) fn reached(&self) {
        self.clear(&[Trouble::Unreachable, Trouble::Credentials]);
    }

    pub(super) fn is_well(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// All that is wrong.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.lock()
            .iter()
            .map(|(trouble, what)| Problem {
                service: SERVICE,
                fatal: *trouble != Trouble::Unreachable,
                what: what.clone(),
                advice: trouble.advice().into(),
            })
            .collect()
    }
}

/// The code within an error, where it has one.
pub(super) fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

/// A line of librdkafka's own log. What matters of it comes as an error too, so it is for those who debug.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, line);
        }
        _ => tracing::debug!(target: "librdkafka", facility, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_itself_is_no_trouble() {
        for code in [
            Code::BrokerTransportFailure,
            Code::NotLeaderForPartition,
            Code::RebalanceInProgress,
            Code::CoordinatorNotAvailable,
            Code::RequestTimedOut,
        ] {
            assert_eq!(Trouble::of(code), None, "{code:?}");
        }
    }

    #[test]
    fn a_client_that_takes_no_more_ends_the_process_whoever_says_it() {
        for code in [Code::Fatal, Code::FencedInstanceId] {
            let health = Health::default();
            health.note_code(Code::AllBrokersDown, "3/3 brokers are down");
            assert_eq!(health.ended(), None, "they may come back");
            health.note_code(code, "fenced by another instance");
            assert!(health.ended().is_some_and(|why| why.starts_with("fenced")));
        }
    }

    #[test]
    fn a_trouble_stands_until_it_is_over() {
        let health = Health::default();
        assert!(health.is_well());
        health.note_code(Code::AllBrokersDown, "3/3 brokers are down");
        health.end(Trouble::Mismatch, "partition 3".into());
        health.end(Trouble::Fatal, "and then some".into());
        health.note_code(Code::NotCoordinator, "nothing");
        let fatal: Vec<bool> = health.problems().iter().map(|p| p.fatal).collect();
        assert_eq!(
            fatal,
            [false, true, true],
            "brokers may come back, records not"
        );
        health.reached();
        assert!(
            health
                .ended()
                .is_some_and(|why| why.starts_with("partition 3. Stop all"))
                && health.problems().len() == 2
        );
        health.clear(&[Trouble::Mismatch, Trouble::Fatal]);
        assert!(health.is_well() && health.problems().is_empty());
    }
}
