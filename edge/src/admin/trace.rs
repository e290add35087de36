//! Telling an operator what one user's connections say and are told, for a bounded time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::answer::{Body, Refused, busy, lines};
use super::deadline::{CONNECTION_MAX, Deadline};
use super::query::Query;
use super::view::View;
use crate::session::{Ask, Line};

/// Traces at a time.
pub(super) const TRACES_MAX: usize = 4;
/// The longest.
const SECONDS_MAX: u64 = 600;
/// Lines that wait for a slow reader; more are lost, and counted.
const LINES_MAX: usize = 1_024;

struct Trace {
    lines: mpsc::Receiver<Line>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

/// Begins one: the answer's body is its lines.
pub(super) fn begin(
    view: &View,
    places: &Arc<Semaphore>,
    user_id: u64,
    query: &Query,
    connection: &Deadline,
) -> Result<Response<Body>, Refused> {
    let seconds = query.number("seconds", 60, SECONDS_MAX)?;
    let place = Arc::clone(places).try_acquire_owned();
    let Ok(place) = place else {
        let why = format!("there are {TRACES_MAX} traces already: end one\n");
        return Err(Refused(StatusCode::TOO_MANY_REQUESTS, why));
    };
    let (to, from) = mpsc::channel(LINES_MAX);
    let ask = Ask::Trace { user_id, lines: to };
    if !view.ask_owner(user_id, ask) {
        return Err(busy());
    }
    tracing::info!(user = user_id, seconds, "traced by the admin port");
    let until = Instant::now() + Duration::from_secs(seconds);
    // What was written must still be read.
    connection.put_off(until + CONNECTION_MAX);
    let trace = Trace {
        lines: from,
        until,
        _place: place,
    };
    Ok(lines(stream::unfold(trace, |mut trace| async move {
        let next = tokio::time::timeout_at(trace.until.into(), trace.lines.recv()).await;
        let line = next.ok().flatten()?;
        let mut text = serde_json::to_vec(&line).ok()?;
        text.push(b'\n');
        Some((Bytes::from(text), trace))
    })))
}
