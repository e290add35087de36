//! Tokens that an operator takes back.

use std::time::{Duration, SystemTime};

use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;

use super::answer::{Body, Refused, bad, busy, json};
use super::connections::PATIENCE;
use super::query::Query;
use super::view::View;
use crate::auth::{Hits, JTI_BYTES_MAX, Revocation, RevokeError, USER_ID_MAX};
use crate::session::Ask;
use crate::unix_time::{unix_ms, unix_s};

/// Between two tries to reach a shard whose mailbox is full.
const PAUSE: Duration = Duration::from_millis(5);

/// Refuses a user's tokens from now on. What it did is on the disk, and in force, when it answers.
pub(super) async fn revoke(
    view: &View,
    user_id: u64,
    query: &Query,
) -> Result<Response<Body>, Refused> {
    query.only(&["device", "before", "token_id", "expires"])?;
    if !(1..=USER_ID_MAX).contains(&user_id) {
        return Err(bad(format!("{user_id} is no user id")));
    }
    let device_id = match query.get("device") {
        None => None,
        Some("0") => return Err(bad("`device` is 0; devices are numbered from 1".into())),
        Some(_) => Some(query.number("device", 1, u32::MAX.into())? as u32),
    };
    let now = SystemTime::now();
    let (hits, until_ms) = (which(query, now)?, until_ms(query, now)?);
    let revocations = std::sync::Arc::clone(&view.revocations);
    let written = tokio::task::spawn_blocking(move || {
        revocations.revoke(user_id, device_id, hits, until_ms, unix_ms(now))
    });
    let revocation = written.await.map_err(|_| busy())?.map_err(refused)?;
    let closed = tell(view, &revocation).await?;
    let until_s = revocation.until_ms.div_ceil(1_000);
    tracing::info!(
        user = user_id,
        ?device_id,
        hits = ?revocation.hits,
        until_s,
        closed,
        "revoked by the admin port"
    );
    let done = json!({ "revoked": revocation, "closed": closed });
    Ok(json(StatusCode::OK, &done))
}

/// All that are in force.
pub(super) async fn all(view: &View) -> Result<Response<Body>, Refused> {
    let revocations = std::sync::Arc::clone(&view.revocations);
    // They may be waiting for the disk.
    let all = tokio::task::spawn_blocking(move || revocations.all());
    Ok(json(StatusCode::OK, &all.await.map_err(|_| busy())?))
}

/// Has the shard that owns the user refuse, and close who is in; how many those were. It knows what is on the disk
/// only from here, so a mailbox that is full is tried again.
async fn tell(view: &View, revocation: &Revocation) -> Result<usize, Refused> {
    let told = async {
        loop {
            let (answer, answered) = oneshot::channel();
            let ask = Ask::Revoke {
                revocation: Box::new(revocation.clone()),
                answer,
            };
            if view.ask_owner(revocation.user_id, ask) {
                return answered.await.ok();
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let closed = tokio::time::timeout(PATIENCE, told).await;
    closed.ok().flatten().ok_or_else(|| {
        let why =
            "it is written, and a shard does not answer, so it may not be in force: ask again\n";
        Refused(StatusCode::SERVICE_UNAVAILABLE, why.into())
    })
}

/// Which tokens: one by its id, or those that were issued before a moment, now where it is not said.
fn which(query: &Query, now: SystemTime) -> Result<Hits, Refused> {
    match (query.get("token_id"), query.get("before")) {
        (Some(_), Some(_)) => Err(bad(
            "`token_id` and `before`: one of them, or none for all tokens until now".into(),
        )),
        (Some(id), None) if id.is_empty() || id.len() > JTI_BYTES_MAX => Err(bad(format!(
            "`token_id` has {} bytes; it may have 1 to {JTI_BYTES_MAX}",
            id.len()
        ))),
        (Some(id), None) => Ok(Hits::TokenId(id.to_owned())),
        (None, None) => Ok(Hits::IssuedBeforeMs(unix_ms(now))),
        // Not ahead of now: who gets a new token is to be let in.
        (None, Some(_)) => {
            let before_s = query.number("before", 0, unix_s(now))?;
            Ok(Hits::IssuedBeforeMs(before_s * 1_000))
        }
    }
}

/// Until when the tokens are valid, where the operator knows.
fn until_ms(query: &Query, now: SystemTime) -> Result<Option<u64>, Refused> {
    if query.get("expires").is_none() {
        return Ok(None);
    }
    let expires_s = query.number("expires", 0, u32::MAX.into())?;
    if expires_s <= unix_s(now) {
        return Err(bad(format!(
            "`expires` is {expires_s}, which has passed: such a token logs nobody in"
        )));
    }
    // As long as a clock may be off.
    Ok(Some(expires_s * 1_000 + 300_000))
}

fn refused(error: RevokeError) -> Refused {
    let status = match error {
        RevokeError::Full { .. } => StatusCode::CONFLICT,
        RevokeError::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused(status, format!("{error}\n"))
}
