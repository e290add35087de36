//! Where the services are, and with which credentials: ours, or running ones that somebody named.

use clap::Args;

use super::service::Service;

/// The user of every service.
pub(super) const USER: &str = "rookery";
/// Its password: these services hold test data and listen on loopback.
pub(super) const PASSWORD: &str = "rookery-test";

/// Services that run already. What is named here is neither installed nor started.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Given {
    /// Kafka brokers that run already (SASL PLAIN as rookery, rookery-test).
    #[arg(long, env = "ROOKERY_TEST_KAFKA", value_name = "HOST:PORT,...")]
    kafka: Option<String>,
    /// A Cassandra or ScyllaDB node that runs already (role rookery, password rookery-test).
    #[arg(long, env = "ROOKERY_TEST_CQL", value_name = "HOST:PORT")]
    cql: Option<String>,
    /// A PostgreSQL server that runs already.
    #[arg(
        long,
        env = "ROOKERY_TEST_POSTGRES",
        value_name = "URL",
        hide_env_values = true
    )]
    postgres: Option<String>,
    /// A Redis server that runs already.
    #[arg(
        long,
        env = "ROOKERY_TEST_REDIS",
        value_name = "URL",
        hide_env_values = true
    )]
    redis: Option<String>,
}

impl Given {
    /// What the environment says, for chores that have no such options.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            kafka: variable("ROOKERY_TEST_KAFKA"),
            cql: variable("ROOKERY_TEST_CQL"),
            postgres: variable("ROOKERY_TEST_POSTGRES"),
            redis: variable("ROOKERY_TEST_REDIS"),
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// HOST:PORT of each broker, with commas between.
    pub(super) kafka: String,
    /// HOST:PORT.
    pub(super) cql: String,
    /// With user, password and database.
    pub(super) postgres: String,
    /// With the password.
    pub(super) redis: String,
}

impl Addresses {
    /// Those of our own services.
    pub(crate) fn ours() -> Self {
        let host = |service: Service| format!("127.0.0.1:{}", service.port());
        Self {
            kafka: Service::BROKERS.map(host).join(","),
            cql: host(Service::Cassandra),
            postgres: format!(
                "postgres://{USER}:{PASSWORD}@{}/{USER}",
                host(Service::Postgres)
            ),
            redis: format!("redis://:{PASSWORD}@{}", host(Service::Redis)),
        }
    }

    /// Ours, but for what was given.
    pub(crate) fn of(given: &Given) -> Self {
        let ours = Self::ours();
        Self {
            kafka: given.kafka.clone().unwrap_or(ours.kafka),
            cql: given.cql.clone().unwrap_or(ours.cql),
            postgres: given.postgres.clone().unwrap_or(ours.postgres),
            redis: given.redis.clone().unwrap_or(ours.redis),
        }
    }

    /// HOST:PORT of each broker, with commas between.
    pub(crate) fn brokers(&self) -> &str {
        &self.kafka
    }

    /// Whether the service is one of ours. An address that was given and is ours counts as ours, so that
    /// a shell with the variables of an earlier `up` can start them again.
    pub(super) fn is_ours(&self, service: Service) -> bool {
        let ours = Self::ours();
        match service {
            Service::Kafka1 | Service::Kafka2 | Service::Kafka3 => self.kafka == ours.kafka,
            Service::Cassandra => self.cql == ours.cql,
            Service::Postgres => self.postgres == ours.postgres,
            Service::Redis => self.redis == ours.redis,
        }
    }

    /// The variables by which tests find the services.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("ROOKERY_TEST_KAFKA", &self.kafka),
            ("ROOKERY_TEST_CQL", &self.cql),
            ("ROOKERY_TEST_POSTGRES", &self.postgres),
            ("ROOKERY_TEST_REDIS", &self.redis),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_address_is_used_and_is_not_ours() {
        let ours = Addresses::of(&Given::default());
        assert_eq!(ours, Addresses::ours());
        assert!(Service::ALL.iter().all(|&service| ours.is_ours(service)));

        let addresses = Addresses::of(&Given {
            kafka: Some("10.0.0.1:9092".to_owned()),
            redis: Some(ours.redis.clone()),
            ..Given::default()
        });
        assert_eq!(addresses.environment()[0].1, "10.0.0.1:9092");
        assert!(!addresses.is_ours(Service::Kafka2));
        assert!(addresses.is_ours(Service::Redis));
    }
}
