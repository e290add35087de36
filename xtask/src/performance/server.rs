//! A `rookery serve` of either form, with data of its own: a fresh directory, or topics, keyspace and keys of
//! a name of its own on the running services.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

use super::kafka::PARTITIONS;
use crate::checkout::Checkout;
use crate::screen::Step;
use crate::serving::{self, Serving};
use crate::{process, services};

/// Topics, keyspace and tables, each agreed upon by all who have it.
const MIGRATE_LIMIT: Duration = Duration::from_secs(120);

/// Connections of the largest run, and some.
const LIMITS: [(&str, &str); 1] = [("ROOKERY_LIMITS_CONNECTIONS_MAX", "60000")];

/// What it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// Its own log and store.
    Embedded,
    /// Kafka, CQL, PostgreSQL and Redis.
    Distributed,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Distributed => "distributed",
        }
    }
}

/// A running one.
pub(super) struct Server {
    serving: Serving,
    pub(super) form: Form,
    pub(super) port: u16,
    /// Its data directory, with the key that signs logins.
    pub(super) data: PathBuf,
    /// The first of its users. The same ones talk in every run, so that all but the first find their
    /// conversations open: opening hundreds at once is not what is measured.
    pub(super) first_user: u64,
    /// Its consumer group, where it is in one.
    pub(super) group: Option<String>,
}

impl Server {
    /// Migrates where there is something to migrate, starts it, and waits until it is ready.
    pub(super) fn start(checkout: &Checkout, form: Form, step: &Step) -> Result<Self> {
        let port = serving::free_port()?;
        let folder = checkout.target().join("performance").join(form.name());
        serving::fresh(&folder)?;
        let data = folder.join("data");
        let name = format!("performance{}", std::process::id());

        let mut command = rookery(checkout, form, &name);
        command
            .arg("serve")
            .arg("--data")
            .arg(checkout.relative(&data));
        command.args(["--listen", &format!("0.0.0.0:{port}")]);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        command.args(["--shards", &cores.to_string()]);
        if form == Form::Distributed {
            let config = cluster_config(checkout);
            ensure!(config.is_file(), "{} is missing", config.display());
            command.arg("--config").arg(&config);
            let mut migrate = rookery(checkout, form, &name);
            migrate.arg("migrate").arg("--config").arg(&config);
            let log = checkout.logs().join("performance/migrate.log");
            let ended = process::run(&mut migrate, &log, MIGRATE_LIMIT, step)?;
            ensure!(ended.success, "rookery migrate failed:\n{}", ended.tail(20));
        }
        let serving = Serving::start(&mut command, folder)?;
        services::when_interrupted(serving.killer());
        Ok(Self {
            serving: serving.ready()?,
            form,
            port,
            data,
            first_user: first_user()?,
            group: (form == Form::Distributed).then(|| format!("{name}.appliers.{name}")),
        })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.serving.pid()
    }

    /// The end of its log.
    pub(super) fn tail(&self) -> String {
        self.serving.tail()
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(self) -> Result<()> {
        self.serving.stop()
    }
}

/// Users of nobody before.
fn first_user() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok((now.as_millis() as u64) << 20)
}

/// The configuration that `cargo xtask services up` writes.
fn cluster_config(checkout: &Checkout) -> PathBuf {
    checkout.target().join("services/cluster.toml")
}

/// The program, with names of its own for everything that outlives it.
fn rookery(checkout: &Checkout, form: Form, name: &str) -> Command {
    let program = checkout.rookery();
    let mut command = checkout.command(checkout.relative(&program));
    command.envs(LIMITS);
    if form == Form::Distributed {
        command
            .env("ROOKERY_KAFKA_TOPIC_PREFIX", name)
            .env("ROOKERY_KAFKA_PARTITIONS", PARTITIONS.to_string())
            .env("ROOKERY_CQL_KEYSPACE", name)
            .env("ROOKERY_REDIS_KEY_PREFIX", format!("{name}:"));
    }
    command
}
