//! A service's process: started in the background, asked until it answers, stopped, killed, paused.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::identity::Identity;
use super::place::Place;
use super::service::Service;
use super::{cassandra, kafka, postgres, redis};
use crate::checkout::Checkout;
use crate::screen::Step;

/// How long a service may take until it answers: a hang, not a slow machine, should meet it.
const ANSWER_MAX: Duration = Duration::from_secs(180);

/// How often a starting service is asked, and an ending one looked at.
const POLL: Duration = Duration::from_millis(100);

/// How long a service may take to end by itself. A broker whose cluster goes away with it cannot hand over
/// what it leads and would wait for minutes.
const END_MAX: Duration = Duration::from_secs(5);

/// How long the parent of a process that ended may take to ask how.
const GONE_MAX: Duration = Duration::from_secs(3);

/// How often a process that was killed is looked at.
const SHORTLY: Duration = Duration::from_millis(5);

/// One service of this checkout.
pub(super) struct Daemon {
    service: Service,
    place: Place,
}

impl Daemon {
    pub(super) fn of(checkout: &Checkout, service: Service) -> Self {
        Self {
            service,
            place: Place::of(checkout, service),
        }
    }

    /// Its process, where it runs.
    pub(super) fn identity(&self) -> Option<Identity> {
        Identity::read(&self.place.pid())
    }

    /// Writes its files and starts it. It need not answer yet.
    pub(super) fn start(&self, step: &Step) -> Result<Identity> {
        fs::create_dir_all(&self.place.folder)?;
        let port = self.service.port();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!("port {port} is taken: end what listens there, or name it (see `services up --help`)")
        })?;
        let mut command = self.prepare(step)?;
        let log = self.place.log();
        let output = File::options().create(true).append(true).open(&log)?;
        // A group of its own: an interrupt at the terminal is for us, not for the service.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        let identity = i32::try_from(child.id()).ok().and_then(Identity::of);
        let identity = identity.with_context(|| self.ended())?;
        identity.write(&self.place.pid())?;
        // Where this program lives longer than the service, it is its parent and has to ask how it ended.
        thread::spawn(move || child.wait());
        Ok(identity)
    }

    fn prepare(&self, step: &Step) -> Result<Command> {
        let place = &self.place;
        match self.service {
            Service::Cassandra => cassandra::prepare(place)?,
            Service::Postgres => postgres::prepare(place, step)?,
            Service::Redis => redis::prepare(place)?,
            broker => {
                let node = broker.broker().context("no broker")?;
                kafka::prepare(place, broker, node, step)?;
            }
        }
        match self.service {
            Service::Cassandra => cassandra::command(place),
            Service::Postgres => postgres::command(place),
            Service::Redis => Ok(redis::command(place)),
            _ => kafka::command(place),
        }
    }

    /// Asks until it answers a request that a client would send. A broker has to know of `brokers` in all.
    pub(super) fn wait(&self, identity: Identity, brokers: usize) -> Result<()> {
        let start = Instant::now();
        loop {
            let asked = self.ask(brokers);
            let Err(error) = asked else { return Ok(()) };
            if !identity.is_alive() {
                bail!(self.ended());
            }
            if start.elapsed() > ANSWER_MAX {
                let name = self.service.name();
                let log = self.place.log();
                return Err(error.context(format!(
                    "{name} did not answer in {} s, see {}",
                    ANSWER_MAX.as_secs(),
                    log.display()
                )));
            }
            thread::sleep(POLL);
        }
    }

    fn ask(&self, brokers: usize) -> Result<()> {
        match self.service {
            Service::Cassandra => cassandra::answers(),
            Service::Postgres => postgres::answers(),
            Service::Redis => redis::answers(),
            broker => match kafka::brokers(broker.port())? {
                known if known >= brokers => Ok(()),
                known => bail!("it knows of {known} of {brokers} brokers"),
            },
        }
    }

    /// Asks it to end, and kills it if it does not. True where it ran.
    pub(super) fn stop(&self) -> Result<bool> {
        let Some(identity) = self.identity() else {
            return Ok(false);
        };
        let politely = match self.service {
            // "Fast": connections are ended, transactions rolled back.
            Service::Postgres => Signal::INT,
            _ => Signal::TERM,
        };
        identity.signal(politely)?;
        // One that is paused hears nothing.
        self.signal(Signal::CONT)?;
        let start = Instant::now();
        while identity.is_alive() {
            if start.elapsed() > END_MAX {
                return self.signal(Signal::KILL);
            }
            thread::sleep(POLL);
        }
        self.forget(&[identity])?;
        Ok(true)
    }

    /// Signals its process and that one's descendants. True where it ran.
    pub(super) fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(identity) = self.identity() else {
            return Ok(false);
        };
        // The parent first: it must not start others in the place of those that ended.
        let family = identity.family();
        for process in &family {
            process.signal(signal)?;
        }
        if signal == Signal::KILL {
            while family.iter().any(|process| process.is_alive()) {
                thread::sleep(SHORTLY);
            }
            self.forget(&family)?;
        }
        Ok(true)
    }

    /// These processes have ended.
    fn forget(&self, ended: &[Identity]) -> Result<()> {
        // A pid stays taken until the parent of the process asked how it ended, and PostgreSQL does not
        // start while the pid that its last server had is taken.
        let start = Instant::now();
        while self.service == Service::Postgres
            && ended.iter().any(|process| process.has_trace())
            && start.elapsed() < GONE_MAX
        {
            thread::sleep(SHORTLY);
        }
        fs::remove_file(self.place.pid()).context("remove the pid file")
    }

    /// The last lines that it printed.
    pub(super) fn tail(&self, lines: usize) -> String {
        let text = fs::read(self.place.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Where it prints to.
    pub(super) fn log(&self) -> std::path::PathBuf {
        self.place.log()
    }

    fn ended(&self) -> String {
        format!("{} ended:\n{}", self.service.name(), self.tail(25))
    }
}
