//! A Redis server: its file, its command, and whether it answers.

use std::process::Command;

use anyhow::{Result, ensure};

use super::address::PASSWORD;
use super::place::Place;
use super::service::Service;
use super::socket::Socket;

/// Writes the configuration.
pub(super) fn prepare(place: &Place) -> Result<()> {
    let values = [
        ("port", &*Service::Redis.port().to_string()),
        ("tls_port", &Service::Redis.tls_port().to_string()),
        ("authority", &place.certificates.authority.to_string_lossy()),
        (
            "certificate",
            &place.certificates.certificate.to_string_lossy(),
        ),
        ("key", &place.certificates.key.to_string_lossy()),
        ("password", PASSWORD),
        ("folder", &place.text()),
    ];
    place.write("redis.conf", &values)?;
    Ok(())
}

/// The server in the foreground.
pub(super) fn command(place: &Place) -> Command {
    let mut command = Command::new("redis-server");
    command
        .arg(place.folder.join("redis.conf"))
        .current_dir(&place.folder);
    command
}

/// Whether it takes our password and a ping. While it reads its file it answers neither with what is
/// expected here.
pub(super) fn answers() -> Result<()> {
    const EXPECTED: &str = "+OK\r\n+PONG\r\n";
    let mut socket = Socket::connect(Service::Redis.port())?;
    socket.send(format!("AUTH {PASSWORD}\r\nPING\r\n").as_bytes())?;
    let answer = socket.take(EXPECTED.len())?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer == EXPECTED, "Redis answers {answer:?}");
    Ok(())
}
