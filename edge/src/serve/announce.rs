//! What `serve` says on stdout: where it listens and what to connect with. Scripts wait for `ready`.
//! Where nobody reads it any more, the server goes on.

use std::net::SocketAddr;

use crate::admin::Admin;
use crate::admission::WorstCase;
use crate::auth::DevKey;
use crate::certificate::{Certificate, Made, Source};
use crate::cli::output::announce;
use crate::config::Config;
use crate::services::Services;
use crate::session::{Listener, Mode, Transport};

/// One line per listener, with the port that was picked.
pub(super) fn started(config: &Config, mode: Mode, addrs: &[SocketAddr], listeners: &[Listener]) {
    for (addr, listener) in addrs.iter().zip(listeners) {
        let transport = match listener.transport {
            Transport::Tls => "tls",
            Transport::Plain => "plain",
        };
        let header = match listener.is_behind_proxy {
            true => " behind PROXY headers",
            false => "",
        };
        announce(format_args!("listening {transport} {addr}{header}"));
    }
    announce(format_args!(
        "{} shards, room for {} connections, data in {}",
        config.engine.shard_count(),
        config.limits.connections_max,
        config.data.display()
    ));
    if mode == Mode::Echo {
        announce(format_args!(
            "echo mode: no login, every message is sent back"
        ));
    }
}

/// What the server takes at most, whatever clients do.
pub(super) fn memory(worst_case: &WorstCase, host_bytes: u64) {
    announce(format_args!("memory at most {worst_case}"));
    let bytes = worst_case.bytes();
    if bytes > host_bytes {
        tracing::warn!(
            bytes,
            host_bytes,
            "in the worst case clients take more memory than there is: nobody is let in above \
             limits.memory_max_bytes, but who is in may grow. Lower limits.connections_max or \
             limits.buffer_bytes_max, set tls.min_version to 1.3, or net.ipv4.tcp_mem"
        );
    }
}

/// Which certificate and which development key are in use.
pub(super) fn credentials(config: &Config, certificate: &Certificate, dev_key: Option<&DevKey>) {
    let kind = match certificate.source {
        Source::Given => "certificate",
        Source::SelfSigned(Made::Earlier) => "self-signed certificate",
        Source::SelfSigned(Made::Now) => "self-signed certificate (made now)",
        Source::SelfSigned(Made::Renewed) => "self-signed certificate (renewed now)",
    };
    announce(format_args!(
        "{kind} {}, SHA-256 {}",
        certificate.path.display(),
        certificate.fingerprint_text()
    ));
    if let Some(key) = dev_key {
        announce(format_args!(
            "development key {}: whoever reads it can log in as anybody",
            key.path.display()
        ));
        announce(format_args!(
            "  try: rookery chat --user 7 --to 8 --data {}",
            config.data.display()
        ));
        announce(format_args!(
            "  and: rookery chat --user 8 --to 7 --data {}",
            config.data.display()
        ));
    }
}

/// Where operators ask.
pub(super) fn admin(admin: &Admin) {
    announce(format_args!("admin socket {}", admin.socket().display()));
    for addr in admin.addrs() {
        announce(format_args!("admin http://{addr}"));
    }
}

/// Which services are behind it; nothing in the embedded form.
pub(super) fn services(services: Option<&Services>) {
    let places = services.map(Services::places).into_iter().flatten();
    for (service, place) in places {
        announce(format_args!("{service} {place}"));
    }
}

/// The last line before the server serves.
pub(super) fn ready() {
    announce(format_args!("ready"));
}
