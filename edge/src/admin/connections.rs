//! Who is connected, and who was.

use std::cmp::Reverse;
use std::time::Duration;

use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;

use super::answer::{Body, Refused, bad, busy, json};
use super::query::Query;
use super::view::View;
use crate::session::{Ask, By, CLOSED_MAX, Closed, Connection, RANKED_MAX};

/// A shard that has not answered for so long hangs, or has a full mailbox.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The same where it asks the kernel about every connection.
const KERNEL_PATIENCE: Duration = Duration::from_secs(25);

/// A shard's answer, where it comes.
async fn answer<T>(
    asked: bool,
    answered: oneshot::Receiver<T>,
    patience: Duration,
) -> Result<T, Refused> {
    if !asked {
        return Err(busy());
    }
    let answer = tokio::time::timeout(patience, answered).await;
    answer.ok().and_then(Result::ok).ok_or_else(busy)
}

/// The connections of all shards that ended last, newest first.
pub(super) async fn closed(view: &View, query: &Query) -> Result<Response<Body>, Refused> {
    let most = query.number("limit", 100, CLOSED_MAX as u64)? as usize;
    let asks = (0..view.postboxes.shards()).map(|shard| {
        let (answer, answered) = oneshot::channel();
        (view.ask(shard, Ask::Closed { most, answer }), answered)
    });
    let mut all: Vec<Closed> = Vec::new();
    for (asked, answered) in asks.collect::<Vec<_>>() {
        all.extend(answer(asked, answered, PATIENCE).await?);
    }
    all.sort_by_key(|closed| Reverse(closed.at_ms));
    all.truncate(most);
    Ok(json(StatusCode::OK, &all))
}

/// The connections of all shards with the most of something, the most first.
pub(super) async fn top(view: &View, query: &Query) -> Result<Response<Body>, Refused> {
    let by = match query.get("sort") {
        None | Some("queue") => By::Queue,
        Some("idle") => By::Idle,
        Some("rtt") => By::RoundTrip,
        Some(other) => {
            return Err(bad(format!(
                "`sort` is {other}; it may be queue, idle or rtt"
            )));
        }
    };
    let patience = match by {
        By::Queue | By::Idle => PATIENCE,
        By::RoundTrip => KERNEL_PATIENCE,
    };
    let most = query.number("limit", 100, RANKED_MAX as u64)? as usize;
    let asks = (0..view.postboxes.shards()).map(|shard| {
        let (answer, answered) = oneshot::channel();
        (view.ask(shard, Ask::Rank { by, most, answer }), answered)
    });
    let mut all: Vec<Connection> = Vec::new();
    for (asked, answered) in asks.collect::<Vec<_>>() {
        all.extend(answer(asked, answered, patience).await?);
    }
    all.sort_by_key(|conn| {
        Reverse(match by {
            By::Queue => conn.queue_bytes as u64,
            By::Idle => conn.idle_s.into(),
            By::RoundTrip => conn.rtt_us.unwrap_or(0).into(),
        })
    });
    all.truncate(most);
    Ok(json(StatusCode::OK, &all))
}

/// The connections of one user.
pub(super) async fn user(view: &View, user_id: u64) -> Result<Response<Body>, Refused> {
    let (reply, answered) = oneshot::channel();
    let ask = Ask::User {
        user_id,
        answer: reply,
    };
    let found = answer(view.ask_owner(user_id, ask), answered, PATIENCE).await?;
    Ok(json(StatusCode::OK, &found))
}

/// Ends the connections of one user.
pub(super) async fn kick(
    view: &View,
    user_id: u64,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    query.only(&["device"])?;
    let device_id = match query.get("device") {
        None => None,
        Some(_) => Some(query.number("device", 1, u32::MAX.into())? as u32),
    };
    let (reply, answered) = oneshot::channel();
    let ask = Ask::Kick {
        user_id,
        device_id,
        answer: reply,
    };
    let kicked = answer(view.ask_owner(user_id, ask), answered, PATIENCE).await?;
    tracing::info!(
        user = user_id,
        ?device_id,
        kicked,
        "kicked by the admin port"
    );
    Ok(json(StatusCode::OK, &json!({ "kicked": kicked })))
}
