//! What must hold in every run, whatever its size.

use crate::flock::Report as Flock;
use crate::flock::record::{Storm, Traffic};

/// Bytes of user space per connection: with TLS, and plain.
const USER_TLS_BYTES: f64 = 280.0;
const USER_PLAIN_BYTES: f64 = 170.0;
/// Bytes of the kernel's objects for both ends of a connection.
const KERNEL_PAIR_BYTES: f64 = 8_300.0;
/// Two connections with nothing armed take 7,800. Clearly less says that connections of other programs
/// went meanwhile, and that the reading is none.
const KERNEL_PAIR_BYTES_MIN: f64 = 7_000.0;
/// Nothing or less says that so few connections cannot be seen beside the process's own memory.
const USER_BYTES_MIN: f64 = 1.0;
/// Of the rate asked for.
const RATE_PART: f64 = 0.95;
/// Of a connection's user space, what must be free again when it has gone. The rest is the allocator's
/// slack between what remains.
const GIVEN_BACK_PART: f64 = 0.75;
/// What messages leave with the router, its store and the allocator, whatever the number of connections: some
/// 20 MiB after 35,000 of them, 45 MiB after 114,000, and then no more. On a slow host a storm takes longer and
/// more messages flow meanwhile, so that per connection it is several times what it is on a fast one; what
/// goes with the connections is the same on both.
const LEFT_BYTES_MAX: f64 = (96 << 20) as f64;
/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// What must hold.
    pub name: String,
    /// What was found.
    pub found: String,
    /// Whether it holds.
    pub held: bool,
    /// Whether it is about time: that is for a run with the machine to itself. A run among tests tells it.
    pub timed: bool,
}

/// All that a run of this kind has. What should have been measured and was not has failed.
pub(super) fn all(flock: &Flock) -> Vec<Gate> {
    let mut gates = vec![gate(
        "every connection was made and none was lost",
        format!(
            "{} of {} established, {} failed, {} lost",
            flock.established, flock.connections, flock.failed, flock.lost
        ),
        flock.established == u64::from(flock.connections) && flock.failed == 0 && flock.lost == 0,
    )];
    for stage in &flock.stages {
        let at = stage.connections;
        gates.extend(stage.traffic.iter().flat_map(|traffic| flowed(traffic, at)));
    }
    if flock.rate_asked > 0 {
        gates.extend(flowed(&flock.traffic, flock.established));
    }
    gates.extend(memory(flock));
    gates.extend(flock.storm.iter().flat_map(storm));
    gates.push(gate(
        "the run was not interrupted",
        format!("interrupted: {}", flock.interrupted),
        !flock.interrupted,
    ));
    gates
}

fn gate(name: impl Into<String>, found: String, held: bool) -> Gate {
    Gate {
        name: name.into(),
        found,
        held,
        timed: false,
    }
}

fn flowed(traffic: &Traffic, connections: u64) -> [Gate; 2] {
    let due = traffic.sent + traffic.unsent;
    let at = format!("at {connections} connections and {}/s", traffic.rate_asked);
    let arrived = gate(
        format!("all messages arrived {at}"),
        format!("{} of {due}", traffic.delivered),
        due > 0 && traffic.delivered == due,
    );
    let in_time = Gate {
        timed: true,
        ..gate(
            format!("messages arrived in time {at}"),
            format!("{:.0}/s", traffic.rate_done),
            traffic.rate_done >= RATE_PART * f64::from(traffic.rate_asked),
        )
    };
    [arrived, in_time]
}

fn memory(flock: &Flock) -> Vec<Gate> {
    let user = if flock.url.starts_with("wss:") {
        USER_TLS_BYTES
    } else {
        USER_PLAIN_BYTES
    };
    let within = |name: &str, value: Option<f64>, least: f64, most: f64| {
        let found = value.map_or("not measured".to_owned(), |value| format!("{value:.0} B"));
        let held = value.is_some_and(|value| (least..=most).contains(&value));
        gate(format!("{name} at most {most:.0} B"), found, held)
    };
    let user_within = |name, value| within(name, value, USER_BYTES_MIN, user);
    let kernel_within = |name, value| within(name, value, KERNEL_PAIR_BYTES_MIN, KERNEL_PAIR_BYTES);
    let back = flock
        .user_bytes_per_connection_given_back
        .zip(flock.server_user_bytes_per_connection);
    let mut gates = vec![
        user_within("user space at rest", flock.server_user_bytes_per_connection),
        kernel_within("kernel, both ends, at rest", flock.kernel_bytes_per_pair),
        gate(
            format!(
                "{:.0} % of a connection's user space is given back",
                100.0 * GIVEN_BACK_PART
            ),
            back.map_or("not measured".to_owned(), |(back, of)| {
                format!("{back:.0} B of {of:.0} B")
            }),
            back.is_some_and(|(back, of)| of > 0.0 && back >= GIVEN_BACK_PART * of),
        ),
    ];
    if flock.rate_asked > 0 {
        // What has come with messages and the storm, and goes with the connections, is theirs.
        gates.push(user_within(
            "user space that goes with the connections, after traffic and storm,",
            flock.user_bytes_per_connection_given_back,
        ));
        gates.push(kernel_within(
            "kernel, both ends, after traffic",
            flock.kernel_bytes_per_pair_after_traffic,
        ));
        gates.push(left(flock, user));
    }
    gates
}

/// What is there when all have gone, over what was there before they came.
fn left(flock: &Flock, user: f64) -> Gate {
    let left = flock
        .server_rss_after_goodbye_bytes
        .zip(flock.server_rss_before_bytes)
        .map(|(after, before)| after as f64 - before as f64);
    let most = LEFT_BYTES_MAX + (1.0 - GIVEN_BACK_PART) * user * f64::from(flock.connections);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    gate(
        format!("left when all have gone at most {:.0} MiB", mib(most)),
        left.map_or("not measured".to_owned(), |left| {
            format!("{:.0} MiB", mib(left))
        }),
        left.is_some_and(|left| left <= most),
    )
}

fn storm(storm: &Storm) -> Vec<Gate> {
    let due = storm.sent + storm.unsent;
    vec![
        gate(
            "storm: all came back",
            format!("{} of {}", storm.reconnected, storm.cut),
            storm.cut > 0 && storm.reconnected == storm.cut,
        ),
        gate(
            "storm: no established connection was lost, and every message of theirs arrived",
            format!("{} lost, {} of {due} arrived", storm.lost, storm.delivered),
            storm.lost == 0 && due > 0 && storm.delivered == due,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Flock {
        let traffic = Traffic {
            rate_asked: 10,
            rate_done: 10.0,
            sent: 100,
            delivered: 100,
            ..Traffic::default()
        };
        let storm = Storm {
            cut: 5,
            reconnected: 5,
            sent: 7,
            delivered: 7,
            ..Storm::default()
        };
        Flock {
            url: "wss://h".to_owned(),
            connections: 50_000,
            established: 50_000,
            rate_asked: 10,
            traffic,
            storm: Some(storm),
            server_user_bytes_per_connection: Some(230.0),
            user_bytes_per_connection_given_back: Some(220.0),
            server_rss_before_bytes: Some(50 << 20),
            server_rss_after_goodbye_bytes: Some(80 << 20),
            kernel_bytes_per_pair: Some(8_200.0),
            kernel_bytes_per_pair_after_traffic: Some(8_200.0),
            ..Flock::default()
        }
    }

    fn failed(flock: &Flock) -> Vec<String> {
        let fails = all(flock).into_iter().filter(|gate| !gate.held);
        fails.map(|gate| gate.name).collect()
    }

    #[test]
    fn each_gate_can_fail() {
        assert_eq!(failed(&good()), [""; 0]);
        type Spoil = fn(&mut Flock);
        let cases: [(Spoil, &str); 15] = [
            (|run| run.established -= 1, "every connection"),
            (|run| run.lost = 1, "every connection"),
            (|run| run.traffic.delivered = 99, "all messages arrived"),
            (
                |run| run.traffic.rate_done = 9.0,
                "messages arrived in time",
            ),
            (
                |run| run.server_user_bytes_per_connection = Some(-5.0),
                "user space at rest",
            ),
            (
                |run| run.server_user_bytes_per_connection = None,
                "user space at rest",
            ),
            (
                |run| run.user_bytes_per_connection_given_back = Some(281.0),
                "user space that goes",
            ),
            (
                |run| run.server_rss_after_goodbye_bytes = Some(300 << 20),
                "left when all have gone",
            ),
            (
                |run| run.server_rss_after_goodbye_bytes = None,
                "left when all have gone",
            ),
            (
                |run| run.kernel_bytes_per_pair = Some(900.0),
                "kernel, both ends, at rest",
            ),
            (
                |run| run.kernel_bytes_per_pair = Some(8_301.0),
                "kernel, both ends, at rest",
            ),
            (
                |run| run.user_bytes_per_connection_given_back = Some(170.0),
                "75 % of",
            ),
            (
                |run| run.storm.iter_mut().for_each(|storm| storm.reconnected = 4),
                "storm: all came back",
            ),
            (
                |run| run.storm.iter_mut().for_each(|storm| storm.lost = 1),
                "storm: no established",
            ),
            (|run| run.interrupted = true, "the run was not interrupted"),
        ];
        for (spoil, name) in cases {
            let mut run = good();
            spoil(&mut run);
            assert!(
                failed(&run).iter().any(|failed| failed.starts_with(name)),
                "{name}"
            );
        }
    }
}
