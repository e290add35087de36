//! The bench `instructions`: built, and walked path by path under callgrind.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::{cargo, process};

/// A path takes seconds under callgrind.
const PATH_LIMIT: Duration = Duration::from_secs(5 * 60);
/// What callgrind counts: the function of this name in the bench, and all that it calls.
const COUNTED: &str = "instructions::measured*";

/// The built bench.
pub(super) struct Bench(PathBuf);

impl Bench {
    /// Builds it with the workspace, so that every crate has the features that it has in the server.
    pub(super) fn build(checkout: &Checkout, screen: &Screen) -> Result<Self> {
        let mut command = checkout.cargo();
        command.args(["build", "--release", "--locked", "--workspace"]);
        // Incremental builds cut a crate into other units, and what is inlined depends on them.
        command.env("CARGO_INCREMENTAL", "0");
        command.args(["--bench", "instructions", "--message-format", "json"]);
        let log = "instructions-build";
        let ended = cargo::build(checkout, screen, "cargo build", log, &mut command)?;
        ended
            .lines
            .iter()
            .find_map(|line| executable(line))
            .map(Self)
            .context("cargo did not tell where the bench `instructions` is")
    }

    /// The names of the paths.
    pub(super) fn paths(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.0)
            .arg("list")
            .output()
            .context("the bench")?;
        ensure!(output.status.success(), "the bench tells no paths");
        let names = String::from_utf8(output.stdout).context("a path's name")?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The processor as the program sees it under valgrind.
    pub(super) fn processor(&self) -> Result<String> {
        let mut valgrind = Command::new("valgrind");
        let output = valgrind
            .args(["--tool=none", "--quiet"])
            .arg(&self.0)
            .arg("cpu")
            .output()
            .context("valgrind")?;
        ensure!(
            output.status.success(),
            "valgrind: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Instructions of one operation.
    pub(super) fn count(&self, checkout: &Checkout, screen: &Screen, path: &str) -> Result<u64> {
        let step = screen.step(path);
        let out = checkout.logs().join(format!("callgrind-{path}.out"));
        let mut command = checkout.command("valgrind");
        command
            .args(["--tool=callgrind", "--collect-atstart=no"])
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(&self.0)
            .args(["run", path]);
        let log = checkout.logs().join(format!("callgrind-{path}.log"));
        let ended = process::run(&mut command, &log, PATH_LIMIT, &step);
        step.end();
        let ended = ended?;
        ensure!(ended.success, "{path} under callgrind:\n{}", ended.tail(20));
        per_operation(&ended.lines).with_context(|| {
            format!(
                "callgrind counted nothing for {path}, see {}",
                ended.log.display()
            )
        })
    }
}

/// From one of cargo's messages, where it is about the bench.
fn executable(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let ours =
        message["target"]["name"] == "instructions" && message["target"]["kind"][0] == "bench";
    ours.then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// From the bench's line, the number of operations, and callgrind's `==PID== Collected : INSTRUCTIONS`.
fn per_operation(lines: &[String]) -> Option<u64> {
    let operations: u64 = lines.iter().find_map(|line| line.parse().ok())?;
    let collected: u64 = lines
        .iter()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())?;
    (collected > 0).then(|| collected / operations.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_of_one_operation() {
        let lines = |collected: &str| {
            ["==7== Callgrind", "256", "==7== ", collected]
                .map(str::to_owned)
                .to_vec()
        };
        assert_eq!(
            per_operation(&lines("==7== Collected : 704000")),
            Some(2_750)
        );
        assert_eq!(per_operation(&lines("==7== Collected : 0")), None);
        assert_eq!(per_operation(&lines("==7== Events    : Ir")), None);
    }

    #[test]
    fn the_bench_is_found_among_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"instructions"},"executable":"/t/instructions-1"}"#;
        assert_eq!(
            executable(message),
            Some(PathBuf::from("/t/instructions-1"))
        );
        assert_eq!(executable(&message.replace("bench", "lib")), None);
        assert_eq!(executable("   Compiling instructions"), None);
    }
}
