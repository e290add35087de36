//! The report of a run: what its parts found, put together.

use std::sync::atomic::Ordering::Relaxed;

use super::host;
use super::measure::{self, Sample};
use super::phases::Run;
use super::record::Traffic;
use super::report::Report;
use super::stages::Stages;

/// Everything but memory, before anybody says goodbye.
pub(super) fn report(run: &Run<'_>, traffic: &Traffic) -> Report {
    let (args, counts) = (run.args, &run.plan.counts);
    let (rtt, ack) = (traffic.rtt.as_ref(), traffic.ack.as_ref());
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        url: args.url.clone(),
        mode: if args.echo { "echo" } else { "chat" }.to_owned(),
        rtt_is: if args.echo {
            "due to echoed"
        } else {
            "due to delivered at the other client, durable; ack: due to acknowledged"
        }
        .to_owned(),
        kernel: host::kernel(),
        cores: host::cores(),
        sysctls: host::sysctls(),
        interrupted: run.stop.load(Relaxed),
        connections: args.connections,
        established: counts.established.value(),
        failed: counts.failed.value(),
        lost: counts.lost.value(),
        errors: counts.failures(),
        talkers: traffic.talkers,
        payload_bytes: args.payload_bytes,
        rate_asked: args.rate,
        rate_done: traffic.rate_done,
        traffic_seconds: traffic.seconds,
        sent: traffic.sent,
        unsent: traffic.unsent,
        acked: traffic.acked,
        delivered: traffic.delivered,
        rtt_p50_us: rtt.map(|rtt| rtt.p50_us),
        rtt_p99_us: rtt.map(|rtt| rtt.p99_us),
        rtt_p999_us: rtt.map(|rtt| rtt.p999_us),
        rtt_max_us: rtt.map(|rtt| rtt.max_us),
        ack_p50_us: ack.map(|ack| ack.p50_us),
        ack_p99_us: ack.map(|ack| ack.p99_us),
        ack_max_us: ack.map(|ack| ack.max_us),
        server_pid: run.server,
        ..Report::default()
    }
}

/// The rests of a run, beside those of its stages.
pub(super) struct Rests<'a> {
    /// After the warm-up.
    pub(super) before: &'a Sample,
    /// After the traffic.
    pub(super) after: &'a Sample,
    /// After the storm, where there was one: the last before the goodbyes.
    pub(super) last: &'a Sample,
    /// After the goodbyes.
    pub(super) gone: &'a Sample,
}

/// What the rests say about memory.
pub(super) fn remember(report: &mut Report, stages: &Stages, rests: &Rests<'_>) {
    let (before, at_rest) = (rests.before, &stages.at_rest);
    let sum = |parts: &[measure::Part]| parts.iter().map(|part| part.bytes).sum();
    let came: u64 = stages
        .told
        .iter()
        .map(|stage| stage.ramp.to - stage.ramp.from)
        .sum();
    let seconds: f64 = stages.told.iter().map(|stage| stage.ramp.seconds).sum();
    report.connect_seconds = seconds;
    report.connects_per_second = came as f64 / seconds.max(0.001);
    report.warm_up_connections = before.connections;
    report.server_rss_before_bytes = before.server_rss;
    report.server_rss_at_rest_bytes = at_rest.server_rss;
    report.server_rss_after_traffic_bytes = rests.after.server_rss;
    report.server_rss_after_storm_bytes = rests.last.server_rss;
    report.server_rss_after_goodbye_bytes = rests.gone.server_rss;
    report.user_bytes_per_connection_given_back = measure::user_bytes(rests.gone, rests.last);
    if let Some(stage) = stages.told.last() {
        // Memory of the warm-up that the server gives back late makes the connections of a ramp look
        // cheaper than they are: the larger of the two counts.
        report.server_user_bytes_per_connection = stage
            .server_user_bytes
            .zip(stage.ramp_user_bytes)
            .map(|(all, last)| all.max(last));
        report.client_user_bytes_per_connection = stage.client_user_bytes;
    }
    report.user_bytes_per_connection_after_traffic = report
        .server_user_bytes_per_connection
        .zip(left_by_messages(before, at_rest, rests.after))
        .map(|(connections, messages)| connections + messages);
    report.user_bytes_per_connection_after_storm = report
        .server_user_bytes_per_connection
        .zip(left_by_messages(before, at_rest, rests.last))
        .map(|(connections, messages)| connections + messages);
    report.kernel_parts = measure::kernel_parts(before, at_rest).unwrap_or_default();
    report.kernel_bytes_per_pair = measure::kernel_parts(before, at_rest).as_deref().map(sum);
    report.kernel_bytes_per_pair_after_traffic = measure::kernel_parts(before, rests.after)
        .as_deref()
        .map(sum);
    report.kernel_slab_pages_bytes_per_pair = measure::slab_bytes(before, at_rest);
    report.host_free_bytes_per_pair = measure::host_bytes(before, at_rest);
}

/// By what the server grew at the full size, per connection.
fn left_by_messages(before: &Sample, at_rest: &Sample, later: &Sample) -> Option<f64> {
    let came = at_rest.connections.checked_sub(before.connections)?;
    let grown = later.server_rss? as f64 - at_rest.server_rss? as f64;
    (came > 0).then(|| grown / came as f64)
}
