//! One measurement: a server on its core, `rookery flock` on another, and what it found.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::launch::{self, Place, Transport};
use super::load::{Load, Loaded};
use super::peers::{ALL, Peer, Talk};
use super::server::Server;
use crate::checkout::Checkout;
use crate::screen::Screen;

/// A run that takes longer hangs: a ramp of 19,000 handshakes at 200/s is within it.
const RUN_MAX: Duration = Duration::from_secs(5 * 60);

/// Which core runs what. The load has one of its own; a proxy's backend too, where there are three.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    pub(super) load: usize,
    pub(super) server: usize,
    pub(super) backend: usize,
}

impl Cores {
    pub(super) fn of(cores: usize) -> Result<Self> {
        ensure!(
            cores >= 2,
            "a server and its load want a core each; there is one"
        );
        Ok(Self {
            load: 0,
            server: 1,
            backend: if cores > 2 { 2 } else { 0 },
        })
    }
}

/// How many, how often, how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) connections: u32,
    /// Messages per second.
    pub(super) rate: u32,
    pub(super) duration: Duration,
}

/// What all measurements share.
pub(super) struct Bench<'a> {
    pub(super) checkout: &'a Checkout,
    pub(super) screen: &'a Screen,
    pub(super) cores: Cores,
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl<'a> Bench<'a> {
    /// Has the server make a certificate, which all peers show.
    pub(super) fn new(checkout: &'a Checkout, screen: &'a Screen, cores: Cores) -> Result<Self> {
        let folder = checkout.logs().join("compare");
        let own = emptied(folder.join("certificate"))?;
        let mut bench = Self {
            checkout,
            screen,
            cores,
            certificate: own.join("certificate.pem"),
            key: own.join("key.pem"),
            folder,
        };
        let place = bench.place(own.clone(), None);
        let server = Server::start(
            &launch::launch(&ALL[0], Transport::Tls, &place)?,
            cores.server,
            &own.join("server.log"),
        )?;
        drop(server);
        bench.certificate = own.join("data/tls/certificate.pem");
        bench.key = own.join("data/tls/key.pem");
        ensure!(bench.key.is_file(), "{} was not made", bench.key.display());
        Ok(bench)
    }

    /// Starts the peer, puts the load on it and stops it.
    pub(super) fn run(&self, peer: &Peer, transport: Transport, shape: Shape) -> Result<Loaded> {
        let name = format!("{}-{}", peer.name, transport.scheme());
        let step = self
            .screen
            .step(&format!("{}, {}", peer.name, transport.name()));
        let folder = emptied(self.folder.join(&name))?;
        let ran = self.run_in(&folder, &name, peer, transport, shape, &step);
        step.end();
        // Logs are beside it; data is not kept.
        fs::remove_dir_all(&folder).ok();
        ran
    }

    fn run_in(
        &self,
        folder: &std::path::Path,
        name: &str,
        peer: &Peer,
        transport: Transport,
        shape: Shape,
        step: &crate::screen::Step,
    ) -> Result<Loaded> {
        let log = |of: &str| self.folder.join(format!("{name}-{of}.log"));
        let backend = match peer.program.is_proxy() {
            true => {
                let place = self.place(emptied(folder.join("backend"))?, None);
                let launch = launch::launch(&ALL[0], Transport::Plain, &place)?;
                Some(Server::start(&launch, self.cores.backend, &log("backend"))?)
            }
            false => None,
        };
        let place = self.place(
            folder.to_owned(),
            backend.as_ref().map(|server| server.port),
        );
        let launch = launch::launch(peer, transport, &place)?;
        let server = Server::start(&launch, self.cores.server, &log("server"))?;
        let (path, options) = talk(&peer.talk);
        let load = Load {
            checkout: self.checkout,
            core: self.cores.load,
            server: server.pid(),
            url: format!("{}://127.0.0.1:{}{path}", transport.scheme(), server.port),
            connections: shape.connections,
            rate: match peer.talk {
                Talk::Echo(_) => shape.rate,
                Talk::Idle { .. } => 0,
            },
            duration: shape.duration,
            options,
            files: self.folder.join(format!("{name}-flock")),
            limit: RUN_MAX,
        };
        let loaded = load.run(step)?;
        ensure!(
            loaded.flock.established > 0,
            "no connection was made, see {}",
            log("server").display()
        );
        Ok(loaded)
    }

    fn place(&self, folder: PathBuf, backend: Option<u16>) -> Place<'_> {
        Place {
            checkout: self.checkout,
            folder,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            backend,
        }
    }
}

/// The URL's path, and flock's options for a foreign protocol.
fn talk(talk: &Talk) -> (&'static str, Vec<&'static str>) {
    match *talk {
        Talk::Echo(options) => ("/", options.to_vec()),
        Talk::Idle {
            subprotocol,
            preamble,
            path,
            ..
        } => {
            let mut options = vec!["--preamble", preamble];
            options.extend(subprotocol.into_iter().flat_map(|it| ["--subprotocol", it]));
            (path, options)
        }
    }
}

fn emptied(folder: PathBuf) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}
