//! The Java that Kafka and Cassandra run on. Cassandra 5 runs on 11 and 17 only, so that a newer one which
//! is the host's default does not do.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian puts them.
const HOMES: &str = "/usr/lib/jvm";

/// The program `java` of a Java 17, in Debian's folder or on the path.
pub(crate) fn find() -> Option<PathBuf> {
    let homes = std::fs::read_dir(HOMES).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = homes
        .filter(|home| home.file_name().to_string_lossy().contains("java-17-"))
        .map(|home| home.path().join("bin/java"))
        .filter(|java| java.is_file())
        .collect();
    found.sort();
    found
        .into_iter()
        .next()
        .or_else(|| is_17(Path::new("java")).then(|| "java".into()))
}

fn is_17(java: &Path) -> bool {
    let output = Command::new(java).arg("-version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("version \"17."))
}
