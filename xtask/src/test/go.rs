//! The group `go`: the client in `clients/go`, its golden vectors and its sessions with a real server, by
//! the Go toolchain's own runner. What Go downloads and builds goes into our folders.

use anyhow::Result;

use super::group::Group;
use super::tally::Tally;
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::{cargo, process};

pub(super) fn run(checkout: &Checkout, screen: &Screen) -> Result<Tally> {
    cargo::build_server(checkout, screen)?;
    let folder = checkout.tools().join("go");
    let step = screen.step("go test");
    let mut command = checkout.command("go");
    command
        .current_dir(checkout.root().join("clients/go"))
        .args(["test", "-v", "-count=1", "-mod=readonly", "./..."])
        .env("ROOKERY_BIN", checkout.rookery())
        .env("GOPATH", folder.join("path"))
        .env("GOCACHE", folder.join("cache"));
    let log = checkout.logs().join("go.log");
    let ended = process::run(&mut command, &log, Group::Go.limit(), &step);
    step.end();
    let ended = ended?;
    Ok(count(&ended.lines).with_verdict(ended.success, &ended.tail(60)))
}

/// Counts the lines "--- PASS: TestName (0.01s)" and keeps what those that failed said, which `go test -v`
/// prints before its verdict. A skipped test has failed: nothing was shown.
fn count(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("--- PASS: ") {
            tally.passed += 1;
        } else if line.starts_with("--- FAIL: ") || line.starts_with("--- SKIP: ") {
            tally.failed += 1;
            let said = lines[..at].iter().rev();
            let said = said.take_while(|line| line.starts_with("    ")).count();
            tally.failures.push(lines[at - said..=at].join("\n"));
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_test_has_failed() {
        let lines = [
            "=== RUN   TestA",
            "--- PASS: TestA (0.00s)",
            "    b_test.go:3: why",
            "--- FAIL: TestB (0.01s)",
            "--- SKIP: TestC (0.00s)",
        ];
        let tally = count(&lines.map(str::to_owned));
        assert_eq!((tally.passed, tally.failed), (1, 2));
        assert_eq!(
            tally.failures,
            [
                "    b_test.go:3: why\n--- FAIL: TestB (0.01s)",
                "--- SKIP: TestC (0.00s)"
            ]
        );
    }
}
