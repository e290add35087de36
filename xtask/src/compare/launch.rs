//! The command line of each peer, and its configuration made from the file in `benches/peers/servers`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::install;
use super::peers::{Peer, Program};
use crate::checkout::Checkout;
use crate::serving::free_port;

/// How clients reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// TCP.
    Plain,
    /// TLS 1.3.
    Tls,
}

impl Transport {
    pub(super) const ALL: [Self; 2] = [Self::Tls, Self::Plain];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "TLS 1.3",
        }
    }

    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "ws",
            Self::Tls => "wss",
        }
    }
}

/// Where a peer finds what it needs.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) checkout: &'a Checkout,
    /// A folder of its own, empty at the start.
    pub(super) folder: PathBuf,
    /// The certificate that every peer shows.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) key: PathBuf,
    /// What a proxy stands in front of.
    pub(super) backend: Option<u16>,
}

/// A program, its arguments and environment, and the port that it will listen on.
pub(super) struct Launch {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) port: u16,
}

impl Launch {
    fn new(program: impl Into<OsString>, port: u16) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            port,
        }
    }

    fn with<I: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn environment(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }
}

/// How `peer` is started for one transport.
pub(super) fn launch(peer: &Peer, transport: Transport, place: &Place<'_>) -> Result<Launch> {
    let (port, other) = (free_port()?, free_port()?);
    let servers = place.checkout.root().join("benches/peers/servers");
    let script = |runtime: PathBuf, name: &str| {
        let launch = Launch::new(runtime, port)
            .with([servers.join(name)])
            .with([port.to_string()]);
        match transport {
            Transport::Plain => launch,
            Transport::Tls => launch.with([&place.certificate, &place.key]),
        }
    };
    Ok(match peer.program {
        Program::Rookery => rookery(place, transport, port, other),
        Program::Engine(binary, arguments) => {
            let launch = Launch::new(place.checkout.released(binary), port)
                .with(["--listen".to_owned(), format!("0.0.0.0:{port}")])
                .with(arguments);
            match transport {
                Transport::Plain => launch,
                Transport::Tls => launch
                    .with(["--tls-cert"])
                    .with([&place.certificate])
                    .with(["--tls-key"])
                    .with([&place.key]),
            }
        }
        Program::Bun => script(install::bun(place.checkout), "bun-echo.js"),
        Program::Python => script(install::python(place.checkout), "websockets_echo.py"),
        Program::Node => script("node".into(), "ws-echo.cjs")
            .environment("NODE_PATH", install::node_modules(place.checkout)),
        Program::Nginx => {
            let file = configured(place, "nginx.conf", transport, port, other)?;
            Launch::new("nginx", port)
                .with(["-p"])
                .with([&place.folder])
                .with(["-c"])
                .with([file])
        }
        Program::HaProxy => {
            let file = configured(place, "haproxy.cfg", transport, port, other)?;
            Launch::new("haproxy", port).with(["-f"]).with([file])
        }
        Program::Nats => {
            let file = configured(place, "nats.conf", transport, port, other)?;
            Launch::new("nats-server", port).with(["-c"]).with([file])
        }
        Program::Ejabberd => ejabberd(place, transport, port, other)?,
    })
}

fn rookery(place: &Place<'_>, transport: Transport, port: u16, other: u16) -> Launch {
    let (plain, tls) = ports(transport, port, other);
    Launch::new(place.checkout.rookery(), port)
        // Its file tables are sized by this; no peer is given more than its descriptors reach.
        .environment("ROOKERY_LIMITS_CONNECTIONS_MAX", "20000")
        .with(["serve", "--echo", "--shards", "1", "--data"])
        .with([place.folder.join("data")])
        .with([
            "--listen".to_owned(),
            format!("0.0.0.0:{tls}"),
            "--listen-plain".to_owned(),
            format!("0.0.0.0:{plain}"),
        ])
}

/// Without its start script, which wants a user of its own; one scheduler for the one core, and none
/// that spins while there is nothing to do.
fn ejabberd(place: &Place<'_>, transport: Transport, port: u16, other: u16) -> Result<Launch> {
    let file = configured(place, "ejabberd.yml", transport, port, other)?;
    let libraries = install::ejabberd_libraries().context("ejabberd is not installed")?;
    let quiet = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none +P 250000 -noinput -mnesia dir";
    let store = format!("\"{}\"", place.folder.join("mnesia").display());
    Ok(Launch::new("erl", port)
        .with(quiet.split(' '))
        .with([store.as_str(), "-s", "ejabberd"])
        .environment("ERL_LIBS", libraries)
        .environment("EJABBERD_CONFIG_PATH", file)
        .environment("EJABBERD_LOG_PATH", place.folder.join("ejabberd.log"))
        .environment("HOME", &place.folder))
}

/// The plain and the TLS port, of which `port` is the one that is used.
fn ports(transport: Transport, port: u16, other: u16) -> (u16, u16) {
    match transport {
        Transport::Plain => (port, other),
        Transport::Tls => (other, port),
    }
}

/// Writes the peer's configuration into its folder; where.
fn configured(
    place: &Place<'_>,
    name: &str,
    transport: Transport,
    port: u16,
    other: u16,
) -> Result<PathBuf> {
    let template = place
        .checkout
        .root()
        .join("benches/peers/servers")
        .join(name);
    let text = std::fs::read_to_string(&template)
        .with_context(|| format!("read {}", template.display()))?;
    // HAProxy and ejabberd want chain and key in one file.
    let both = [&place.certificate, &place.key].map(std::fs::read_to_string);
    let [chain, key] = both;
    std::fs::write(
        place.folder.join("both.pem"),
        format!("{}{}", chain.context("certificate")?, key.context("key")?),
    )?;
    let (plain, tls) = ports(transport, port, other);
    let show = |path: &Path| path.display().to_string();
    let security = match transport {
        Transport::Plain => "no_tls: true".to_owned(),
        Transport::Tls => format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
            show(&place.certificate),
            show(&place.key)
        ),
    };
    let values = [
        ("@DIR@", show(&place.folder)),
        ("@CERT@", show(&place.certificate)),
        ("@KEY@", show(&place.key)),
        ("@PLAIN@", plain.to_string()),
        ("@TLS@", tls.to_string()),
        ("@PORT@", port.to_string()),
        ("@OTHER@", other.to_string()),
        ("@BACKEND@", place.backend.unwrap_or_default().to_string()),
        ("@MODE@", transport.name().to_owned()),
        ("@SECURITY@", security),
    ];
    let text = values
        .iter()
        .fold(text, |text, (name, value)| text.replace(name, value));
    let file = place.folder.join(name);
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// What a program calls itself: the first line of its answer that says anything.
pub(super) fn says(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .find(|line| !line.trim().is_empty())
        .map(|line| line.trim().to_owned())
}
