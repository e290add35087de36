//! Who is compared: what each is, how it is started, and what can be measured of it.

use super::install::Tool;

/// One server that holds connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its name in the table and on the command line.
    pub(super) name: &'static str,
    /// What runs.
    pub(super) what: &'static str,
    /// How it is started.
    pub(super) program: Program,
    /// What must be installed.
    pub(super) tool: Option<Tool>,
    /// Descriptors that a connection takes; without any its number is not bounded by RLIMIT_NOFILE.
    pub(super) descriptors: u32,
    /// What clients say.
    pub(super) talk: Talk,
}

/// How a peer is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// `rookery serve --echo`.
    Rookery,
    /// A binary of `benches/peers`, with these arguments.
    Engine(&'static str, &'static [&'static str]),
    /// A proxy in front of `rookery serve --echo`.
    Nginx,
    /// Likewise.
    HaProxy,
    /// NATS's server.
    Nats,
    /// ejabberd.
    Ejabberd,
    /// A script on Bun.
    Bun,
    /// A script on Node.
    Node,
    /// A script on Python.
    Python,
}

impl Program {
    /// Whether another server must stand behind it.
    pub(super) fn is_proxy(self) -> bool {
        matches!(self, Self::Nginx | Self::HaProxy)
    }
}

/// What clients say to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Talk {
    /// Messages that come back, with what flock must be told for it.
    Echo(&'static [&'static str]),
    /// A session of a protocol of its own is begun, and no more.
    Idle {
        /// Offered in the upgrade.
        subprotocol: Option<&'static str>,
        /// The client's first message.
        preamble: &'static str,
        /// Where the WebSocket is.
        path: &'static str,
        /// Why messages are not measured.
        why: &'static str,
    },
}

const fn engine(
    name: &'static str,
    what: &'static str,
    binary: &'static str,
    arguments: &'static [&'static str],
) -> Peer {
    Peer {
        name,
        what,
        program: Program::Engine(binary, arguments),
        tool: None,
        descriptors: 1,
        talk: Talk::Echo(&[]),
    }
}

const fn server(
    name: &'static str,
    what: &'static str,
    program: Program,
    tool: Tool,
    descriptors: u32,
    talk: Talk,
) -> Peer {
    Peer {
        name,
        what,
        program,
        tool: Some(tool),
        descriptors,
        talk,
    }
}

/// In the order of the table. Rookery is first and always runs: the kernel's share is split by it.
pub(super) const ALL: [Peer; 13] = [
    Peer {
        name: "rookery",
        what: "Rookery, one shard",
        program: Program::Rookery,
        tool: None,
        descriptors: 0,
        talk: Talk::Echo(&[]),
    },
    engine(
        "tokio-tungstenite",
        "tokio, tokio-tungstenite, rustls",
        "peer-tungstenite",
        &[],
    ),
    engine(
        "fastwebsockets",
        "tokio, hyper, fastwebsockets, rustls",
        "peer-fastwebsockets",
        &[],
    ),
    engine(
        "monoio",
        "monoio, a read pending at rest, rustls",
        "peer-monoio",
        &["--at-rest", "read"],
    ),
    engine(
        "monoio-poll",
        "monoio, polled at rest, rustls",
        "peer-monoio",
        &["--at-rest", "poll"],
    ),
    engine("glommio", "glommio, rustls", "peer-glommio", &[]),
    server(
        "nginx",
        "nginx, proxy, one worker",
        Program::Nginx,
        Tool::Nginx,
        2,
        Talk::Echo(&[]),
    ),
    server(
        "haproxy",
        "HAProxy, proxy, one thread",
        Program::HaProxy,
        Tool::HaProxy,
        2,
        Talk::Echo(&[]),
    ),
    server(
        "bun",
        "Bun (its server is uWebSockets)",
        Program::Bun,
        Tool::Npm,
        1,
        Talk::Echo(&[]),
    ),
    server(
        "node",
        "Node, ws",
        Program::Node,
        Tool::Npm,
        1,
        Talk::Echo(&[]),
    ),
    server(
        "python",
        "Python, websockets, uvloop",
        Program::Python,
        Tool::Python,
        1,
        Talk::Echo(&[]),
    ),
    server(
        "nats",
        "NATS server, each client to itself",
        Program::Nats,
        Tool::Nats,
        1,
        Talk::Echo(&["--nats"]),
    ),
    server(
        "ejabberd",
        "ejabberd, XMPP stream open",
        Program::Ejabberd,
        Tool::Ejabberd,
        1,
        Talk::Idle {
            subprotocol: Some("xmpp"),
            preamble: "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>",
            path: "/ws",
            why: "a message is a routed and authenticated stanza, not a WebSocket echo",
        },
    ),
];

/// The names, for the command line to check.
pub(super) fn names() -> Vec<&'static str> {
    ALL.iter().map(|peer| peer.name).collect()
}
