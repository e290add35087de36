//! `cargo xtask performance`: the distributed form measured on the services of this host, beside Kafka's own
//! producer and beside the embedded form, and written into docs/performance.md.
//!
//! Everything shares the host's cores, so that figures are ratios of one run, not what a cluster reaches.

mod figures;
mod kafka;
mod load;
mod search;
mod server;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Args;

use crate::checkout::Checkout;
use crate::density::Parameters;
use crate::screen::{Screen, Step, duration};
use crate::services::{self, Given};
use crate::{cargo, host, page};
use figures::{LEVEL_MAX, Measured, Performance, Point, Producer};
use kafka::Kafka;
use load::{Load, Watched};
use server::{Form, Server};

const PAGE: &str = "docs/performance.md";
const RESULTS: &str = "docs/performance.json";

/// Bytes of a record's value: a short chat message's ciphertext and what is around it.
const RECORD_BYTES: u32 = 300;
/// What docs/log-records.md puts before the payload.
const RECORD_HEAD_BYTES: u32 = 46;
/// Messages per second at which latencies and processor times are compared.
const STEADY_RATE: u32 = 1_000;
/// The same on a host that is busy.
const BUSY_RATE: u32 = 5_000;
/// Connections of the measurements but the one of many; so few that flock does not wait for memory to rest.
const CONNECTIONS: u32 = 900;
/// The warm-up goes on while a message costs the services this much less than in the round before.
const STILL_WARMING: f64 = 0.9;

const EXAMPLES: &str = "\
Examples:
  cargo xtask performance             some fifteen minutes; writes docs/performance.md
  cargo xtask performance --quick     some five, results in target/xtask/performance

Needs root for the kernel parameters of sysctl/90-rookery-density.conf while many connections are held; they
are put back. Services are started if they do not run, and then stopped.";

/// What is measured.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Shorter runs and fewer of them; docs/ is left alone
    #[arg(long)]
    quick: bool,
    /// Connections of the online-to-online measurement
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2_000..=50_000))]
    connections: u32,
}

/// How long each part takes.
struct Times {
    /// One round of the warm-up, and how many at most.
    warm_up: Duration,
    warm_ups: u32,
    steady: Duration,
    rate: Duration,
    halvings: u32,
    many: Duration,
    /// Records of the producer as fast as it goes.
    records: u64,
}

impl Times {
    fn of(options: &Options) -> Self {
        let seconds = |quick, full| Duration::from_secs(if options.quick { quick } else { full });
        Self {
            warm_up: seconds(10, 30),
            warm_ups: if options.quick { 2 } else { 6 },
            steady: seconds(6, 30),
            rate: seconds(4, 10),
            halvings: if options.quick { 1 } else { 2 },
            many: seconds(8, 60),
            records: if options.quick { 100_000 } else { 400_000 },
        }
    }
}

/// Measures; true where everything could be measured, whatever it came to.
pub(crate) fn run(checkout: &Checkout, screen: &Screen, options: &Options) -> Result<bool> {
    let began = Instant::now();
    screen.heading("performance");
    cargo::build_server(checkout, screen)?;
    let up = services::up(checkout, screen, &Given::from_environment())?;
    let step = screen.step("measure");
    let bench = Bench::new(checkout, screen, &step, Times::of(options), &up.addresses);
    let measured = bench.and_then(|bench| bench.all(options.connections, began));
    step.end();
    up.stop(checkout)?;
    write(checkout, screen, options, &measured?)?;
    screen.line(&format!("measured in {}", duration(began.elapsed())));
    Ok(true)
}

/// Where it is measured, and how.
struct Bench<'a> {
    checkout: &'a Checkout,
    screen: &'a Screen,
    step: &'a Step,
    times: Times,
    kafka: Kafka<'a>,
    services: Vec<Watched>,
}

impl<'a> Bench<'a> {
    fn new(
        checkout: &'a Checkout,
        screen: &'a Screen,
        step: &'a Step,
        times: Times,
        addresses: &'a services::Addresses,
    ) -> Result<Self> {
        let watched = |(name, pid): (&str, u32)| Watched {
            name: name.to_owned(),
            pid,
        };
        Ok(Self {
            checkout,
            screen,
            step,
            times,
            kafka: Kafka::new(checkout, addresses.brokers())?,
            services: services::processes(checkout)
                .into_iter()
                .map(watched)
                .collect(),
        })
    }

    fn all(&self, connections: u32, began: Instant) -> Result<Performance> {
        let distributed = self.form(Form::Distributed)?;
        let many = self.many(connections)?;
        // After them, when the brokers are as warm as they were for the server.
        let producer = self.producer()?;
        let embedded = self.form(Form::Embedded)?;
        Ok(Performance {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit: host::commit(self.checkout),
            kernel: host::kernel(),
            cpu: host::processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            command: host::command(),
            seconds: began.elapsed().as_secs_f64(),
            record_bytes: RECORD_BYTES,
            payload_bytes: RECORD_BYTES - RECORD_HEAD_BYTES,
            steady_rate: STEADY_RATE,
            busy_rate: BUSY_RATE,
            producer,
            distributed,
            embedded,
            many,
        })
    }

    /// Kafka's own producer, with nothing of ours running.
    fn producer(&self) -> Result<Producer> {
        let (kafka, step) = (&self.kafka, self.step);
        let topic = format!("performance{}.producer", std::process::id());
        kafka.create(&topic, step)?;
        let counts = (self.times.records, self.times.records / 5);
        let fastest = kafka.produce(&topic, counts, RECORD_BYTES, None, step)?;
        let records = u64::from(STEADY_RATE) * self.times.steady.as_secs();
        let warm_up = u64::from(STEADY_RATE) * 5;
        let counts = (records, warm_up);
        let steady = kafka.produce(&topic, counts, RECORD_BYTES, Some(STEADY_RATE), step)?;
        kafka.delete(&topic, step)?;
        self.screen.line(&format!(
            "Kafka's producer alone: {:.0} records/s; at {STEADY_RATE}/s p50 {} ms, p99 {} ms",
            fastest.per_second, steady.p50_ms, steady.p99_ms
        ));
        Ok(Producer { fastest, steady })
    }

    /// A server at the steady rate, then at rising ones.
    fn form(&self, form: Form) -> Result<Measured> {
        let server = Server::start(self.checkout, form, self.step)?;
        self.warm_up(&server)?;
        let steady = self.point(&server, CONNECTIONS, STEADY_RATE, self.times.steady)?;
        let attempt = |rate| self.point(&server, CONNECTIONS, rate, self.times.rate);
        let busy = self.point(&server, CONNECTIONS, BUSY_RATE, self.times.rate)?;
        let climb = search::climb(STEADY_RATE, self.times.halvings, attempt)?;
        server.stop()?;
        let measured = Measured {
            form,
            steady,
            busy,
            climb,
        };
        let sustained = measured.sustained_per_second().unwrap_or_default();
        self.screen
            .line(&format!("{}: {sustained:.0} sends/s", form.name()));
        Ok(measured)
    }

    /// The steady rate until the services' programs are compiled: a JVM that has just started spends more
    /// on that than on messages, for minutes.
    fn warm_up(&self, server: &Server) -> Result<()> {
        let mut before = f64::INFINITY;
        for _ in 0..self.times.warm_ups {
            let point = self.point(server, CONNECTIONS, STEADY_RATE, self.times.warm_up)?;
            let us = point.loaded.services_us().unwrap_or_default();
            if us > before * STILL_WARMING || us == 0.0 {
                break;
            }
            before = us;
        }
        Ok(())
    }

    /// The steady rate among many connections, with the kernel parameters that they need.
    fn many(&self, connections: u32) -> Result<Point> {
        let parameters = Arc::new(Mutex::new(Some(Parameters::set(self.checkout)?)));
        services::when_interrupted({
            let parameters = Arc::clone(&parameters);
            move || {
                // There is nobody left to tell where it fails.
                put_back(&parameters).ok();
            }
        });
        let measured = self.among(connections);
        put_back(&parameters)?;
        measured
    }

    fn among(&self, connections: u32) -> Result<Point> {
        let server = Server::start(self.checkout, Form::Distributed, self.step)?;
        // The first time opens the conversations.
        self.point(&server, connections, STEADY_RATE, self.times.warm_up)?;
        let point = self.point(&server, connections, STEADY_RATE, self.times.many)?;
        server.stop()?;
        Ok(point)
    }

    fn point(&self, server: &Server, connections: u32, rate: u32, time: Duration) -> Result<Point> {
        let load = Load {
            connections,
            rate,
            duration: time,
            payload_bytes: RECORD_BYTES - RECORD_HEAD_BYTES,
        };
        let watched = match server.form {
            Form::Embedded => &[][..],
            Form::Distributed => &self.services,
        };
        let loaded = load::run(self.checkout, server, watched, load, self.step)?;
        let level = match &server.group {
            Some(group) => self.kafka.level(group, LEVEL_MAX, self.step)?,
            None => None,
        };
        let flock = &loaded.flock;
        self.screen.line(&format!(
            "{}, {} connections, {rate}/s: {:.0}/s done, ack p99 {} us, delivered p99 {} us",
            server.form.name(),
            flock.established,
            flock.rate_done,
            flock.ack_p99_us.unwrap_or_default(),
            flock.rtt_p99_us.unwrap_or_default(),
        ));
        Ok(Point {
            level_s: level.map(|_| loaded.ended.elapsed().as_secs_f64()),
            asked_store: server.group.is_some(),
            loaded,
        })
    }
}

/// The kernel parameters as they were; once.
fn put_back(parameters: &Mutex<Option<Parameters>>) -> Result<()> {
    let taken = parameters
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    taken.map_or(Ok(()), Parameters::put_back)
}

fn write(
    checkout: &Checkout,
    screen: &Screen,
    options: &Options,
    performance: &Performance,
) -> Result<()> {
    let section = table::section(performance);
    println!("\n{section}");
    let mut json = serde_json::to_vec_pretty(performance).context("the results as JSON")?;
    json.push(b'\n');
    let results: PathBuf = match options.quick {
        true => checkout.logs().join("performance/performance.json"),
        false => checkout.root().join(RESULTS),
    };
    std::fs::write(&results, json).with_context(|| format!("write {}", results.display()))?;
    if !options.quick {
        page::rewrite(&checkout.root().join(PAGE), "performance", &section)?;
        screen.line(&format!("written into {PAGE}"));
    }
    Ok(())
}
