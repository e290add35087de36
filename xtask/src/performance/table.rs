//! The section of docs/performance.md that a run writes.

use std::fmt::Write as _;

use super::figures::{Measured, Performance, Point};
use super::search::Tried as _;

/// Everything between the markers.
pub(super) fn section(it: &Performance) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}. Commit {}, Linux {}, {} cores ({}), everything on them: three brokers, the store, PostgreSQL, \
         Redis, the server and its clients. Records of {} B ({} B of payload). `{}`, {:.0} s.\n",
        it.date,
        it.commit,
        it.kernel,
        it.cores,
        it.cpu,
        it.record_bytes,
        it.payload_bytes,
        it.command.join(" "),
        it.seconds,
    );
    goals(&mut text, it);
    forms(&mut text, it);
    climbs(&mut text, it);
    processors(&mut text, it);
    commands(&mut text, it);
    text
}

fn goals(text: &mut String, it: &Performance) {
    let _ = writeln!(
        text,
        "### Goals\n\n| figure | goal | here | |\n| --- | --- | --- | --- |"
    );
    let mut row = |figure: &str, goal: &str, here: Option<String>, met: bool| {
        let verdict = if met { "met" } else { "not met" };
        let here = here.unwrap_or_else(|| "not measured".to_owned());
        let _ = writeln!(text, "| {figure} | {goal} | {here} | {verdict} |");
    };
    let ratio = it.ratio();
    let told = ratio
        .zip(it.distributed.sustained_per_second())
        .map(|(ratio, ours)| {
            let producer = it.producer.fastest.per_second;
            format!(
                "{ours:.0}/s of the producer's {producer:.0}/s: {:.0} %",
                ratio * 100.0
            )
        });
    row(
        "sustained sends through TLS, durable in Kafka, stored and delivered",
        "60 % of Kafka's own producer alone, same record size",
        told,
        ratio.is_some_and(|ratio| ratio >= 0.6),
    );
    let above = it.ack_p99_above_ms();
    let steady = &it.distributed.steady.loaded.flock;
    let told = above.map(|above| {
        format!(
            "p50 {}, p99 {}; the producer's own p50 {} ms, p99 {} ms: {above:+.1} ms",
            ms(steady.ack_p50_us),
            ms(steady.ack_p99_us),
            it.producer.steady.p50_ms,
            it.producer.steady.p99_ms,
        )
    });
    row(
        &format!("send to durable ack, {}/s", it.steady_rate),
        "p99 within 3 ms of the producer's own",
        told,
        above.is_some_and(|above| above <= 3.0),
    );
    let flock = &it.many.loaded.flock;
    let (p50, p99) = (flock.rtt_p50_us, flock.rtt_p99_us);
    row(
        &format!(
            "online to online, {}/s, {} connections",
            flock.rate_asked, flock.established
        ),
        "p50 under 30 ms, p99 under 100 ms",
        p50.map(|_| format!("p50 {}, p99 {}", ms(p50), ms(p99))),
        p50.is_some_and(|us| us < 30_000) && p99.is_some_and(|us| us < 100_000),
    );
    text.push('\n');
}

fn forms(text: &mut String, it: &Performance) {
    let _ = writeln!(
        text,
        "### Embedded against distributed\n\n\
         Latencies and processor time at {}/s; the latter includes what a process does at rest.\n\n\
         | form | sends/s | ack p50 | ack p99 | delivered p50 | delivered p99 | server, us/message | services, us/message |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        it.steady_rate
    );
    for form in [&it.embedded, &it.distributed] {
        let flock = &form.steady.loaded.flock;
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            form.form.name(),
            number(form.sustained_per_second()),
            ms(flock.ack_p50_us),
            ms(flock.ack_p99_us),
            ms(flock.rtt_p50_us),
            ms(flock.rtt_p99_us),
            number(form.steady.loaded.server_us()),
            number(form.steady.loaded.services_us()),
        );
    }
    text.push('\n');
}

fn climbs(text: &mut String, it: &Performance) {
    let _ = writeln!(
        text,
        "### Rates that were tried\n\n\
         | form | asked for/s | done/s | ack p50 | ack p99 | delivered p99 | stored, s after the end | |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    );
    for form in [&it.distributed, &it.embedded] {
        let Measured { climb, .. } = form;
        for point in climb {
            climbed(text, form.form.name(), point);
        }
    }
    text.push('\n');
}

fn climbed(text: &mut String, form: &str, point: &Point) {
    let flock = &point.loaded.flock;
    let level = match (point.asked_store, point.level_s) {
        (false, _) => "-".to_owned(),
        (true, None) => "behind".to_owned(),
        (true, Some(seconds)) => format!("{seconds:.1}"),
    };
    let verdict = if point.keeps_up() {
        "kept up"
    } else {
        "did not keep up"
    };
    let _ = writeln!(
        text,
        "| {form} | {} | {:.0} | {} | {} | {} | {level} | {verdict} |",
        flock.rate_asked,
        flock.rate_done,
        ms(flock.ack_p50_us),
        ms(flock.ack_p99_us),
        ms(flock.rtt_p99_us),
    );
}

fn processors(text: &mut String, it: &Performance) {
    let steady = &it.distributed.steady.loaded;
    let messages = steady.flock.delivered.max(1) as f64;
    let _ = writeln!(
        text,
        "### Processor time, distributed, {}/s\n\n| process | us/message |\n| --- | ---: |",
        it.steady_rate
    );
    for used in &steady.used {
        let _ = writeln!(
            text,
            "| {} | {:.0} |",
            used.process,
            used.us as f64 / messages
        );
    }
    text.push('\n');
}

fn commands(text: &mut String, it: &Performance) {
    let _ = writeln!(text, "### Commands of this run\n\n```");
    let sustained = it.distributed.sustained().map(|point| &point.loaded);
    let ours = [
        Some(&it.distributed.steady.loaded),
        sustained,
        Some(&it.many.loaded),
    ];
    let _ = writeln!(
        text,
        "{}\n{}",
        it.producer.fastest.command, it.producer.steady.command
    );
    for loaded in ours.into_iter().flatten() {
        let _ = writeln!(text, "{}", loaded.flock.command.join(" "));
    }
    text.push_str("```\n");
}

/// Microseconds as milliseconds.
fn ms(us: Option<u64>) -> String {
    us.map_or("-".to_owned(), |us| {
        format!("{:.1} ms", us as f64 / 1_000.0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::figures::{Measured, Producer};
    use super::super::kafka::Produced;
    use super::super::load::{Flock, Loaded, Used};
    use super::super::server::Form;
    use super::*;

    fn point(rate: u32, done: f64) -> Point {
        let flock = Flock {
            command: vec!["rookery".to_owned(), "flock".to_owned()],
            connections: 10,
            established: 10,
            lost: 0,
            rate_asked: rate,
            rate_done: done,
            sent: 100,
            unsent: 0,
            acked: 100,
            delivered: 100,
            ack_p50_us: Some(4_000),
            ack_p99_us: Some(9_000),
            rtt_p50_us: Some(5_000),
            rtt_p99_us: Some(120_000),
        };
        let used = [("rookery", 5_000), ("kafka-1", 10_000), ("redis", 2_000)];
        Point {
            loaded: Loaded {
                flock,
                used: used
                    .map(|(process, us)| Used {
                        process: process.to_owned(),
                        us,
                    })
                    .to_vec(),
                ended: Instant::now(),
            },
            level_s: Some(2.0),
            asked_store: true,
        }
    }

    fn performance() -> Performance {
        let produced = |per_second, p99_ms| Produced {
            command: "java".to_owned(),
            records: 1,
            per_second,
            p50_ms: 2,
            p99_ms,
        };
        let measured = |form| Measured {
            form,
            steady: point(1_000, 1_000.0),
            climb: vec![point(6_000, 6_000.0), point(12_000, 7_000.0)],
        };
        Performance {
            date: String::new(),
            commit: String::new(),
            kernel: String::new(),
            cpu: String::new(),
            cores: 2,
            command: Vec::new(),
            seconds: 1.0,
            record_bytes: 300,
            payload_bytes: 254,
            steady_rate: 1_000,
            producer: Producer {
                fastest: produced(10_000.0, 80),
                steady: produced(1_000.0, 7),
            },
            distributed: measured(Form::Distributed),
            embedded: measured(Form::Embedded),
            many: point(1_000, 1_000.0),
        }
    }

    #[test]
    fn goals_are_judged_by_what_was_measured() {
        let text = section(&performance());
        let verdicts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_suffix("met |"))
            .map(|line| {
                if line.ends_with("not ") {
                    "not met"
                } else {
                    "met"
                }
            })
            .collect();
        // 60 % exactly; 9 ms against 7 ms; 120 ms of 100 ms.
        assert_eq!(verdicts, ["met", "met", "not met"], "{text}");
        assert!(text.contains(
            "| distributed | 12000 | 7000 | 4.0 ms | 9.0 ms | 120.0 ms | 2.0 | did not keep up |"
        ));
        assert!(text.contains("| kafka-1 | 100 |"), "{text}");
    }

    #[test]
    fn a_store_that_is_behind_is_not_keeping_up() {
        let mut late = point(1_000, 1_000.0);
        assert!(late.keeps_up());
        late.level_s = None;
        assert!(!late.keeps_up());
        late.asked_store = false;
        assert!(late.keeps_up());
    }
}
