//! A Cassandra node: its files, its command, its role, and whether it answers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::address::{PASSWORD, USER};
use super::java;
use super::place::Place;
use super::service::Service;
use super::socket::{Cursor, Socket, plain, sized, string};

/// The role that a new node has, and its password.
const FIRST_ROLE: &str = "cassandra";

/// CQL's native protocol, version 4: opcodes (section 2.4 of its specification).
const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const AUTHENTICATE: u8 = 0x03;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const AUTH_RESPONSE: u8 = 0x0F;
const AUTH_SUCCESS: u8 = 0x10;

/// Writes the node's configuration.
pub(super) fn prepare(place: &Place) -> Result<()> {
    let values = [
        ("port", &*Service::Cassandra.port().to_string()),
        ("storage_port", &Service::Cassandra.peers_port().to_string()),
        ("certificate", &place.certificates.both.to_string_lossy()),
        ("folder", &place.text()),
    ];
    place.write("cassandra/cassandra.yaml", &values)?;
    place.write("cassandra/logback.xml", &[])?;
    place.write("cassandra/jvm.options", &values[3..])?;
    Ok(())
}

/// The node in the foreground.
pub(super) fn command(place: &Place) -> Result<Command> {
    let options = fs::read_to_string(place.folder.join("jvm.options"))?;
    let jars = place.tools.join("cassandra/jars");
    let mut command = Command::new(java::find().context("no Java 17")?);
    command
        .args(options.lines().filter(|line| line.starts_with('-')))
        .arg(format!("-javaagent:{}", agent(&jars)?.display()))
        .arg("-Dcassandra-foreground=yes")
        .arg("-cp")
        .arg(format!("{}:{}/*", place.folder.display(), jars.display()))
        .arg("org.apache.cassandra.service.CassandraDaemon")
        .current_dir(&place.folder);
    Ok(command)
}

/// Cassandra weighs its memtables with this one, which has to be loaded as an agent.
fn agent(jars: &PathBuf) -> Result<PathBuf> {
    let entries = fs::read_dir(jars).with_context(|| format!("read {}", jars.display()))?;
    let names = entries.flatten().map(|entry| entry.path());
    let is_agent = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with("jamm-"))
    };
    names.into_iter().find(is_agent).context("no jamm-*.jar")
}

/// Whether our role can read. The first time there is none: it is made, and the one with the well-known
/// password goes.
pub(super) fn answers() -> Result<()> {
    let port = Service::Cassandra.port();
    if let Ok(mut session) = log_in(port, USER, PASSWORD) {
        return query(&mut session, "SELECT release_version FROM system.local");
    }
    let mut first = log_in(port, FIRST_ROLE, FIRST_ROLE)?;
    let make = format!(
        "CREATE ROLE IF NOT EXISTS {USER} WITH PASSWORD = '{PASSWORD}' AND LOGIN = true AND SUPERUSER = true"
    );
    query(&mut first, &make)?;
    let mut session = log_in(port, USER, PASSWORD)?;
    query(&mut session, &format!("DROP ROLE IF EXISTS {FIRST_ROLE}"))
}

fn log_in(port: u16, user: &str, password: &str) -> Result<Socket> {
    let mut socket = Socket::connect(port)?;
    let mut options = 1_u16.to_be_bytes().to_vec();
    options.extend(string("CQL_VERSION"));
    options.extend(string("3.0.0"));
    let (opcode, _) = ask(&mut socket, STARTUP, &options)?;
    ensure!(
        opcode == AUTHENTICATE,
        "the node asks for no password (opcode {opcode})"
    );
    let (opcode, _) = ask(&mut socket, AUTH_RESPONSE, &plain(user, password))?;
    ensure!(opcode == AUTH_SUCCESS, "log in as {user}: opcode {opcode}");
    Ok(socket)
}

/// Runs a statement with consistency ONE and gives up its result.
fn query(socket: &mut Socket, statement: &str) -> Result<()> {
    const ONE: u16 = 1;
    const NO_FLAGS: u8 = 0;
    let mut body = sized(statement.as_bytes());
    body.extend(ONE.to_be_bytes());
    body.push(NO_FLAGS);
    let (opcode, _) = ask(socket, QUERY, &body)?;
    ensure!(opcode == RESULT, "{statement}: opcode {opcode}");
    Ok(())
}

/// Sends a frame (section 2 of the specification) and gives the answer's opcode and body. A node's error is
/// an error here.
fn ask(socket: &mut Socket, opcode: u8, body: &[u8]) -> Result<(u8, Vec<u8>)> {
    const VERSION: u8 = 4;
    // No flags, stream 0.
    let mut frame = vec![VERSION, 0, 0, 0, opcode];
    frame.extend(sized(body));
    socket.send(&frame)?;
    let head = socket.take(5)?;
    let body = socket.take_sized()?;
    if head[4] == ERROR {
        let mut fields = Cursor::new(&body);
        let code = fields.i32()?;
        bail!("the node answers error {code:#06x}: {}", fields.string()?);
    }
    Ok((head[4], body))
}
