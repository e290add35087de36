//! The goals against other engines: alternating rounds (A B C A B C), so that what the host does
//! meanwhile meets all of them, and ratios within each round.

use std::time::Duration;

use anyhow::{Context, Result};

use super::bench::{Bench, Shape};
use super::figures::{Duel, Figures, Spread};
use super::launch::Transport;
use super::peers::{ALL, Peer};

/// Connections of the goals.
const CONNECTIONS: u32 = 10_000;
/// Messages per second: enough that a step of the kernel's clock is 0.1 us per message.
const RATE: u32 = 10_000;
const DURATION: Duration = Duration::from_secs(15);

/// A goal of the project: our figure, at most this part of the peer's.
struct Goal {
    what: &'static str,
    peer: &'static str,
    at_most: f64,
    of: fn(&Figures) -> Option<f64>,
}

const GOALS: [Goal; 3] = [
    Goal {
        what: "CPU per 64 B TLS echo",
        peer: "tokio-tungstenite",
        at_most: 0.6,
        of: Figures::cpu_us,
    },
    Goal {
        what: "of it in user space",
        peer: "tokio-tungstenite",
        at_most: 0.3,
        of: |figures| figures.cpu_user_us,
    },
    Goal {
        what: "CPU per 64 B TLS echo",
        peer: "monoio",
        at_most: 0.8,
        of: Figures::cpu_us,
    },
];

/// Runs the rounds against those of the goals' peers that `chosen` takes.
pub(super) fn run(
    bench: &Bench<'_>,
    rounds: u32,
    connections_max: u32,
    chosen: impl Fn(&str) -> bool,
) -> Result<Vec<Duel>> {
    let goals: Vec<&Goal> = GOALS.iter().filter(|goal| chosen(goal.peer)).collect();
    if goals.is_empty() || rounds == 0 {
        return Ok(Vec::new());
    }
    let shape = Shape {
        connections: CONNECTIONS.min(connections_max),
        rate: RATE,
        duration: DURATION,
    };
    bench.screen.heading(&format!(
        "goals: {rounds} alternating rounds, TLS, {} connections, {RATE} echoes/s",
        shape.connections
    ));
    let is_in_a_goal = |peer: &&Peer| goals.iter().any(|goal| goal.peer == peer.name);
    let contenders: Vec<&Peer> = ALL.iter().filter(|&peer| is_in_a_goal(&peer)).collect();
    let mut found: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len() + 1];
    for round in 1..=rounds {
        for (nth, peer) in std::iter::once(&ALL[0])
            .chain(contenders.iter().copied())
            .enumerate()
        {
            let loaded = bench
                .run(peer, Transport::Tls, shape)
                .with_context(|| format!("round {round}, {}", peer.name))?;
            let figures = Figures::new(RATE, 2.0, loaded);
            bench.screen.line(&format!(
                "round {round}: {}: {:.2} us per echo, {:.2} of it in user space, {:.0}/s done",
                peer.name,
                figures.cpu_us().unwrap_or_default(),
                figures.cpu_user_us.unwrap_or_default(),
                figures.rate_done
            ));
            found[nth].push(figures);
        }
    }
    let duel = |goal: &&Goal| {
        let nth = contenders.iter().position(|peer| peer.name == goal.peer)?;
        judge(
            goal,
            contenders[nth].name,
            &found[0],
            &found[nth + 1],
            shape,
        )
    };
    Ok(goals.iter().filter_map(duel).collect())
}

fn judge(
    goal: &Goal,
    peer: &'static str,
    ours: &[Figures],
    theirs: &[Figures],
    shape: Shape,
) -> Option<Duel> {
    let of = |figures: &[Figures]| figures.iter().map(goal.of).collect::<Option<Vec<f64>>>();
    let (ours, theirs) = (of(ours)?, of(theirs)?);
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    let ratio = Spread::of(ratios)?;
    Some(Duel {
        goal: format!(
            "{}, {} connections, {}/s",
            goal.what, shape.connections, shape.rate
        ),
        peer,
        at_most: goal.at_most,
        ours_us: Spread::of(ours)?,
        theirs_us: Spread::of(theirs)?,
        met: ratio.median <= goal.at_most,
        ratio,
    })
}
