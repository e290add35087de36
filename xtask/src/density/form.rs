//! The form of a run: what is measured and for how long, by its size and by what was asked for.

use std::time::Duration;

use anyhow::{Result, ensure};
use rookery_tuning::memory::Memory;

use super::Options;

/// Sizes that every larger run measures on its way.
const SIZES: [u32; 4] = [10_000, 100_000, 500_000, 1_000_000];
/// Up to this the short form is enough.
const QUICK_MAX: u32 = 50_000;
/// From here on the goals' own times and rates.
const FULL_MIN: u32 = 500_000;
/// Both ends of a TLS connection, kernel and user space.
const PAIR_BYTES: u64 = 9_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) connections: u32,
    pub(super) plain: bool,
    pub(super) port: Option<u16>,
    pub(super) stages: Vec<u32>,
    /// Messages per second at each stage.
    pub(super) rates: Vec<u32>,
    pub(super) stage_time: Duration,
    /// Messages per second of the hold.
    pub(super) rate: u32,
    pub(super) hold: Duration,
    /// The established ones alone, before and after the storm.
    pub(super) calm: Duration,
    /// Memory is looked at after the storm only, not after the traffic too.
    pub(super) join_rests: bool,
    /// The command that makes it again.
    pub(super) command: String,
}

impl Form {
    /// What the options come to.
    pub(super) fn of(options: &Options) -> Result<Self> {
        let connections = options.connections;
        let quick = options.quick || connections <= QUICK_MAX;
        let full = !quick && connections >= FULL_MIN;
        let stages = match (options.stages.is_empty(), quick) {
            (false, _) => options.stages.clone(),
            (true, true) => vec![connections / 5],
            (true, false) => SIZES
                .into_iter()
                .filter(|&size| size < connections)
                .collect(),
        };
        ensure!(
            stages.is_sorted_by(|a, b| a < b) && stages.iter().all(|&size| size < connections),
            "--stages must ascend and stay below --connections ({connections})"
        );
        let seconds = |quick_s, middle_s, full_s| {
            Duration::from_secs(if full {
                full_s
            } else if quick {
                quick_s
            } else {
                middle_s
            })
        };
        let rate = if quick { 1_000 } else { 10_000 };
        Ok(Self {
            connections,
            plain: options.plain,
            port: options.port,
            stages,
            rates: if quick {
                vec![1_000]
            } else {
                vec![1_000, 10_000]
            },
            stage_time: seconds(2, 8, 15),
            rate,
            hold: options.hold.unwrap_or(seconds(5, 20, 600)),
            calm: seconds(4, 8, 20),
            join_rests: quick,
            command: command(options),
        })
    }

    /// That the host has the memory for it: beyond it the kernel would end the largest process.
    pub(super) fn fits(&self) -> Result<()> {
        let memory = Memory::read()?;
        let fit = memory.available / PAIR_BYTES;
        ensure!(
            fit >= u64::from(self.connections),
            "{} connections take some {} MiB of memory, both ends; {} MiB are available: {fit} fit",
            self.connections,
            (u64::from(self.connections) * PAIR_BYTES) >> 20,
            memory.available >> 20
        );
        Ok(())
    }

    /// The server's configuration, where it differs from what ships.
    pub(super) fn server_config(&self) -> String {
        // Room for connections of the storm that come while dead ones are still being closed.
        let room = (self.connections / 20).max(5_000);
        format!("[limits]\nconnections_max = {}\n", self.connections + room)
    }

    /// The load generator's options, without the URL and the files.
    pub(super) fn flock_options(&self) -> Vec<String> {
        let list = |numbers: &[u32]| {
            numbers
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let time = |time: Duration| {
            humantime::format_duration(time)
                .to_string()
                .replace(' ', "")
        };
        let mut options = vec!["--connections".to_owned(), self.connections.to_string()];
        let mut add = |name: &str, value: String| options.extend([name.to_owned(), value]);
        if !self.stages.is_empty() {
            add("--stages", list(&self.stages));
        }
        add("--rates", list(&self.rates));
        add("--stage-duration", time(self.stage_time));
        add("--rate", self.rate.to_string());
        add("--duration", time(self.hold));
        // Once around the longest of the router's queues, so that what they take is there before.
        add("--warm-up-messages", "80000".to_owned());
        // Both ends hand over batches: with more under way the cores are never without work.
        add("--connect-window", "1024".to_owned());
        add("--storm-calm", time(self.calm));
        options.push("--storm".to_owned());
        if self.join_rests {
            options.push("--join-rests".to_owned());
        }
        options
    }
}

/// The options as given, where they are not the default.
fn command(options: &Options) -> String {
    let mut line = format!("cargo xtask density --connections {}", options.connections);
    if !options.stages.is_empty() {
        let stages: Vec<String> = options.stages.iter().map(u32::to_string).collect();
        line += &format!(" --stages {}", stages.join(","));
    }
    if let Some(hold) = options.hold {
        line += &format!(
            " --hold {}",
            humantime::format_duration(hold)
                .to_string()
                .replace(' ', "")
        );
    }
    for (given, name) in [(options.quick, " --quick"), (options.plain, " --plain")] {
        if given {
            line += name;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(connections: u32) -> Options {
        Options {
            connections,
            quick: false,
            ..Options::short("x".into())
        }
    }

    #[test]
    fn forms_follow_the_size() {
        let quick = Form::of(&options(50_000)).unwrap();
        assert_eq!(
            (quick.stages.as_slice(), quick.rate),
            ([10_000].as_slice(), 1_000)
        );
        let middle = Form::of(&options(200_000)).unwrap();
        assert_eq!(
            (middle.stages.as_slice(), middle.rate),
            ([10_000, 100_000].as_slice(), 10_000)
        );
        let full = Form::of(&options(2_000_000)).unwrap();
        assert_eq!(full.stages, SIZES);
        assert_eq!((full.hold, full.rate), (Duration::from_secs(600), 10_000));
        assert!(full.server_config().contains("connections_max = 2100000"));
    }

    #[test]
    fn what_is_asked_for_wins_and_is_told() {
        let asked = Options {
            stages: vec![5_000, 7_000],
            hold: Some(Duration::from_secs(90)),
            plain: true,
            ..options(300_000)
        };
        let form = Form::of(&asked).unwrap();
        assert_eq!(
            (form.stages.as_slice(), form.hold.as_secs()),
            ([5_000, 7_000].as_slice(), 90)
        );
        let command =
            "cargo xtask density --connections 300000 --stages 5000,7000 --hold 1m30s --plain";
        assert_eq!(form.command, command);
        let flock = form.flock_options().join(" ");
        assert!(
            flock.contains("--stages 5000,7000") && flock.contains("--duration 1m30s"),
            "{flock}"
        );
        for stages in [vec![7_000, 5_000], vec![300_000]] {
            assert!(
                Form::of(&Options {
                    stages,
                    ..asked.clone()
                })
                .is_err()
            );
        }
    }
}
