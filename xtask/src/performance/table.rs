//! The section of docs/performance.md that a run writes.

use std::fmt::Write as _;

use super::figures::{Measured, Performance, Point};
use super::load::Loaded;
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
    // What was measured, and whether it is what it should be.
    let mut row = |figure: &str, goal: &str, here: Option<(String, bool)>| {
        let verdict = match here {
            Some((_, true)) => "met",
            _ => "not met",
        };
        let here = here.map_or("not measured".to_owned(), |(here, _)| here);
        let _ = writeln!(text, "| {figure} | {goal} | {here} | {verdict} |");
    };
    let producer = it.producer.fastest.per_second;
    row(
        "sustained sends through TLS, durable in Kafka, stored and delivered",
        "8,000/s",
        it.distributed.sustained_per_second().map(|ours| {
            let of = ours / producer * 100.0;
            let told = format!(
                "{ours:.0}/s, {of:.0} % of the {producer:.0}/s of Kafka's own producer alone"
            );
            (told, ours >= 8_000.0)
        }),
    );
    let steady = &it.distributed.steady.loaded;
    row(
        &format!("all processes together, {}/s", it.steady_rate),
        "1.0 core",
        steady
            .server_us()
            .zip(steady.services_us())
            .map(|(server, services)| {
                let cores = (server + services) * f64::from(it.steady_rate) / 1e6;
                (format!("{cores:.2} cores"), cores <= 1.0)
            }),
    );
    let acks = steady.flock.ack_p50_us.zip(steady.flock.ack_p99_us);
    row(
        &format!("send to durable ack, {}/s", it.steady_rate),
        "p50 under 15 ms, p99 under 60 ms",
        acks.map(|(p50, p99)| {
            let own = &it.producer.steady;
            let told = format!(
                "p50 {}, p99 {}; the producer's own p50 {} ms, p99 {} ms",
                ms(Some(p50)),
                ms(Some(p99)),
                own.p50_ms,
                own.p99_ms
            );
            (told, p50 < 15_000 && p99 < 60_000)
        }),
    );
    let delivered = steady.flock.ack_p99_us.zip(steady.flock.rtt_p99_us);
    row(
        &format!("delivered, {}/s", it.steady_rate),
        "p99 within 10 ms of the ack's",
        delivered.map(|(ack, rtt)| {
            let above = rtt as f64 / 1_000.0 - ack as f64 / 1_000.0;
            (format!("{above:+.1} ms"), above <= 10.0)
        }),
    );
    let busy = &it.distributed.busy.loaded;
    let at = format!("processor time per message, {}/s", it.busy_rate);
    let alone = it.producer_us();
    let us = |used: Option<f64>, most: f64| used.map(|us| (format!("{us:.0} us"), us <= most));
    row(
        &format!("{at}: the brokers"),
        &format!("1.5 x the {alone:.0} us of the producer alone, itself included"),
        us(busy.service_us("kafka"), 1.5 * alone),
    );
    row(
        &format!("{at}: the store"),
        "60 us",
        us(busy.service_us("cassandra"), 60.0),
    );
    row(
        &format!("{at}: the server"),
        "80 us",
        us(busy.server_us(), 80.0),
    );
    let embedded = &it.embedded.busy.loaded;
    row(
        &format!("{at}: the server, embedded"),
        "110 us",
        us(embedded.server_us(), 110.0),
    );
    row(
        &format!("send to durable ack, embedded, {}/s", it.busy_rate),
        "p50 under 1 ms",
        embedded
            .flock
            .ack_p50_us
            .map(|p50| (ms(Some(p50)), p50 < 1_000)),
    );
    let flock = &it.many.loaded.flock;
    row(
        &format!(
            "online to online, {}/s, {} connections",
            flock.rate_asked, flock.established
        ),
        "p50 under 30 ms, p99 under 100 ms",
        flock.rtt_p50_us.zip(flock.rtt_p99_us).map(|(p50, p99)| {
            let told = format!("p50 {}, p99 {}", ms(Some(p50)), ms(Some(p99)));
            (told, p50 < 30_000 && p99 < 100_000)
        }),
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
    let _ = writeln!(
        text,
        "### Processor time, distributed, us/message\n\n| process | {}/s | {}/s |\n| --- | ---: | ---: |",
        it.steady_rate, it.busy_rate
    );
    let (steady, busy) = (&it.distributed.steady.loaded, &it.distributed.busy.loaded);
    let each = |loaded: &Loaded, us: u64| us as f64 / loaded.flock.delivered.max(1) as f64;
    for (used, then) in steady.used.iter().zip(&busy.used) {
        let (at_rest, at_work) = (each(steady, used.us), each(busy, then.us));
        let _ = writeln!(text, "| {} | {at_rest:.0} | {at_work:.0} |", used.process);
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
    use super::super::load::{Flock, Used};
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
        let used = [
            ("rookery", 5_000),
            ("kafka-1", 10_000),
            ("kafka-2", 20_000),
            ("cassandra", 7_000),
        ];
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
            busy: point(5_000, 5_000.0),
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
            busy_rate: 5_000,
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
        // 6,000/s; 420 us; 4 and 9 ms; 111 ms above; 300 us of 1.5 x 200; 70 us; 50 us, twice; 4 ms; 120 ms.
        let met = [
            false, true, true, false, true, false, true, true, false, false,
        ];
        assert_eq!(
            verdicts,
            met.map(|met| if met { "met" } else { "not met" }),
            "{text}"
        );
        assert!(text.contains(
            "| distributed | 12000 | 7000 | 4.0 ms | 9.0 ms | 120.0 ms | 2.0 | did not keep up |"
        ));
        assert!(text.contains("| kafka-1 | 100 | 100 |"), "{text}");
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
