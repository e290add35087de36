//! The project's goals beside what a run reached. A goal whose conditions a run does not have (its size,
//! its rate, another server) is not judged, and says why.

use super::facts::Facts;
use super::figures::{bytes, count, time_us};
use crate::flock::Report as Flock;
use crate::flock::record::{Stage, Storm, Traffic};

/// The kernel's bytes of a TCP connection with nothing armed.
const KERNEL_FLOOR_BYTES: f64 = 3_900.0;
/// Sizes and rates that goals are set for.
const FULL: u64 = 2_000_000;
const FULL_HOLD_S: f64 = 600.0;
const ROUND_TRIP_AT: u64 = 1_000_000;
const SMALLEST: u64 = 10_000;
const RATE: u32 = 10_000;
/// With fewer connections an allocator's steps are as large as what is measured.
const MEMORY_AT_LEAST: u64 = 20_000;

/// One goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// What is measured.
    pub figure: &'static str,
    /// What is aimed at.
    pub goal: &'static str,
    /// What this run says.
    pub reached: String,
    /// Whether it was met; none where this run cannot tell.
    pub met: Option<bool>,
}

impl Goal {
    /// "met", "not met" or "-".
    pub fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "not met",
            None => "-",
        }
    }
}

/// What a run says about one goal.
type Said = (String, Option<bool>);

/// All of them, in the order of the project's table.
pub(super) fn all(facts: &Facts, flock: &Flock) -> Vec<Goal> {
    let tls = flock.url.starts_with("wss:");
    let of_tls = |said: Said| {
        if tls {
            said
        } else {
            ("a plain run: see one with TLS".to_owned(), None)
        }
    };
    let rows: [(&str, &str, Said); 9] = [
        (
            "live TLS 1.3 connections, logged in, both ends on this machine",
            "2,000,000, held 10 minutes with 10,000 messages/s, none dropped",
            of_tls(held(flock)),
        ),
        (
            "server, per idle TLS connection, user space",
            "at most 220 B",
            of_tls(user(flock, 220.0)),
        ),
        (
            "server, per idle TLS connection, kernel and user space",
            "at most 1.15 x the kernel's 3,900 B floor",
            of_tls(whole(flock)),
        ),
        (
            "server, per idle plain WebSocket, user space",
            "at most 150 B",
            if tls {
                ("a run with TLS: see one with --plain".to_owned(), None)
            } else {
                user(flock, 150.0)
            },
        ),
        (
            "round trip through the logged-in chat at 1 M connections, 10,000 messages/s",
            "p50 under 1 ms, p99 under 10 ms",
            of_tls(round_trip(flock)),
        ),
        (
            "server CPU per 64 B TLS echo, one shard, 10 k connections",
            "at most 0.6 x tokio-tungstenite with rustls and 0.8 x monoio, of it in user space 0.3 x tokio-tungstenite",
            (
                "not of this run: docs/density.md, made by `cargo xtask compare`".to_owned(),
                None,
            ),
        ),
        (
            "CPU per message at 2 M against 10 k connections held",
            "at most 1.3 x",
            growth(flock),
        ),
        (
            "full handshakes per second and core, whole path (accept to Welcome)",
            "at least 75 % of bare rustls handshakes in the same run",
            of_tls(handshakes(facts, flock)),
        ),
        (
            "reconnect of all",
            "at the full handshake rate, established connections' p99 at most doubled",
            of_tls(storm(flock)),
        ),
    ];
    rows.map(|(figure, goal, (reached, met))| Goal {
        figure,
        goal,
        reached,
        met,
    })
    .to_vec()
}

fn missing() -> Said {
    ("not measured".to_owned(), None)
}

fn held(flock: &Flock) -> Said {
    let traffic = &flock.traffic;
    let reached = format!(
        "{} held {:.0} s with {:.0} messages/s, {} dropped, {} of {} messages arrived",
        count(flock.established),
        traffic.seconds,
        flock.rate_done,
        flock.lost,
        count(flock.delivered),
        count(flock.sent),
    );
    let of_that_size = flock.established >= FULL
        && traffic.seconds >= FULL_HOLD_S - 1.0
        && flock.rate_asked >= RATE;
    let kept = flock.lost == 0 && flock.unsent == 0 && flock.delivered == flock.sent;
    let in_time = flock.rate_done >= 0.99 * f64::from(RATE);
    (reached, of_that_size.then_some(kept && in_time))
}

fn user(flock: &Flock, at_most: f64) -> Said {
    match flock.server_user_bytes_per_connection {
        Some(reached) => (bytes(reached), enough(flock).then_some(reached <= at_most)),
        None => missing(),
    }
}

fn enough(flock: &Flock) -> bool {
    flock.established >= MEMORY_AT_LEAST
}

/// Half of what the kernel holds for a pair: both ends are the same engine, at rest in the same way.
fn whole(flock: &Flock) -> Said {
    let parts = flock
        .server_user_bytes_per_connection
        .zip(flock.kernel_bytes_per_pair);
    let Some((user, kernel)) = parts else {
        return missing();
    };
    let all = user + kernel / 2.0;
    let times = all / KERNEL_FLOOR_BYTES;
    let reached = format!(
        "{} ({} and half of the pair's {}): {times:.2} x",
        bytes(all),
        bytes(user),
        bytes(kernel)
    );
    (reached, enough(flock).then_some(times <= 1.15))
}

fn round_trip(flock: &Flock) -> Said {
    let at_rate = |stage: &Stage| at_rate(stage, RATE).and_then(|traffic| traffic.rtt.clone());
    let at = |size| flock.stages.iter().find(|stage| stage.connections == size);
    let stage = at(ROUND_TRIP_AT).or(flock.stages.last());
    let Some((stage, rtt)) = stage.and_then(|stage| Some((stage, at_rate(stage)?))) else {
        return missing();
    };
    let reached = format!(
        "p50 {}, p99 {} at {} connections",
        time_us(rtt.p50_us),
        time_us(rtt.p99_us),
        count(stage.connections)
    );
    let met = rtt.p50_us < 1_000 && rtt.p99_us < 10_000;
    (reached, (stage.connections == ROUND_TRIP_AT).then_some(met))
}

fn at_rate(stage: &Stage, rate: u32) -> Option<&Traffic> {
    stage
        .traffic
        .iter()
        .find(|traffic| traffic.rate_asked == rate)
}

/// The highest rate that the first and the last stage have.
fn growth(flock: &Flock) -> Said {
    let (Some(first), Some(last)) = (flock.stages.first(), flock.stages.last()) else {
        return missing();
    };
    let net = |stage: &Stage, rate| {
        let traffic = at_rate(stage, rate)?;
        traffic.net_us(stage.idle_cpu.as_ref()?)
    };
    let highest = last.traffic.iter().map(|traffic| traffic.rate_asked).max();
    let both = highest.and_then(|rate| Some((rate, net(first, rate)?, net(last, rate)?)));
    let Some((rate, small, large)) = both.filter(|(_, small, _)| *small > 0.0) else {
        return missing();
    };
    if first.connections == last.connections {
        return ("one size only".to_owned(), None);
    }
    let reached = format!(
        "{:.2} x: {large:.1} us at {} against {small:.1} us at {}, {}/s, heartbeats taken off",
        large / small,
        count(last.connections),
        count(first.connections),
        count(u64::from(rate)),
    );
    let of_that_size = first.connections == SMALLEST && last.connections >= FULL;
    (reached, of_that_size.then_some(large / small <= 1.3))
}

fn handshakes(facts: &Facts, flock: &Flock) -> Said {
    let ramp = flock.stages.last().map(|stage| &stage.ramp);
    let Some(each_us) = ramp.and_then(crate::flock::record::Ramp::server_us_each) else {
        return missing();
    };
    let ours = 1e6 / each_us;
    let reached = format!("{ours:.0} ({each_us:.0} us of server CPU each)");
    match facts.bare_handshakes_per_second_and_core {
        Some(bare) => (
            format!("{reached}: {:.0} % of {bare:.0}", 100.0 * ours / bare),
            Some(ours >= 0.75 * bare),
        ),
        None => (
            format!("{reached}; bare rustls was not measured in this run"),
            None,
        ),
    }
}

fn storm(flock: &Flock) -> Said {
    let Some(storm) = &flock.storm else {
        return missing();
    };
    let p99 = |name| Some(storm.phase(name)?.rtt.as_ref()?.p99_us);
    let (Some(before), Some(within), Some(rate)) =
        (p99("before"), p99("reconnect"), storm.per_second())
    else {
        return missing();
    };
    let full = flock.stages.last().map(|stage| stage.ramp.per_second());
    let reached = format!(
        "{} of {} at {rate:.0}/s (first ramp {:.0}/s), established p99 {} against {} before, {} of them lost",
        count(storm.reconnected),
        count(storm.cut),
        full.unwrap_or_default(),
        time_us(within),
        time_us(before),
        storm.lost,
    );
    let met = is_calm(storm, before, within) && full.is_some_and(|full| rate >= 0.9 * full);
    (reached, Some(met))
}

fn is_calm(storm: &Storm, before_us: u64, within_us: u64) -> bool {
    storm.reconnected == storm.cut && storm.lost == 0 && within_us <= 2 * before_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flock::record::{Cpu, Latency, Ramp, StormPhase};

    fn flock() -> Flock {
        Flock {
            url: "wss://127.0.0.1:1".to_owned(),
            established: FULL,
            rate_asked: RATE,
            rate_done: 10_000.0,
            sent: 6_000_000,
            delivered: 6_000_000,
            server_user_bytes_per_connection: Some(210.0),
            kernel_bytes_per_pair: Some(8_300.0),
            traffic: Traffic {
                seconds: 600.0,
                ..Traffic::default()
            },
            ..Flock::default()
        }
    }

    fn goal(flock: &Flock, figure: &str) -> Goal {
        let all = all(&Facts::default(), flock);
        all.into_iter()
            .find(|goal| goal.figure.starts_with(figure))
            .unwrap()
    }

    #[test]
    fn the_hold_is_judged_at_its_size_only() {
        assert_eq!(goal(&flock(), "live").met, Some(true));
        let dropped = Flock { lost: 1, ..flock() };
        assert_eq!(goal(&dropped, "live").met, Some(false));
        let missed = Flock {
            delivered: 5_999_999,
            ..flock()
        };
        assert_eq!(goal(&missed, "live").met, Some(false));
        let small = Flock {
            established: FULL - 1,
            ..flock()
        };
        assert_eq!(goal(&small, "live").met, None);
    }

    #[test]
    fn memory_is_judged_by_kind() {
        assert_eq!(
            goal(&flock(), "server, per idle TLS connection, user").met,
            Some(true)
        );
        assert_eq!(
            goal(&flock(), "server, per idle TLS connection, kernel").met,
            Some(true)
        );
        assert_eq!(goal(&flock(), "server, per idle plain").met, None);
        let fat = Flock {
            server_user_bytes_per_connection: Some(340.0),
            ..flock()
        };
        assert_eq!(
            goal(&fat, "server, per idle TLS connection, user").met,
            Some(false)
        );
        assert_eq!(
            goal(&fat, "server, per idle TLS connection, kernel").met,
            Some(false)
        );
        let plain = Flock {
            url: "ws://h".to_owned(),
            ..fat
        };
        assert_eq!(goal(&plain, "server, per idle plain").met, Some(false));
        assert_eq!(
            goal(&plain, "server, per idle TLS connection, user").met,
            None
        );
    }

    #[test]
    fn growth_compares_the_first_stage_with_the_last() {
        let stage = |connections, user_s| Stage {
            connections,
            idle_cpu: Some(Cpu {
                seconds: 1.0,
                ..Cpu::default()
            }),
            traffic: vec![Traffic {
                rate_asked: RATE,
                delivered: 1_000_000,
                server_cpu: Some(Cpu {
                    seconds: 1.0,
                    user_s,
                    ..Cpu::default()
                }),
                ..Traffic::default()
            }],
            ..Stage::default()
        };
        let run = |last_s| Flock {
            stages: vec![stage(SMALLEST, 10.0), stage(FULL, last_s)],
            ..flock()
        };
        assert_eq!(goal(&run(12.9), "CPU per message").met, Some(true));
        assert_eq!(goal(&run(13.1), "CPU per message").met, Some(false));
        let one = Flock {
            stages: vec![stage(FULL, 1.0)],
            ..flock()
        };
        assert_eq!(goal(&one, "CPU per message").met, None);
    }

    #[test]
    fn a_storm_that_hurts_or_drags_is_not_met() {
        let phase = |name: &str, p99_us| StormPhase {
            name: name.to_owned(),
            seconds: 10.0,
            rtt: Some(Latency {
                p99_us,
                ..Latency::default()
            }),
            ..StormPhase::default()
        };
        let run = |p99_us, lost, reconnected| Flock {
            stages: vec![Stage {
                ramp: Ramp {
                    from: 0,
                    to: 1_000,
                    seconds: 10.0,
                    ..Ramp::default()
                },
                ..Stage::default()
            }],
            storm: Some(Storm {
                cut: 1_000,
                reconnected,
                lost,
                phases: vec![phase("before", 100), phase("reconnect", p99_us)],
                ..Storm::default()
            }),
            ..flock()
        };
        assert_eq!(goal(&run(200, 0, 1_000), "reconnect").met, Some(true));
        assert_eq!(goal(&run(201, 0, 1_000), "reconnect").met, Some(false));
        assert_eq!(goal(&run(200, 1, 1_000), "reconnect").met, Some(false));
        assert_eq!(goal(&run(200, 0, 800), "reconnect").met, Some(false));
        assert_eq!(goal(&flock(), "reconnect").met, None);
    }

    #[test]
    fn handshakes_are_judged_against_bare_ones() {
        let run = Flock {
            stages: vec![Stage {
                ramp: Ramp {
                    from: 0,
                    to: 1_000,
                    seconds: 1.0,
                    server_cpu: Some(Cpu {
                        user_s: 0.2,
                        ..Cpu::default()
                    }),
                    own_cpu: None,
                },
                ..Stage::default()
            }],
            ..flock()
        };
        let with = |bare| Facts {
            bare_handshakes_per_second_and_core: bare,
            ..Facts::default()
        };
        assert_eq!(handshakes(&with(None), &run).1, None);
        assert_eq!(handshakes(&with(Some(6_600.0)), &run).1, Some(true));
        assert_eq!(handshakes(&with(Some(6_700.0)), &run).1, Some(false));
    }
}
