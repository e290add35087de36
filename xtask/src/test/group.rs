//! The groups: their order, names, tools and limits.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::services::Services;
use super::tally::Tally;
use super::{cargo, density, fuzz, go, instructions, pytest};
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::tools::Tool;

/// The harness's own test, the client's own tests, then the same client against the server.
const PYTHON_FILES: [&str; 9] = [
    "test_harness.py",
    "../clients/python/test_vectors.py",
    "../clients/python/test_timeline.py",
    "../clients/python/test_client.py",
    "test_python_client.py",
    "test_codes.py",
    "test_protocol.py",
    "test_promises.py",
    "test_outbox.py",
];

/// A group of tests, in the order in which they run: what is cheap and telling comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Rust,
    Instructions,
    Python,
    Go,
    Chat,
    BadInput,
    Operate,
    WebSocket,
    Node,
    Tls,
    Kill,
    Cluster,
    Faults,
    Storm,
    Density,
    Fuzz,
}

impl Group {
    pub(super) const ALL: [Self; 16] = [
        Self::Rust,
        Self::Instructions,
        Self::Python,
        Self::Go,
        Self::Chat,
        Self::BadInput,
        Self::Operate,
        Self::WebSocket,
        Self::Node,
        Self::Tls,
        Self::Kill,
        Self::Cluster,
        Self::Faults,
        Self::Storm,
        Self::Density,
        Self::Fuzz,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Instructions => "instructions",
            Self::Python => "python",
            Self::Go => "go",
            Self::Chat => "chat",
            Self::BadInput => "bad-input",
            Self::Operate => "operate",
            Self::WebSocket => "websocket",
            Self::Node => "node",
            Self::Tls => "tls",
            Self::Kill => "kill",
            Self::Cluster => "cluster",
            Self::Faults => "faults",
            Self::Storm => "storm",
            Self::Density => "density",
            Self::Fuzz => "fuzz",
        }
    }

    pub(super) fn shows(self) -> &'static str {
        match self {
            Self::Rust => "our own tests, the simulator among them",
            Self::Instructions => {
                "the pure paths take as many instructions as committed, within 3 %"
            }
            Self::Python => "golden vectors and a client written from docs/protocol.md, over TLS",
            Self::Go => "another client written from docs/protocol.md, in another language",
            Self::Chat => "two `rookery chat` talk to each other",
            Self::BadInput => "every bad input has its documented answer, and nobody else notices",
            Self::Operate => {
                "what operators do and put around it: metrics, drain, balancers, units, packages"
            }
            Self::WebSocket => "the Autobahn cases (kosoku), plain and through TLS",
            Self::Node => "the npm `ws` client: large and fragmented messages, close codes",
            Self::Tls => "OpenSSL with key updates, Python ssl, testssl.sh, sslyze",
            Self::Kill => {
                "SIGKILL 100 times under load: every acked message is there, once, in order"
            }
            Self::Cluster => "our own tests against real Kafka, Cassandra, PostgreSQL and Redis",
            Self::Faults => {
                "brokers, stores and servers killed, paused and back: nothing acked is lost"
            }
            Self::Storm => {
                "who is refused and how; 20,000 clients at once, and nobody else notices"
            }
            Self::Density => "100,000 TLS connections within the memory budget",
            Self::Fuzz => "coverage-guided fuzzing, one minute for each target",
        }
    }

    /// What must be installed.
    pub(super) fn tools(self) -> &'static [Tool] {
        match self {
            Self::Rust | Self::Fuzz => &[],
            Self::Python
            | Self::Chat
            | Self::BadInput
            | Self::Kill
            | Self::Cluster
            | Self::Faults
            | Self::Storm
            | Self::Density => &[Tool::Python],
            Self::Go => &[Tool::Go],
            Self::Operate => &[
                Tool::Python,
                Tool::Go,
                Tool::CargoDeb,
                Tool::Systemd,
                Tool::Haproxy,
                Tool::Curl,
                Tool::Prometheus,
            ],
            Self::Instructions => &[Tool::Valgrind],
            Self::WebSocket => &[Tool::Python, Tool::Socat],
            Self::Node => &[Tool::Python, Tool::Node],
            Self::Tls => &[Tool::Python, Tool::OpenSsl, Tool::TestSsl],
        }
    }

    /// Whether Kafka and the others have to run beside it.
    pub(super) fn needs_services(self) -> bool {
        matches!(self, Self::Cluster | Self::Faults)
    }

    /// Whether it may run beside others of its kind: each of its tests has servers of its own, on ports of their
    /// own, and judges nothing by time nor by what else the host does.
    pub(super) fn runs_beside(self) -> bool {
        matches!(
            self,
            Self::Python
                | Self::Chat
                | Self::BadInput
                | Self::WebSocket
                | Self::Node
                | Self::Tls
                | Self::Kill
        )
    }

    pub(super) fn run(
        self,
        checkout: &Checkout,
        screen: &Screen,
        services: &mut Services,
    ) -> Result<Tally> {
        match self {
            Self::Rust => cargo::run(checkout, screen),
            Self::Instructions => instructions::run(checkout, screen),
            Self::Fuzz => fuzz::run(checkout, screen),
            Self::Python => pytest::run(checkout, screen, self, &PYTHON_FILES),
            Self::Go => go::run(checkout, screen),
            Self::Chat => pytest::run(checkout, screen, self, &["test_chat.py"]),
            Self::BadInput => pytest::run(checkout, screen, self, &["bad_input"]),
            Self::WebSocket => pytest::run(checkout, screen, self, &["test_autobahn.py"]),
            Self::Node => pytest::run(checkout, screen, self, &["test_node.py"]),
            Self::Tls => pytest::run(
                checkout,
                screen,
                self,
                &["test_tls.py", "test_certificate.py"],
            ),
            Self::Kill => pytest::run(checkout, screen, self, &["test_kill.py"]),
            Self::Operate => operate(checkout, screen),
            Self::Cluster => services.cluster(checkout, screen),
            Self::Faults => services.faults(checkout, screen),
            Self::Storm => density::with_parameters(checkout, screen, self, &["storm"]),
            Self::Density => density::run(checkout, screen),
        }
    }

    /// The longest that the group may take: a hang, not a slow machine, should meet it.
    pub(super) fn limit(self) -> Duration {
        let minutes = match self {
            Self::Rust | Self::Fuzz => 25,
            Self::Kill | Self::Density | Self::Faults | Self::Operate | Self::Storm => 15,
            _ => 8,
        };
        Duration::from_secs(minutes * 60)
    }
}

/// They make a package through this very program.
fn operate(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    let xtask = std::env::current_exe().context("where this program is")?;
    let environment = [("ROOKERY_XTASK", &*xtask.to_string_lossy())];
    pytest::run_with(checkout, screen, Group::Operate, &["operate"], &environment)
}

/// The names, for the command line to check.
pub(super) fn names() -> Vec<&'static str> {
    Group::ALL.iter().map(|group| group.name()).collect()
}
