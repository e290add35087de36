//! Asks all services at once whether they are as they must be.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rookery_router::identity::Mismatch;
use rookery_router::log::kafka;
use rookery_router::problem::Problem;
use rookery_router::store::{StoreError, cql};
use rookery_router::{postgres, redis};

use super::report::Checked;
use super::{Services, block_on};

/// Each question to a service has its own limit of some seconds; a driver that forgets it must not hang
/// the whole.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is wrong with each service, in the order of [`Services::places`].
pub fn check(services: &Services) -> Vec<Checked> {
    let (kafka, cql) = (services.kafka.clone(), services.cql.clone());
    let (postgres, redis) = (services.postgres.clone(), services.redis.clone());
    let asks: [Ask<Vec<Problem>>; 4] = [
        Box::new(move || Ok(kafka::check(&kafka))),
        Box::new(move || block_on(async { cql::check(&cql).await })),
        Box::new(move || block_on(async { postgres::check(&postgres).await })),
        Box::new(move || block_on(async { redis::check(&redis).await })),
    ];
    let answers = at_once(asks.into(), PATIENCE);
    let checked = services.places().into_iter().zip(answers);
    let mut checked: Vec<Checked> = checked
        .map(|((service, place), answer)| Checked {
            service,
            place,
            problems: answer.unwrap_or_else(|why| vec![unanswered(service, &why)]),
        })
        .collect();
    // Whether log and store are each other's, where both can be asked.
    if checked[..2].iter().all(|each| each.fatal() == 0) {
        checked[0].problems.extend(strangers(services));
    }
    checked
}

fn strangers(services: &Services) -> Option<Problem> {
    let (fatal, what, advice) = match super::compare(services) {
        Ok((_, None)) => return None,
        Ok((_, Some(warning))) => (false, warning.what, warning.advice.into()),
        Err(error) => match error.downcast::<Mismatch>() {
            Ok(mismatch) => (true, mismatch.what, mismatch.advice.into()),
            Err(error) => {
                let what = format!("log and store cannot be compared: {error:#}");
                (
                    true,
                    what,
                    "Look at the services' own logs, and try again.".into(),
                )
            }
        },
    };
    Some(Problem {
        service: "kafka",
        fatal,
        what,
        advice,
    })
}

fn unanswered(service: &'static str, why: &str) -> Problem {
    Problem {
        service,
        fatal: true,
        what: format!("the check did not end: {why}"),
        advice: "Look at the service's own log, and try again.".into(),
    }
}

/// An error where the schema of a service that can be asked is behind this program. A service that cannot
/// be asked is told in the log: a server may start before it. (Kafka's topics are asked for by the log.)
pub fn refuse_where_behind(services: &Services) -> anyhow::Result<()> {
    let (cql, postgres) = (services.cql.clone(), services.postgres.clone());
    let asks: [Ask<Result<Vec<String>, StoreError>>; 2] = [
        Box::new(move || block_on(async { cql::pending(&cql).await })),
        Box::new(move || block_on(async { postgres::pending(&postgres).await })),
    ];
    let answers = at_once(asks.into(), PATIENCE);
    let mut behind = Vec::new();
    for (service, answer) in ["cql", "postgres"].into_iter().zip(answers) {
        match answer {
            Ok(Ok(steps)) if steps.is_empty() => {}
            Ok(Ok(steps)) => behind.push(format!("{service} lacks {}", steps.join(", "))),
            Ok(Err(StoreError::Away { reason, .. })) | Err(reason) => {
                tracing::warn!(service, reason, "is away; starting without it");
            }
            Ok(Err(error)) => anyhow::bail!("{service}: {error}"),
        }
    }
    if !behind.is_empty() {
        anyhow::bail!(
            "the schema is behind this program: {}. Run `rookery migrate` with the same configuration",
            behind.join("; ")
        );
    }
    Ok(())
}

type Ask<T> = Box<dyn FnOnce() -> anyhow::Result<T> + Send>;

/// Asks each on a thread of its own; the answers in order, or why there is none after so long.
fn at_once<T: Send + 'static>(asks: Vec<Ask<T>>, patience: Duration) -> Vec<Result<T, String>> {
    let asked = asks.len();
    let (tell, told) = mpsc::channel();
    for (index, ask) in asks.into_iter().enumerate() {
        let tell = tell.clone();
        // Nobody listens any more where it took too long.
        let work =
            move || drop(tell.send((index, ask().map_err(|error| crate::cli::causes(&error)))));
        drop(std::thread::spawn(work));
    }
    drop(tell);
    let late = || Err(format!("no answer within {} s", patience.as_secs()));
    let mut answers: Vec<Result<T, String>> = (0..asked).map(|_| late()).collect();
    let deadline = Instant::now() + patience;
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((index, answer)) => answers[index] = answer,
            Err(RecvTimeoutError::Timeout) => return answers,
            // Each has answered, or its thread died, which it has said on stderr.
            Err(RecvTimeoutError::Disconnected) => return answers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_hangs_or_fails_leaves_the_others_their_answers() {
        let (hang, hung) = mpsc::channel::<()>();
        let asks: Vec<Ask<u32>> = vec![
            Box::new(move || Ok(hung.recv().map_or(1, |()| 2))),
            Box::new(|| Ok(7)),
            Box::new(|| anyhow::bail!("no runtime")),
        ];
        let answers = at_once(asks, Duration::from_millis(200));
        assert_eq!(answers[1], Ok(7));
        assert_eq!(answers[2], Err("no runtime".to_owned()));
        assert!(
            answers[0]
                .as_ref()
                .is_err_and(|why| why.contains("no answer"))
        );
        drop(hang);
    }
}
