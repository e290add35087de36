//! The ramp in stages: at each size the memory at rest, the server's idle processor time, and messages at
//! several rates.

use super::measure::{self, Sample};
use super::meter::Meters;
use super::phases::Run;
use super::record::{Memory, Stage};

/// The server's and our own bytes that the ramps brought, and for how many connections. What messages
/// between two ramps leave behind is in neither.
#[derive(Default)]
struct Grown {
    server: Option<f64>,
    own: f64,
    connections: u64,
}

/// All stages, the full size last.
pub(super) struct Stages {
    pub(super) told: Vec<Stage>,
    /// The rest at the full size, before any message flowed there.
    pub(super) at_rest: Sample,
}

impl Run<'_> {
    /// Ramps from stage to stage. `before` is the rest before the first.
    pub(super) fn stages(&self, before: &Sample) -> anyhow::Result<Stages> {
        let mut grown = Grown {
            server: before.server_rss.map(|_| 0.0),
            ..Grown::default()
        };
        let mut told: Vec<Stage> = Vec::new();
        let mut last = before.clone();
        let mut at_rest = before.clone();
        for size in self.args.sizes() {
            if self.shards.is_over() {
                break;
            }
            if !told.is_empty() {
                last = self.rest();
            }
            let mut stage = Stage {
                connections: u64::from(size),
                before: Memory::of(&last),
                ramp: self.ramp("connect", size)?,
                ..Stage::default()
            };
            at_rest = self.rest();
            grown.add(&last, &at_rest);
            grown.tell(&mut stage);
            stage.ramp_user_bytes = measure::user_bytes(&last, &at_rest);
            stage.rest = Memory::of(&at_rest);
            stage.kernel_parts = measure::kernel_parts(before, &at_rest).unwrap_or_default();
            stage.page_table_bytes = measure::page_table_bytes(before, &at_rest);
            stage.vmalloc_bytes = measure::vmalloc_bytes(before, &at_rest);
            stage.slab_page_bytes = measure::slab_bytes(before, &at_rest);
            stage.host_free_bytes = measure::host_bytes(before, &at_rest);
            self.talk(size, &mut stage)?;
            told.push(stage);
        }
        Ok(Stages { told, at_rest })
    }

    /// Messages at each rate, after a look at the server without any.
    fn talk(&self, size: u32, stage: &mut Stage) -> anyhow::Result<()> {
        let (rates, time) = (&self.args.rates, self.args.stage_duration);
        if rates.is_empty() {
            return Ok(());
        }
        let meters = Meters::start(self.server);
        self.shards.wait_until(time / 2, || false);
        stage.idle_cpu = meters.read().0;
        for &rate in rates {
            let traffic = self.messages("stage", size, (rate, time))?;
            stage.traffic.push(traffic);
        }
        Ok(())
    }
}

impl Grown {
    fn add(&mut self, from: &Sample, to: &Sample) {
        let difference = |from: u64, to: u64| to as f64 - from as f64;
        self.own += difference(from.own_rss, to.own_rss);
        let server = from.server_rss.zip(to.server_rss);
        self.server = self
            .server
            .zip(server)
            .map(|(sum, (from, to))| sum + difference(from, to));
        self.connections += to.connections.saturating_sub(from.connections);
    }

    fn tell(&self, stage: &mut Stage) {
        if self.connections > 0 {
            let each = |bytes: f64| bytes / self.connections as f64;
            stage.server_user_bytes = self.server.map(each);
            stage.client_user_bytes = Some(each(self.own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(connections: u64, rss: u64) -> Sample {
        Sample {
            connections,
            server_rss: Some(rss),
            own_rss: 2 * rss,
            slab: None,
            memory: None,
        }
    }

    #[test]
    fn what_messages_left_between_two_ramps_is_not_counted() {
        let mut grown = Grown {
            server: Some(0.0),
            ..Grown::default()
        };
        grown.add(&sample(0, 1_000), &sample(10, 3_000));
        // The store took 50,000 bytes meanwhile.
        grown.add(&sample(10, 53_000), &sample(30, 57_000));
        let mut stage = Stage::default();
        grown.tell(&mut stage);
        assert_eq!(stage.server_user_bytes, Some(200.0));
        assert_eq!(stage.client_user_bytes, Some(400.0));
    }

    #[test]
    fn a_server_that_is_not_seen_has_no_figure() {
        let mut grown = Grown::default();
        grown.add(&sample(0, 1_000), &sample(10, 3_000));
        let mut stage = Stage::default();
        grown.tell(&mut stage);
        assert_eq!(stage.server_user_bytes, None);
    }
}
