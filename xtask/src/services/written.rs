//! What `up` leaves for others: the variables by which tests find the services, and a configuration of
//! Rookery that uses them.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::address::Addresses;
use crate::checkout::Checkout;

/// Lines for a shell to read: `set -a; . target/services/env`.
pub(super) fn environment(checkout: &Checkout, addresses: &Addresses) -> Result<()> {
    let mut text = String::new();
    for (name, value) in addresses.environment() {
        writeln!(text, "{name}='{value}'")?;
    }
    write(environment_file(checkout), &text)
}

pub(super) fn environment_file(checkout: &Checkout) -> PathBuf {
    checkout.services().join("env")
}

/// `docs/deploy/cluster.toml` with the services' addresses.
pub(super) fn cluster(checkout: &Checkout, addresses: &Addresses) -> Result<()> {
    let template = checkout.root().join("docs/deploy/cluster.toml");
    let text =
        fs::read_to_string(&template).with_context(|| format!("read {}", template.display()))?;
    let mut table: Table = text
        .parse()
        .with_context(|| format!("parse {}", template.display()))?;
    let data = checkout.services().join("rookery-data");
    table.insert("data".to_owned(), data.display().to_string().into());
    let brokers = addresses.kafka.split(',').map(Value::from).collect();
    set(&mut table, "kafka", "brokers", Value::Array(brokers))?;
    let nodes = Value::Array(vec![addresses.cql.as_str().into()]);
    set(&mut table, "cql", "nodes", nodes)?;
    set(
        &mut table,
        "postgres",
        "url",
        addresses.postgres.as_str().into(),
    )?;
    set(&mut table, "redis", "url", addresses.redis.as_str().into())?;
    let text = format!(
        "# docs/deploy/cluster.toml for the services that `cargo xtask services up` started.\n{table}"
    );
    write(cluster_file(checkout), &text)
}

pub(super) fn cluster_file(checkout: &Checkout) -> PathBuf {
    checkout.services().join("cluster.toml")
}

fn set(table: &mut Table, section: &str, key: &str, value: Value) -> Result<()> {
    let section = table
        .get_mut(section)
        .and_then(Value::as_table_mut)
        .with_context(|| format!("docs/deploy/cluster.toml has no [{section}]"))?;
    section.insert(key.to_owned(), value);
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<()> {
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
