//! The page: goals first, then the plots, then everything that a reader needs to judge and repeat them.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::{bytes, count, gib, time_us};
use super::{Density, plots};
use crate::flock::record::{Cpu, Latency, Stage, Storm};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem } figure { margin: 1rem 0 2rem }
figure svg { width: 100%; height: auto } figcaption { color: #555; font-size: .9rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } .met { color: #00734f; font-weight: 600 } .not { color: #b04000; font-weight: 600 }
pre { background: #f6f6f6; padding: .6rem; overflow-x: auto; font-size: .85rem }
";

pub(super) fn render(density: &Density) -> anyhow::Result<String> {
    let flock = &density.flock;
    let kind = if flock.url.starts_with("wss:") {
        "TLS 1.3"
    } else {
        "plain"
    };
    let title = format!(
        "{} {kind} connections on one host",
        count(flock.established)
    );
    let plots = plots::all(flock)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Rookery: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p {
                    "Commit " code { (density.facts.commit) } ", " (density.facts.date) ", Linux "
                    (flock.kernel) ", " (flock.cores) " cores (" (density.facts.cpu) "), "
                    (gib(density.facts.memory_bytes)) " of memory. Server and load generator on the same host."
                }
                h2 { "Goals" }
                (goals(density))
                h2 { "Gates" }
                (gates(density))
                @for plot in &plots {
                    figure {
                        h2 { (plot.title) }
                        (PreEscaped(&plot.svg))
                        figcaption { (plot.about) }
                    }
                }
                h2 { "Figures by size" }
                (sizes(&flock.stages))
                @if let Some(storm) = &flock.storm {
                    h2 { "The storm" }
                    (parts(storm))
                }
                h2 { "How it was made" }
                (setting(density))
                h2 { "Not measured" }
                ul { @for line in &density.not_measured { li { (line) } } }
            }
        }
    };
    Ok(page.into_string())
}

fn goals(density: &Density) -> Markup {
    html! {
        table {
            tr { th { "figure" } th { "goal" } th { "reached" } th { "" } }
            @for goal in density.goals() {
                tr {
                    td { (goal.figure) } td { (goal.goal) } td { (goal.reached) }
                    td class=(class(goal.met)) { (goal.verdict()) }
                }
            }
        }
    }
}

fn gates(density: &Density) -> Markup {
    html! {
        table {
            @for gate in density.gates() {
                tr {
                    td { (gate.name) } td { (gate.found) }
                    td class=(class(Some(gate.held))) { (if gate.held { "held" } else { "broken" }) }
                }
            }
        }
    }
}

fn class(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "not",
        None => "",
    }
}

fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or("-".to_owned(), show)
}

fn sizes(stages: &[Stage]) -> Markup {
    let ms = |cpu: f64| format!("{cpu:.0} us");
    html! {
        table {
            tr {
                th.n { "connections" } th.n { "made per second" } th.n { "server CPU each" }
                th.n { "server, user space" } th.n { "of this ramp alone" } th.n { "client, user space" } th.n { "kernel, both ends" }
                th.n { "MemFree" } th.n { "server CPU at rest" }
            }
            @for stage in stages {
                tr {
                    td.n { (count(stage.connections)) }
                    td.n { (format!("{:.0}", stage.ramp.per_second())) }
                    td.n { (or_dash(stage.ramp.server_us_each(), ms)) }
                    td.n { (or_dash(stage.server_user_bytes, bytes)) }
                    td.n { (or_dash(stage.ramp_user_bytes, bytes)) }
                    td.n { (or_dash(stage.client_user_bytes, bytes)) }
                    td.n { (bytes(stage.kernel_parts.iter().map(|part| part.bytes).sum())) }
                    td.n { (or_dash(stage.host_free_bytes, bytes)) }
                    td.n { (or_dash(stage.idle_cpu.as_ref(), |cpu| format!("{:.1} % of a core", 100.0 * cpu.cores()))) }
                }
            }
        }
        p { }
        table {
            tr {
                th.n { "connections" } th.n { "messages/s" } th.n { "talkers" } th.n { "p50" } th.n { "p99" }
                th.n { "p99.9" } th.n { "max" } th.n { "CPU each, net" } th.n { "gross" } th { "server's threads, share of a core" }
            }
            @for stage in stages {
                @for traffic in &stage.traffic {
                    tr {
                        td.n { (count(stage.connections)) }
                        td.n { (format!("{:.0}", traffic.rate_done)) }
                        td.n { (count(traffic.talkers)) }
                        (percentiles(traffic.rtt.as_ref()))
                        td.n { (or_dash(stage.idle_cpu.as_ref().and_then(|idle| traffic.net_us(idle)), |us| format!("{us:.1} us"))) }
                        td.n { (or_dash(traffic.gross_us(), |us| format!("{us:.1} us"))) }
                        td { (or_dash(traffic.server_cpu.as_ref(), threads)) }
                    }
                }
            }
        }
    }
}

fn percentiles(latency: Option<&Latency>) -> Markup {
    let of = |value: fn(&Latency) -> u64| or_dash(latency, |latency| time_us(value(latency)));
    html! {
        td.n { (of(|it| it.p50_us)) } td.n { (of(|it| it.p99_us)) }
        td.n { (of(|it| it.p999_us)) } td.n { (of(|it| it.max_us)) }
    }
}

/// The busiest threads, those that matter.
fn threads(cpu: &Cpu) -> String {
    let mut all: Vec<(&String, f64)> = cpu
        .threads_s
        .iter()
        .map(|(name, seconds)| (name, 100.0 * seconds / cpu.seconds.max(0.001)))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = all.iter().filter(|(_, part)| *part >= 0.5).take(8);
    shown
        .map(|(name, part)| format!("{name} {part:.1} %"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn parts(storm: &Storm) -> Markup {
    html! {
        p {
            (count(storm.cut)) " connections cut off, " (count(storm.reconnected)) " came back ("
            (or_dash(storm.per_second(), |rate| format!("{rate:.0}/s"))) ", "
            (or_dash(storm.server_us_each(), |us| format!("{us:.0} us"))) " of server CPU each), "
            (count(storm.window.into())) " under way at one time; " (count(storm.tried_again)) " attempts were refused or broke off and were made again. "
            (count(storm.established)) " established ones went on with " (count(storm.rate_asked.into())) " messages/s; "
            (storm.lost) " of them were lost."
        }
        table {
            tr {
                th { "part" } th.n { "seconds" } th.n { "p50" } th.n { "p99" } th.n { "p99.9" } th.n { "max" }
                th.n { "server, cores" } th.n { "load generator, cores" }
            }
            @for phase in &storm.phases {
                tr {
                    td { (phase.name) } td.n { (format!("{:.1}", phase.seconds)) }
                    (percentiles(phase.rtt.as_ref()))
                    td.n { (or_dash(phase.server_cpu.as_ref(), |cpu| format!("{:.2}", cpu.cores()))) }
                    td.n { (or_dash(phase.own_cpu.as_ref(), |cpu| format!("{:.2}", cpu.cores()))) }
                }
            }
        }
    }
}

fn setting(density: &Density) -> Markup {
    let facts = &density.facts;
    html! {
        p { "The whole run again:" }
        pre { (facts.command) }
        p { "It started these, and took " (format!("{:.0}", facts.took_s)) " s:" }
        pre { (facts.server_command) "\n" (facts.flock_command) }
        p { "The server's configuration, beside what it ships with:" }
        pre { (facts.server_config) }
        p { "RLIMIT_NOFILE " (facts.open_files.0) " (hard " (facts.open_files.1) "). Kernel parameters (sysctl/90-rookery-density.conf has the reasons):" }
        table {
            @for sysctl in &facts.sysctls {
                tr { td { code { (sysctl.key) } } td { (sysctl.value) } td { @if let Some(before) = &sysctl.before { "was " (before) } } }
            }
        }
        @if !density.flock.errors.is_empty() {
            p { "Errors that the load generator met:" }
            table { @for (error, times) in &density.flock.errors { tr { td.n { (count(*times)) } td { (error) } } } }
        }
    }
}
