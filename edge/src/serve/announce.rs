//! What `serve` says on stdout: where it listens and what to connect with. Scripts wait for `ready`.

use std::net::SocketAddr;

use crate::auth::DevKey;
use crate::certificate::{Certificate, Made, Source};
use crate::config::Config;
use crate::services::Services;
use crate::session::{Mode, Transport};

/// One line per listener, with the port that was picked.
pub(super) fn started(config: &Config, mode: Mode, addrs: &[SocketAddr], listeners: &[Transport]) {
    for (addr, transport) in addrs.iter().zip(listeners) {
        match transport {
            Transport::Tls => println!("listening tls {addr}"),
            Transport::Plain => println!("listening plain {addr}"),
        }
    }
    println!(
        "{} shards, room for {} connections, data in {}",
        config.engine.shard_count(),
        config.limits.connections_max,
        config.data.display()
    );
    if mode == Mode::Echo {
        println!("echo mode: no login, every message is sent back");
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
    println!(
        "{kind} {}, SHA-256 {}",
        certificate.path.display(),
        certificate.fingerprint_text()
    );
    if let Some(key) = dev_key {
        println!(
            "development key {}: whoever reads it can log in as anybody",
            key.path.display()
        );
        println!(
            "  try: rookery chat --user 7 --to 8 --data {}",
            config.data.display()
        );
        println!(
            "  and: rookery chat --user 8 --to 7 --data {}",
            config.data.display()
        );
    }
}

/// Which services are behind it; nothing in the embedded form.
pub(super) fn services(services: Option<&Services>) {
    let places = services.map(Services::places).into_iter().flatten();
    for (service, place) in places {
        println!("{service} {place}");
    }
}

/// The last line before the server serves.
pub(super) fn ready() {
    println!("ready");
}
