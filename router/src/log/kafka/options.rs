//! What an operator may choose about the Kafka log, with defaults and their reasons, and the settings of
//! librdkafka that follow. What the promise rests on (acks, idempotence, who commits) is not a choice.

use std::fmt;

use rdkafka::ClientConfig;

use crate::log::LogError;
use crate::tls::Tls;

/// The greatest value of librdkafka's own bounds.
const LIMIT: usize = i32::MAX as usize;

/// How the log is reached and how it behaves. The defaults suit brokers in the same region.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port` of some brokers; the rest are found through them. Two or three, so that one may be
    /// away at the start.
    pub brokers: Vec<String>,
    /// For SASL PLAIN; without it the brokers are not logged in to.
    pub username: Option<String>,
    /// For SASL PLAIN.
    pub password: Option<String>,
    /// How connections are encrypted; absent: not at all. librdkafka reads the files itself and holds brokers
    /// to the names that they advertise: no other name can be told. Needs the feature `kafka-tls`.
    pub tls: Option<Tls>,
    /// Names the topics (`<prefix>.messages`, `<prefix>.dead-letters`).
    pub topic_prefix: String,
    /// The store that is filled from them. Each has a consumer group of its own
    /// (`<prefix>.appliers.<keyspace>`), and all records.
    pub keyspace: String,
    /// A name of this process that outlives it (`group.instance.id`): a restart within the session's
    /// timeout keeps its partitions, and nobody else takes them over meanwhile. Absent, a process that
    /// leaves hands its partitions on at once.
    pub group_instance: Option<String>,
    /// How long a record waits for others to share its request, in ms. Brokers take requests of many
    /// records far better; the sender waits as much longer. See the example `kafka_linger`.
    pub linger_ms: u32,
    /// From the append until it is answered [`TimedOut`](crate::log::AppendError::TimedOut), in ms. Long
    /// enough for a partition to get another leader (seconds), short enough for a sender to wait.
    pub delivery_timeout_ms: u32,
    /// The longest body. Topics take 1 MiB by default.
    pub record_bytes_max: usize,
    /// Records that wait for their answer at most.
    pub queue_records_max: usize,
    /// Bytes of records that wait for their answer at most.
    pub queue_bytes_max: usize,
    /// A consumer that is silent for so long is thought dead, and its partitions go to another, in ms.
    /// Brokers take 6,000 to 1,800,000 by default. How long delivery stands still when a process dies.
    pub session_timeout_ms: u32,
    /// How long partitions that go to another process wait for what was fed of them to be applied and
    /// committed, in ms. The whole group waits for it.
    pub revoke_wait_ms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            username: None,
            password: None,
            tls: None,
            topic_prefix: "rookery".into(),
            keyspace: "rookery".into(),
            group_instance: None,
            linger_ms: 5,
            delivery_timeout_ms: 10_000,
            record_bytes_max: 256 << 10,
            queue_records_max: 64 << 10,
            queue_bytes_max: 64 << 20,
            session_timeout_ms: 10_000,
            revoke_wait_ms: 10_000,
        }
    }
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("brokers", &self.brokers)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .field("topic_prefix", &self.topic_prefix)
            .field("group_instance", &self.group_instance)
            .finish_non_exhaustive()
    }
}

/// The smallest number of bytes that librdkafka takes for `message.max.bytes`.
const MESSAGE_BYTES_MIN: usize = 1000;
/// What a record takes of a request besides its body: key, headers and the batch around it.
const FRAMING_BYTES: usize = 1 << 10;
/// The longest that librdkafka and the brokers may be asked to take.
const RECORD_BYTES_MAX: usize = 64 << 20;

impl Options {
    /// The topic of all messages.
    #[must_use]
    pub fn messages(&self) -> String {
        format!("{}.messages", self.topic_prefix)
    }

    /// The topic of records that cannot be applied.
    #[must_use]
    pub fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.topic_prefix)
    }

    /// The consumer group.
    #[must_use]
    pub fn group(&self) -> String {
        format!("{}.appliers.{}", self.topic_prefix, self.keyspace)
    }

    /// How the log is named in errors.
    pub(super) fn service(&self) -> String {
        format!("kafka ({})", self.brokers.join(", "))
    }

    /// Refuses what cannot work, before anybody is called.
    pub fn check(&self) -> Result<(), LogError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let wrong = |what: String| Err(LogError::Options(what));
        if self.brokers.is_empty() || self.brokers.iter().any(|broker| !has_port(broker)) {
            return wrong("brokers is a list of at least one host:port".into());
        }
        // Kafka's bound is 249 characters; the longest suffix is 13.
        if !(1..=200).contains(&self.topic_prefix.len()) || !self.topic_prefix.chars().all(legal) {
            return wrong(
                "topic_prefix is 1 to 200 letters, digits, dots, hyphens and underscores".into(),
            );
        }
        if self.username.is_some() != self.password.is_some() {
            return wrong("username and password come together".into());
        }
        if self.tls.is_some() && !cfg!(feature = "kafka-tls") {
            return wrong(
                "tls is set, and this program was built without it: build it with the feature \
                 kafka-tls, or use a listener of the brokers without TLS on a network of their own"
                    .into(),
            );
        }
        if self.delivery_timeout_ms < 100 || self.linger_ms >= self.delivery_timeout_ms {
            return wrong("delivery_timeout_ms is at least 100, and more than linger_ms".into());
        }
        if !(1..=1_800_000).contains(&self.session_timeout_ms) {
            return wrong("session_timeout_ms is 1 to 1,800,000".into());
        }
        if self.revoke_wait_ms > MAX_POLL_INTERVAL_MS / 2 {
            return wrong(format!(
                "revoke_wait_ms is at most {}",
                MAX_POLL_INTERVAL_MS / 2
            ));
        }
        if self.record_bytes_max == 0
            || self.record_bytes_max > RECORD_BYTES_MAX
            || self.queue_records_max == 0
            || self.queue_bytes_max < self.record_bytes_max
        {
            return wrong(format!(
                "record_bytes_max is 1 to {RECORD_BYTES_MAX}, queue_records_max at least 1, and \
                 queue_bytes_max at least record_bytes_max"
            ));
        }
        Ok(())
    }

    /// The longest request with one record in it.
    pub(super) fn message_bytes_max(&self) -> usize {
        (self.record_bytes_max + FRAMING_BYTES).max(MESSAGE_BYTES_MIN)
    }

    /// What every client of ours is told.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "rookery")
            // A broker that is back is found again within a second, not ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.max.ms", "500")
            .set("socket.connection.setup.timeout.ms", "5000")
            // A broker that accepts and never answers is given up as early as a record.
            .set(
                "socket.timeout.ms",
                self.delivery_timeout_ms.clamp(5_000, 60_000).to_string(),
            )
            .set("socket.keepalive.enable", "true")
            .set("allow.auto.create.topics", "false")
            // What it says of a lost connection is said by our own log in fewer words.
            .set("log.connection.close", "false");
        let protocol = match (self.username.is_some(), self.tls.is_some()) {
            (false, false) => "plaintext",
            (false, true) => "ssl",
            (true, false) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            config
                .set("sasl.mechanism", "PLAIN")
                .set("sasl.username", username)
                .set("sasl.password", password);
        }
        if let Some(tls) = &self.tls {
            let files = tls.files();
            let named = [
                ("ssl.ca.location", &files.ca_file),
                ("ssl.certificate.location", &files.certificate_file),
                ("ssl.key.location", &files.key_file),
            ];
            for (setting, file) in named {
                if let Some(file) = file {
                    config.set(setting, file.to_string_lossy());
                }
            }
            if files.ca_file.is_none() {
                // The system's, wherever this system keeps them.
                config.set("ssl.ca.location", "probe");
            }
        }
        config
    }

    /// What a producer is told besides: every record in order and once per append, durable on all
    /// replicas that are in sync.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Payloads are ciphertext, of which nothing is saved, and brokers unpack what they check.
            .set("compression.type", "none")
            .set("linger.ms", self.linger_ms.to_string())
            .set("message.timeout.ms", self.delivery_timeout_ms.to_string())
            .set("request.timeout.ms", self.delivery_timeout_ms.to_string())
            .set(
                "message.max.bytes",
                self.message_bytes_max().max(1_000_000).to_string(),
            )
            // The bounds are ours (`Held`). librdkafka counts a record until its report is thrown away, which
            // is after we have answered it and sent another: so it may count twice as many.
            .set(
                "queue.buffering.max.messages",
                self.queue_records_max
                    .saturating_mul(2)
                    .min(LIMIT)
                    .to_string(),
            )
            .set(
                "queue.buffering.max.kbytes",
                (self.queue_bytes_max.saturating_mul(2) / 1024 + 1)
                    .min(LIMIT)
                    .to_string(),
            );
        config
    }

    /// What the consumer is told besides: it begins where the group committed, and nowhere else; only
    /// we commit.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", self.group())
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Partitions that are added are shared out within so long.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set(
                "heartbeat.interval.ms",
                (self.session_timeout_ms / 4).max(1).to_string(),
            )
            .set(
                "max.poll.interval.ms",
                MAX_POLL_INTERVAL_MS
                    .max(self.session_timeout_ms)
                    .to_string(),
            )
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Never to the beginning or the end by itself: records would be skipped in silence.
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            // Read ahead: enough for some hundred thousand records a second, bounded in memory.
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100");
        if let Some(instance) = &self.group_instance {
            config.set("group.instance.id", instance);
        }
        config
    }
}

/// A consumer whose thread is stuck for so long leaves the group. It polls every second at least, also
/// while the store is away, so only a defect reaches this.
const MAX_POLL_INTERVAL_MS: u32 = 300_000;

fn has_port(broker: &str) -> bool {
    broker.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Options {
        Options {
            brokers: vec!["a.example:9092".into(), "[::1]:9092".into()],
            ..Options::default()
        }
    }

    #[test]
    fn each_wrong_option_is_named() {
        good().check().unwrap();
        type Spoil = fn(&mut Options);
        let wrong: [(Spoil, &str); 9] = [
            (|o| o.brokers.clear(), "brokers"),
            (|o| o.brokers.push("b.example".into()), "brokers"),
            (|o| o.topic_prefix = "a b".into(), "topic_prefix"),
            (|o| o.username = Some("u".into()), "password"),
            (|o| o.linger_ms = 10_000, "linger_ms"),
            (|o| o.delivery_timeout_ms = 1, "delivery_timeout_ms"),
            (|o| o.session_timeout_ms = 0, "session_timeout_ms"),
            (|o| o.revoke_wait_ms = 1_000_000, "revoke_wait_ms"),
            (|o| o.queue_bytes_max = 1, "queue_bytes_max"),
        ];
        for (spoil, name) in wrong {
            let mut options = good();
            spoil(&mut options);
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let tls = Options {
            tls: Some(Tls::load(crate::tls::Files::default()).unwrap()),
            ..good()
        };
        assert_eq!(tls.check().is_ok(), cfg!(feature = "kafka-tls"));
    }

    #[test]
    fn the_password_is_not_shown() {
        let options = Options {
            username: Some("u".into()),
            password: Some("hunter2".into()),
            ..good()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn librdkafka_takes_the_settings() {
        for config in [good().producer(), good().consumer()] {
            config.create_native_config().unwrap();
        }
    }
}
