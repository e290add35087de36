//! What the process and the host use, for admission's account (see `admission::Sample`).

use anyhow::Context as _;
use rookery_tuning::memory::{Memory, group_max_bytes};
use rookery_tuning::{process, sockets};

use crate::admission::Sample;

/// What is used now, with so many connections.
pub(super) fn sample(connections: u64) -> anyhow::Result<Sample> {
    Ok(Sample {
        resident_bytes: process::own_resident_bytes()?,
        socket_bytes: sockets::tcp_buffer_bytes()?,
        connections,
    })
}

/// What the kernel's TCP may hold in the buffers of all sockets.
pub(super) fn tcp_bytes_max() -> anyhow::Result<u64> {
    Ok(sockets::tcp_buffer_bytes_max()?)
}

/// What this process may use: the host's memory, or what its control group leaves of it.
pub(super) fn host_bytes() -> anyhow::Result<u64> {
    let host = Memory::read().context("how much memory there is")?.total;
    Ok(host.min(group_max_bytes().unwrap_or(u64::MAX)))
}
