//! The foreign tools of the tests: which there are, and how a missing one is installed.
//!
//! Python and npm packages are pinned in `tests/` and go into `.tools/`; the rest are Debian packages.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::checkout::Checkout;
use crate::process;
use crate::screen::{Screen, duration};
use crate::services::install as services;

/// Registries may be slow, but not forever.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// The version of cargo-deb.
const CARGO_DEB: &str = "3.8.0";

/// Something that a test group needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The virtual environment of `tests/requirements.txt`.
    Python,
    /// The packages of `tests/package-lock.json`.
    Node,
    /// Its toolchain.
    Go,
    /// OpenSSL's command line.
    OpenSsl,
    /// A client-side TLS tunnel.
    Socat,
    /// A balancer.
    Haproxy,
    /// Scrapes metrics.
    Prometheus,
    /// An HTTP client that can be its own balancer.
    Curl,
    /// The TLS scanner.
    TestSsl,
    /// Counts instructions.
    Valgrind,
    /// Takes profiles.
    Perf,
    /// The jars of `tests/services/kafka/pom.xml`, and Java.
    Kafka,
    /// The jars of `tests/services/cassandra/pom.xml`, and Java.
    Cassandra,
    /// `redis-server` of Debian.
    Redis,
    /// A PostgreSQL server of Debian.
    Postgres,
    /// Makes Debian packages of Cargo's.
    CargoDeb,
    /// Verifies unit files.
    Systemd,
}

impl Tool {
    const ALL: [Self; 17] = [
        Self::Python,
        Self::Node,
        Self::Go,
        Self::OpenSsl,
        Self::Socat,
        Self::Haproxy,
        Self::Prometheus,
        Self::Curl,
        Self::TestSsl,
        Self::Valgrind,
        Self::Perf,
        Self::Kafka,
        Self::Cassandra,
        Self::Redis,
        Self::Postgres,
        Self::CargoDeb,
        Self::Systemd,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Python => "Python packages",
            Self::Node => "npm packages",
            Self::Go => "Go",
            Self::OpenSsl => "openssl",
            Self::Socat => "socat",
            Self::Haproxy => "HAProxy",
            Self::Prometheus => "Prometheus",
            Self::Curl => "curl",
            Self::TestSsl => "testssl.sh",
            Self::Valgrind => "valgrind",
            Self::Perf => "perf",
            Self::Kafka => "Kafka",
            Self::Cassandra => "Cassandra",
            Self::Redis => "Redis",
            Self::Postgres => "PostgreSQL",
            Self::CargoDeb => "cargo-deb",
            Self::Systemd => "systemd",
        }
    }

    /// What proves that it is there. A stamp is a copy of the pinned versions that were installed.
    fn is_there(self, checkout: &Checkout) -> bool {
        match self {
            Self::Python => same(
                &checkout.root().join("tests/requirements.txt"),
                &python_stamp(checkout),
            ),
            Self::Node => same(
                &checkout.root().join("tests/package-lock.json"),
                &node_stamp(checkout),
            ),
            Self::Go => runs("go", "version"),
            Self::OpenSsl => runs("openssl", "version"),
            Self::Socat => runs("socat", "-V"),
            Self::Haproxy => runs("haproxy", "-v"),
            Self::Prometheus => runs("prometheus", "--version") && runs("promtool", "--version"),
            Self::Curl => runs("curl", "--version"),
            // It asks for hexdump and for a DNS client as it starts.
            Self::TestSsl => {
                runs("testssl", "--version") && runs("hexdump", "-V") && runs("dig", "-v")
            }
            Self::Valgrind => runs("valgrind", "--version"),
            Self::Perf => runs("perf", "--version"),
            Self::Kafka => services::has_jars(checkout, "kafka"),
            Self::Cassandra => services::has_jars(checkout, "cassandra"),
            Self::Redis => runs("redis-server", "--version"),
            Self::Postgres => services::has_postgres(),
            Self::CargoDeb => says(&cargo_deb(checkout), "--version", CARGO_DEB),
            Self::Systemd => {
                runs("systemd-analyze", "--version") && runs("dpkg-shlibdeps", "--version")
            }
        }
    }

    fn install(self, checkout: &Checkout, screen: &Screen) -> Result<()> {
        match self {
            Self::Python => install_python(checkout, screen),
            Self::Node => install_node(checkout, screen),
            Self::Go => apt(checkout, screen, &["golang-go"]),
            Self::OpenSsl => apt(checkout, screen, &["openssl"]),
            Self::Socat => apt(checkout, screen, &["socat"]),
            Self::Haproxy => debian(checkout, screen, &["haproxy"]),
            Self::Prometheus => debian(checkout, screen, &["prometheus"]),
            Self::Curl => apt(checkout, screen, &["curl"]),
            Self::TestSsl => apt(
                checkout,
                screen,
                &["testssl.sh", "bsdextrautils", "bind9-dnsutils"],
            ),
            Self::Valgrind => apt(checkout, screen, &["valgrind"]),
            Self::Perf => apt(checkout, screen, &["linux-perf"]),
            Self::Kafka => services::jars(checkout, screen, "kafka"),
            Self::Cassandra => services::jars(checkout, screen, "cassandra"),
            Self::Redis => debian(checkout, screen, &["redis-server"]),
            Self::Postgres => debian(checkout, screen, &["postgresql"]),
            Self::CargoDeb => install_cargo_deb(checkout, screen),
            Self::Systemd => debian(checkout, screen, &["systemd", "dpkg-dev", "libseccomp2"]),
        }
    }
}

/// `cargo xtask tools`.
pub(crate) fn run(checkout: &Checkout, screen: &Screen) -> Result<bool> {
    screen.heading("tools");
    for tool in Tool::ALL {
        ensure(checkout, screen, tool)?;
        screen.line(&format!("{}: there", tool.name()));
    }
    Ok(true)
}

/// Installs a tool unless it is there. The error says what could not be had and why.
pub(crate) fn ensure(checkout: &Checkout, screen: &Screen, tool: Tool) -> Result<()> {
    if tool.is_there(checkout) {
        return Ok(());
    }
    let start = Instant::now();
    tool.install(checkout, screen)
        .with_context(|| format!("{} cannot be installed", tool.name()))?;
    ensure!(
        tool.is_there(checkout),
        "{} was installed and does not run",
        tool.name()
    );
    screen.line(&format!(
        "installed {}, {}",
        tool.name(),
        duration(start.elapsed())
    ));
    Ok(())
}

fn install_python(checkout: &Checkout, screen: &Screen) -> Result<()> {
    let venv = checkout.tools().join("venv");
    if !runs("python3", "-mvenv --help") {
        apt(checkout, screen, &["python3", "python3-venv"])?;
    }
    let make = ["-m", "venv", "--clear"];
    step(
        checkout,
        screen,
        "venv",
        checkout.command("python3").args(make).arg(&venv),
    )?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        "tests/requirements.txt",
    ];
    step(
        checkout,
        screen,
        "pip",
        checkout.command(checkout.python()).args(pip),
    )?;
    stamp(
        &checkout.root().join("tests/requirements.txt"),
        &python_stamp(checkout),
    )
}

fn install_node(checkout: &Checkout, screen: &Screen) -> Result<()> {
    if !runs("npm", "--version") {
        apt(checkout, screen, &["nodejs", "npm"])?;
    }
    let folder = checkout.tools().join("node");
    std::fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(checkout.root().join("tests").join(file), folder.join(file))?;
    }
    let arguments = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ];
    step(
        checkout,
        screen,
        "npm",
        Command::new("npm").current_dir(&folder).args(arguments),
    )?;
    stamp(
        &checkout.root().join("tests/package-lock.json"),
        &node_stamp(checkout),
    )
}

/// Unoptimized, which takes half a minute less than it would save, and without a compressor of its own: Debian has
/// `xz`.
fn install_cargo_deb(checkout: &Checkout, screen: &Screen) -> Result<()> {
    let mut command = checkout.cargo();
    command
        .args([
            "install",
            "--locked",
            "--debug",
            "--no-default-features",
            "--root",
        ])
        .arg(checkout.tools())
        .args(["--target-dir"])
        .arg(checkout.target().join("cargo-deb"))
        .arg(format!("cargo-deb@{CARGO_DEB}"));
    step(checkout, screen, "cargo-deb", &mut command)
}

/// cargo-deb, as Cargo installs it.
pub(crate) fn cargo_deb(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("bin/cargo-deb")
}

/// Debian packages; the lists are fetched once when the first try fails.
pub(crate) fn apt(checkout: &Checkout, screen: &Screen, packages: &[&str]) -> Result<()> {
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(packages);
        command
    };
    if step(checkout, screen, "apt-get", &mut install()).is_err() {
        step(
            checkout,
            screen,
            "apt-get",
            Command::new("apt-get").args(["update", "--quiet"]),
        )?;
        step(checkout, screen, "apt-get", &mut install())?;
    }
    Ok(())
}

/// Debian starts the services that it installs; nobody here wants one of those.
pub(crate) fn debian(checkout: &Checkout, screen: &Screen, packages: &[&str]) -> Result<()> {
    let _none_started = NoServices::begin()?;
    apt(checkout, screen, packages)
}

/// Debian's own way to keep packages from starting services: a policy that forbids it.
struct NoServices {
    made: bool,
}

impl NoServices {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self> {
        let made = !Path::new(Self::POLICY).exists();
        if made {
            std::fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n").context(Self::POLICY)?;
            std::fs::set_permissions(Self::POLICY, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { made })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made {
            std::fs::remove_file(Self::POLICY).ok();
        }
    }
}

pub(crate) fn step(
    checkout: &Checkout,
    screen: &Screen,
    name: &str,
    command: &mut Command,
) -> Result<()> {
    let step = screen.step(name);
    let log = checkout.logs().join(format!("install-{name}.log"));
    let ended = process::run(command, &log, LIMIT, &step);
    step.end();
    let ended = ended?;
    ensure!(
        ended.success,
        "{name} failed, see {}:\n{}",
        ended.log.display(),
        ended.tail(15)
    );
    Ok(())
}

/// Whether the program is there and says its version.
pub(crate) fn runs(program: &str, arguments: &str) -> bool {
    Command::new(program)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether the program is there and says this in its version.
fn says(program: &Path, argument: &str, version: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version))
}

fn python_stamp(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("venv/installed.txt")
}

fn node_stamp(checkout: &Checkout) -> PathBuf {
    checkout.tools().join("node/installed.json")
}

pub(crate) fn same(wanted: &Path, installed: &Path) -> bool {
    matches!((std::fs::read(wanted), std::fs::read(installed)), (Ok(a), Ok(b)) if a == b)
}

pub(crate) fn stamp(wanted: &Path, installed: &Path) -> Result<()> {
    std::fs::copy(wanted, installed).with_context(|| format!("write {}", installed.display()))?;
    Ok(())
}
