//! The services' programs: the released jars of Kafka and Cassandra from Maven's registry into `.tools/`, in
//! the versions of `tests/services`; Java, Redis and PostgreSQL from Debian.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::service::Service;
use super::{java, postgres};
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::tools::{self, Tool, debian, runs, same, stamp, step};

/// Installs what these services need.
pub(super) fn all(checkout: &Checkout, screen: &Screen, services: &[Service]) -> Result<()> {
    for tool in services.iter().map(|&service| tool(service)) {
        tools::ensure(checkout, screen, tool)?;
    }
    Ok(())
}

fn tool(service: Service) -> Tool {
    match service {
        Service::Kafka1 | Service::Kafka2 | Service::Kafka3 => Tool::Kafka,
        Service::Cassandra => Tool::Cassandra,
        Service::Postgres => Tool::Postgres,
        Service::Redis => Tool::Redis,
    }
}

/// Whether the jars of the pinned versions are there, and a Java that runs them.
pub(crate) fn has_jars(checkout: &Checkout, name: &str) -> bool {
    let (pom, installed) = (pom(checkout, name), installed(checkout, name));
    java::find().is_some() && same(&pom, &installed)
}

/// Whether there is a server that will do.
pub(crate) fn has_postgres() -> bool {
    postgres::programs().is_some()
}

/// Fetches the jars, and those that they need.
pub(crate) fn jars(checkout: &Checkout, screen: &Screen, name: &str) -> Result<()> {
    if java::find().is_none() {
        debian(checkout, screen, &["openjdk-17-jre-headless"])?;
    }
    if !runs("mvn", "--version") {
        debian(checkout, screen, &["maven"])?;
    }
    let folder = checkout.tools().join(name);
    fs::remove_dir_all(&folder).ok();
    let mut maven = checkout.command("mvn");
    maven
        .args(["--batch-mode", "--no-transfer-progress", "--file"])
        .arg(pom(checkout, name))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        // Nothing is kept outside the checkout.
        .arg(format!(
            "-Dmaven.repo.local={}",
            checkout.tools().join("maven").display()
        ))
        .arg(format!(
            "-DoutputDirectory={}",
            folder.join("jars").display()
        ));
    step(checkout, screen, "mvn", &mut maven)?;
    stamp(&pom(checkout, name), &installed(checkout, name))
}

/// A copy of this one says what was installed.
fn pom(checkout: &Checkout, name: &str) -> PathBuf {
    checkout
        .root()
        .join("tests/services")
        .join(name)
        .join("pom.xml")
}

fn installed(checkout: &Checkout, name: &str) -> PathBuf {
    checkout.tools().join(name).join("installed.xml")
}
