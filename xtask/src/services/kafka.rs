//! A Kafka node in KRaft mode, broker and controller in one: its files, its command, and whether it answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::address::{PASSWORD, USER};
use super::java;
use super::place::Place;
use super::service::Service;
use super::socket::{Cursor, Socket, plain, sized, string};
use crate::process;
use crate::screen::Step;

/// The cluster's id: 16 bytes in base64, the same for every node.
const CLUSTER: &str = "rookery-test-cluster-A";

/// Starting a JVM that writes two small files.
const FORMAT_MAX: Duration = Duration::from_secs(60);

/// Three brokers with test topics need little. The collector with the least memory beside the heap.
const HEAP: [&str; 3] = ["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC"];

/// Kafka's protocol: the keys of the requests that a probe sends.
const METADATA: i16 = 3;
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// Writes the node's configuration and, the first time, the identity that Kafka wants in its data folder.
pub(super) fn prepare(place: &Place, service: Service, node: usize, step: &Step) -> Result<()> {
    let voter = |broker: Service| {
        let id = broker.broker().unwrap_or(0);
        format!("{id}@127.0.0.1:{}", broker.peers_port())
    };
    let voters = Service::BROKERS.map(voter).join(",");
    let values = [
        ("node", &*node.to_string()),
        ("voters", &voters),
        ("port", &service.port().to_string()),
        ("tls_port", &service.tls_port().to_string()),
        ("certificate", &place.certificates.both.to_string_lossy()),
        ("controller_port", &service.peers_port().to_string()),
        ("user", USER),
        ("password", PASSWORD),
        ("folder", &place.text()),
    ];
    let config = place.write("kafka/server.properties", &values)?;
    place.write("kafka/log4j2.properties", &[])?;
    if place.folder.join("data/meta.properties").exists() {
        return Ok(());
    }
    let mut command = jvm(place)?;
    command
        .args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["kafka.tools.StorageTool", "format", "--ignore-formatted"])
        .args(["--cluster-id", CLUSTER, "--config"])
        .arg(config);
    let log = place.folder.join("format.log");
    let ended = process::run(&mut command, &log, FORMAT_MAX, step)?;
    ensure!(
        ended.success,
        "kafka.tools.StorageTool format:\n{}",
        ended.tail(15)
    );
    Ok(())
}

/// The node in the foreground.
pub(super) fn command(place: &Place) -> Result<Command> {
    let mut command = jvm(place)?;
    command
        .args(HEAP)
        .arg("kafka.Kafka")
        .arg(place.folder.join("server.properties"));
    Ok(command)
}

/// Java with Kafka's jars, logging as configured.
fn jvm(place: &Place) -> Result<Command> {
    let mut command = Command::new(java::find().context("no Java 17")?);
    command
        .arg("-cp")
        .arg(class_path(&place.tools))
        .arg(format!(
            "-Dlog4j2.configurationFile={}",
            place.folder.join("log4j2.properties").display()
        ))
        .current_dir(&place.folder);
    Ok(command)
}

/// Every class of Kafka, its tools among them.
fn class_path(tools: &Path) -> String {
    format!("{}/*", tools.join("kafka/jars").display())
}

/// How many brokers the one on this port knows to be alive, itself among them. It is asked as a client asks:
/// with our user, for the cluster's metadata.
pub(super) fn brokers(port: u16) -> Result<usize> {
    let mut socket = Socket::connect(port)?;
    let answer = ask(&mut socket, SASL_HANDSHAKE, 1, &string("PLAIN"))?;
    let error = Cursor::new(&answer).i16()?;
    ensure!(error == 0, "SaslHandshake: error {error}");
    let answer = ask(&mut socket, SASL_AUTHENTICATE, 0, &plain(USER, PASSWORD))?;
    let mut fields = Cursor::new(&answer);
    let error = fields.i16()?;
    ensure!(error == 0, "SaslAuthenticate: {}", fields.string()?);
    // Of no topic; the brokers come first in the answer.
    let answer = ask(&mut socket, METADATA, 1, &0_i32.to_be_bytes())?;
    Ok(Cursor::new(&answer).i32()?.try_into()?)
}

/// Sends a request with a header of version 1; gives the answer after its header.
fn ask(socket: &mut Socket, key: i16, version: i16, body: &[u8]) -> Result<Vec<u8>> {
    /// One request at a time: any number does.
    const CORRELATION: i32 = 1;
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend(string("xtask"));
    request.extend(body);
    socket.send(&sized(&request))?;
    let answer = socket.take_sized()?;
    let mut fields = Cursor::new(&answer);
    let correlation = fields.i32()?;
    ensure!(
        correlation == CORRELATION,
        "an answer to request {correlation}"
    );
    Ok(answer[4..].to_vec())
}
