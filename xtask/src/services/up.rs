//! Starting what is not running yet, all at once, and stopping what we started.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::address::{Addresses, Given};
use super::certificates::Certificates;
use super::daemon::Daemon;
use super::service::Service;
use super::{install, lock, written};
use crate::checkout::Checkout;
use crate::screen::{Screen, Step, duration};

/// Services that answer.
pub(crate) struct Up {
    /// Where everything is.
    pub(crate) addresses: Addresses,
    /// What did not run before.
    started: Vec<Service>,
}

/// Starts what neither runs nor was given, and waits until everything of ours answers.
pub(crate) fn up(checkout: &Checkout, screen: &Screen, given: &Given) -> Result<Up> {
    let addresses = Addresses::of(given);
    let ours: Vec<Service> = Service::ALL
        .into_iter()
        .filter(|&service| addresses.is_ours(service))
        .collect();
    let _one_at_a_time = lock(checkout)?;
    install::all(checkout, screen, &ours)?;
    let started: Vec<Service> = ours
        .iter()
        .copied()
        .filter(|&service| Daemon::of(checkout, service).identity().is_none())
        .collect();
    end_when_interrupted(&started)?;
    Certificates::ensure(checkout)?;
    written::environment(checkout, &addresses)?;
    written::cluster(checkout, &addresses)?;
    let step = screen.step("services");
    let ready = each(checkout, screen, &step, &ours);
    step.end();
    let up = Up { addresses, started };
    if let Err(error) = ready {
        up.stop(checkout)?;
        return Err(error);
    }
    Ok(up)
}

/// An interrupted chore leaves nothing behind that it started.
fn end_when_interrupted(started: &[Service]) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("wait for signals")?;
    let checkout = Checkout::find()?;
    let started = started.to_vec();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            put_back();
            end(&checkout, &started).ok();
            std::process::exit(130);
        }
    });
    Ok(())
}

/// What else is to be put back where a chore that has services is interrupted.
static CHANGED: Mutex<Vec<Box<dyn FnOnce() + Send>>> = Mutex::new(Vec::new());

/// Has this done before an interrupt ends the program.
pub(crate) fn when_interrupted(put_back: impl FnOnce() + Send + 'static) {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.push(Box::new(put_back));
}

fn put_back() {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.drain(..).for_each(|put_back| put_back());
}

fn end(checkout: &Checkout, services: &[Service]) -> Result<()> {
    for &service in services {
        Daemon::of(checkout, service).signal(Signal::KILL)?;
    }
    Ok(())
}

/// Starts services side by side and tells each as it answers; the first failure is the error.
fn each(checkout: &Checkout, screen: &Screen, step: &Step, services: &[Service]) -> Result<()> {
    let start = Instant::now();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for &service in services {
            let (tell, step) = (tell.clone(), step.clone());
            scope.spawn(move || {
                let ready = one(checkout, service, &step);
                // The receiver is gone once another service has failed.
                tell.send((service, ready)).ok();
            });
        }
        drop(tell);
        let mut waited: Vec<Service> = services.to_vec();
        loop {
            let names: Vec<&str> = waited.iter().map(|service| service.name()).collect();
            step.says(&format!("waiting for {}", names.join(", ")));
            let Ok((service, ready)) = told.recv() else {
                return Ok(());
            };
            let was_running = ready.with_context(|| service.name())?;
            waited.retain(|&other| other != service);
            screen.line(&match was_running {
                true => format!("{} was running", service.name()),
                false => format!("{} answers, {}", service.name(), duration(start.elapsed())),
            });
        }
    })
}

/// Starts the service unless it runs, and waits until it answers. True where it ran.
fn one(checkout: &Checkout, service: Service, step: &Step) -> Result<bool> {
    let daemon = Daemon::of(checkout, service);
    let running = daemon.identity();
    let identity = match running {
        // It may have been left paused.
        Some(identity) => {
            daemon.signal(Signal::CONT)?;
            identity
        }
        None => daemon.start(step)?,
    };
    daemon.wait(identity, Service::BROKERS.len())?;
    Ok(running.is_some())
}

impl Up {
    /// Takes over what another start had to start again.
    pub(crate) fn add(&mut self, later: Self) {
        for service in later.started {
            if !self.started.contains(&service) {
                self.started.push(service);
            }
        }
    }

    /// Ends what was started here, at once: it holds test data. Another process may have ended and started
    /// it again meanwhile.
    pub(crate) fn stop(&self, checkout: &Checkout) -> Result<()> {
        end(checkout, &self.started)
    }
}

/// Ends everything that runs in this checkout, side by side; gives what ran and how long it took.
pub(super) fn down(checkout: &Checkout) -> Result<(Vec<Service>, Duration)> {
    let _one_at_a_time = lock(checkout)?;
    let start = Instant::now();
    let mut ran = Vec::new();
    thread::scope(|scope| {
        let ends: Vec<_> = Service::ALL
            .into_iter()
            .map(|service| {
                let daemon = Daemon::of(checkout, service);
                (service, scope.spawn(move || daemon.stop()))
            })
            .collect();
        for (service, end) in ends {
            let stopped = match end.join() {
                Ok(stopped) => stopped?,
                Err(_) => anyhow::bail!("stopping {} failed", service.name()),
            };
            if stopped {
                ran.push(service);
            }
        }
        Ok(())
    })?;
    Ok((ran, start.elapsed()))
}
