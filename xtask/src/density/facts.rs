//! What the run is made on: commit, processor, memory, limits.

use std::time::SystemTime;

use anyhow::{Context, Result};
use rookery_benches::handshakes;
use rookery_benches::report::Facts;
use rookery_tuning::memory::Memory;
use rookery_tuning::process::open_files_limit;

use super::form::Form;
use super::parameters::Parameters;
use crate::checkout::Checkout;

pub(super) fn read(checkout: &Checkout, form: &Form, parameters: &Parameters) -> Result<Facts> {
    Ok(Facts {
        commit: commit(checkout)?,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        cpu: cpu(&std::fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?),
        memory_bytes: Memory::read()?.total,
        open_files: open_files_limit()?,
        sysctls: parameters.told(),
        command: form.command.clone(),
        bare_handshakes_per_second_and_core: Some(handshakes::bare_per_second_per_core()?),
        ..Facts::default()
    })
}

/// The commit, and whether files differ from it. Reports themselves do not count.
fn commit(checkout: &Checkout) -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = checkout
            .command("git")
            .args(arguments)
            .output()
            .context("git")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", ".", ":!docs/density"])?;
    Ok(match (commit.is_empty(), changed.is_empty()) {
        (true, _) => "unknown".to_owned(),
        (false, true) => commit,
        (false, false) => format!("{commit} with changes"),
    })
}

/// The processor's name, from the first that is told.
fn cpu(cpuinfo: &str) -> String {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_has_a_name() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU 9\nprocessor\t: 1\n";
        assert_eq!(super::cpu(text), "Some CPU 9");
        assert_eq!(super::cpu(""), "unknown processor");
    }
}
