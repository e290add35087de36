//! A server, its load, and `perf record` on the server while the load is what the scenario says.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::running::Running;
use super::scenario::{Sampled, Scenario};
use crate::checkout::Checkout;
use crate::screen::Screen;
use crate::serving::free_port;

/// Samples per second of CPU; a prime number of them, so that no period of the server's falls in step.
const HERTZ: u32 = 1_999;
/// The server's start, with a commit log to make.
const START_MAX: Duration = Duration::from_secs(60);
/// Until all clients are in, at a thousand a second.
const CONNECT_MAX: Duration = Duration::from_secs(3_600);
/// The load generator rests and measures before messages flow.
const TRAFFIC_MAX: Duration = Duration::from_secs(300);
/// The end of any of the programs.
const END_MAX: Duration = Duration::from_secs(300);
/// After the last connect, logins and their writes are done.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs the scenario; where the profile is.
pub(super) fn record(
    checkout: &Checkout,
    screen: &Screen,
    scenario: &Scenario,
    binary: &Path,
) -> Result<PathBuf> {
    let folder = checkout.logs().join("flamegraph").join(scenario.name);
    // What an earlier run has left; there may be none.
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let data = folder.join("data");
    let profile = folder.join("perf.data");
    let port = free_port()?;
    let step = screen.step(scenario.name);

    step.says("the server starts");
    let configuration = folder.join("rookery.toml");
    std::fs::write(&configuration, scenario.configuration()).context("write the configuration")?;
    let mut serve = checkout.command(binary);
    serve
        .args(["serve", "--shards=1", "--config"])
        .arg(&configuration);
    serve.arg("--data").arg(&data);
    serve.arg(format!("--listen=0.0.0.0:{port}"));
    if scenario.echo {
        serve.arg("--echo");
    }
    let mut server = Running::start("the server", &mut serve, &folder.join("serve.log"))?;
    server.says("ready", START_MAX)?;

    let mut load = checkout.command(binary);
    load.arg("flock").arg(format!("wss://127.0.0.1:{port}"));
    load.arg("--data").arg(&data).args(scenario.load());
    let start_load = || Running::start("flock", &mut load, &folder.join("flock.log"));
    let start_perf = || perf(checkout, &server, &profile, &folder);
    let (mut load, mut perf) = sample(scenario, start_load, start_perf, |what| {
        step.says(what);
    })?;
    perf.stop(END_MAX)?;
    step.says("the load ends");
    let ended = load.end(END_MAX)?;
    step.end();
    ensure!(ended.success(), "flock failed:\n{}", load.output());
    server.stop(END_MAX)?;
    let bytes = std::fs::metadata(&profile).map_or(0, |file| file.len());
    ensure!(bytes > 0, "perf recorded nothing:\n{}", perf.output());
    Ok(profile)
}

/// Starts load and sampling in the order of the scenario, and returns when enough was sampled.
fn sample(
    scenario: &Scenario,
    load: impl FnOnce() -> Result<Running>,
    perf: impl FnOnce() -> Result<Running>,
    says: impl Fn(&str),
) -> Result<(Running, Running)> {
    let Scenario { connections, .. } = scenario;
    let all_in = format!("connect {connections}/{connections} in ");
    match scenario.sampled {
        Sampled::Connects => {
            let perf = perf()?;
            let mut load = load()?;
            says("clients connect, sampled");
            load.says(&all_in, CONNECT_MAX)?;
            Ok((load, perf))
        }
        Sampled::AtRest(time) => {
            let mut load = load()?;
            says("clients connect");
            load.says(&all_in, CONNECT_MAX)?;
            thread::sleep(SETTLE);
            let perf = perf()?;
            says("at rest, sampled");
            thread::sleep(time);
            Ok((load, perf))
        }
        Sampled::Traffic(time) => {
            let mut load = load()?;
            says("clients connect");
            load.says(&all_in, CONNECT_MAX)?;
            load.says("traffic ", TRAFFIC_MAX)?;
            let perf = perf()?;
            says("messages flow, sampled");
            thread::sleep(time);
            Ok((load, perf))
        }
    }
}

fn perf(checkout: &Checkout, server: &Running, profile: &Path, folder: &Path) -> Result<Running> {
    let mut command = checkout.command("perf");
    command
        .args(["record", "--event=cpu-clock", "--call-graph=fp"])
        .arg(format!("--freq={HERTZ}"))
        .arg(format!("--pid={}", server.pid()))
        .arg("--output")
        .arg(profile);
    let perf = Running::start("perf", &mut command, &folder.join("perf.log"))?;
    // It says nothing when it has begun.
    thread::sleep(Duration::from_millis(300));
    Ok(perf)
}
