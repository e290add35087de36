//! What `up` leaves for others: the variables by which tests find the services, and a configuration of
//! Rookery that uses them.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::address::Addresses;
use crate::checkout::Checkout;

/// The configuration that users begin with.
const TEMPLATE: &str = "docs/deploy/cluster.toml";

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

/// `docs/deploy/cluster.toml` with the services' addresses, and its own folder for what is left.
pub(super) fn cluster(checkout: &Checkout, addresses: &Addresses) -> Result<()> {
    let template = checkout.root().join(TEMPLATE);
    let text = fs::read_to_string(&template).with_context(|| format!("read {TEMPLATE}"))?;
    let mut table = with_addresses(&text, addresses)?;
    let data = checkout.services().join("rookery-data");
    table.insert("data".to_owned(), data.display().to_string().into());
    let text =
        format!("# {TEMPLATE} for the services that `cargo xtask services up` started.\n{table}");
    write(cluster_file(checkout), &text)
}

fn with_addresses(template: &str, addresses: &Addresses) -> Result<Table> {
    let mut table: Table = template
        .parse()
        .with_context(|| format!("parse {TEMPLATE}"))?;
    let brokers = addresses.kafka.split(',').map(Value::from).collect();
    set(&mut table, "kafka", "brokers", Value::Array(brokers))?;
    let nodes = Value::Array(vec![addresses.cql.as_str().into()]);
    set(&mut table, "cql", "nodes", nodes)?;
    let postgres = addresses.postgres.as_str().into();
    set(&mut table, "postgres", "url", postgres)?;
    set(&mut table, "redis", "url", addresses.redis.as_str().into())?;
    Ok(table)
}

pub(super) fn cluster_file(checkout: &Checkout) -> PathBuf {
    checkout.services().join("cluster.toml")
}

fn set(table: &mut Table, section: &str, key: &str, value: Value) -> Result<()> {
    let section = table
        .get_mut(section)
        .and_then(Value::as_table_mut)
        .with_context(|| format!("{TEMPLATE} has no [{section}]"))?;
    section.insert(key.to_owned(), value);
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<()> {
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::service::Service;
    use super::*;

    const CLUSTER: &str = include_str!("../../../docs/deploy/cluster.toml");
    const COMPOSE: &str = include_str!("../../../docs/deploy/compose.yaml");

    #[test]
    fn the_documented_addresses_are_those_of_our_services() {
        let ours = with_addresses(CLUSTER, &Addresses::ours()).unwrap();
        assert_eq!(ours, CLUSTER.parse::<Table>().unwrap());
        for service in Service::ALL {
            let published = format!("\"127.0.0.1:{}:", service.port());
            assert!(
                COMPOSE.contains(&published),
                "no {published} in compose.yaml"
            );
        }
    }

    #[test]
    fn other_addresses_are_written_down() {
        let mut elsewhere = Addresses::ours();
        elsewhere.kafka = "a:1,b:2".to_owned();
        let table = with_addresses(CLUSTER, &elsewhere).unwrap();
        let brokers = table["kafka"]["brokers"].as_array().unwrap();
        assert_eq!(brokers, &[Value::from("a:1"), Value::from("b:2")]);
        let error = with_addresses("[kafka]\n", &elsewhere).unwrap_err();
        assert!(error.to_string().contains("[cql]"), "{error}");
    }
}
