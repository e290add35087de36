//! What the run is made on: commit, processor, memory, limits.

use std::time::SystemTime;

use anyhow::Result;
use rookery_benches::handshakes;
use rookery_benches::report::Facts;
use rookery_tuning::memory::Memory;
use rookery_tuning::process::open_files_limit;

use super::form::Form;
use super::parameters::Parameters;
use crate::checkout::Checkout;
use crate::host;

pub(super) fn read(checkout: &Checkout, form: &Form, parameters: &Parameters) -> Result<Facts> {
    Ok(Facts {
        commit: host::commit(checkout),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        cpu: host::processor(),
        memory_bytes: Memory::read()?.total,
        open_files: open_files_limit()?,
        sysctls: parameters.told(),
        command: form.command.clone(),
        bare_handshakes_per_second_and_core: Some(handshakes::bare_per_second_per_core()?),
        ..Facts::default()
    })
}
