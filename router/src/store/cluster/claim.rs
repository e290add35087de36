//! What a claim comes to: Redis first, and the sends of the store of messages where Redis cannot tell.
//!
//! | Redis says | the sends have it | lack it | are away |
//! | --- | --- | --- | --- |
//! | new | New, not asked | New, not asked | New, not asked |
//! | has it | Durable | Begun | Begun |
//! | forgot | Durable | Unsure | Unsure |
//! | away | Durable | Unsure | Unsure |
//!
//! Unsure and Begun go into the log as repetitions, and whoever consumes them looks whether the message
//! is there already, so no cell can make a duplicate. What the sends say goes before what Redis says:
//! they are derived from the log.

use crate::admission::{Known, SendKey};
use crate::redis::{Claims, Taken};
use crate::store::{Claim, Claimed, StoreError};

/// The sends of the store of messages: the record of what ids stand for, once messages are stored.
pub trait Sends {
    /// What (sender, `client_msg_id`) stand for, in order.
    fn known_many(
        &self,
        names: &[SendKey],
    ) -> impl Future<Output = Result<Vec<Option<Known>>, StoreError>> + Send;
}

/// What the sends say to one claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Has(Known),
    Lacks,
    Away,
}

/// See the module. Answers in order. Errors are damaged rows only.
pub async fn claim(
    front: &Claims,
    sends: &impl Sends,
    claims: &[Claim],
) -> Result<Vec<Claimed>, StoreError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let taken = front.take(claims).await;
    let asked: Vec<usize> = (0..claims.len())
        .filter(|&at| taken[at] != Taken::New)
        .collect();
    let mut sent = vec![Sent::Lacks; claims.len()];
    if !asked.is_empty() {
        let ids: Vec<SendKey> = asked.iter().map(|&at| claims[at].name()).collect();
        match sends.known_many(&ids).await {
            Ok(known) => {
                for (&at, known) in asked.iter().zip(known) {
                    sent[at] = known.map_or(Sent::Lacks, Sent::Has);
                }
            }
            Err(error @ StoreError::Away { .. }) => {
                tracing::warn!(%error, "retries are left to the consumer of the log");
                asked.iter().for_each(|&at| sent[at] = Sent::Away);
            }
            Err(error) => return Err(error),
        }
    }
    settle(front, claims, &taken, &sent).await;
    Ok(taken
        .iter()
        .zip(&sent)
        .map(|(taken, sent)| decide(*taken, *sent))
        .collect())
}

/// The table of the module.
fn decide(taken: Taken, sent: Sent) -> Claimed {
    match (taken, sent) {
        (Taken::New, _) => Claimed::New,
        (_, Sent::Has(known)) => Claimed::Durable(known),
        (Taken::Has(known), Sent::Lacks | Sent::Away) => Claimed::Begun(known),
        (Taken::Forgot | Taken::Away, Sent::Lacks | Sent::Away) => Claimed::Unsure,
    }
}

/// Has Redis learn what it could not be told, and what it was told wrongly.
async fn settle(front: &Claims, claims: &[Claim], taken: &[Taken], sent: &[Sent]) {
    let mut later = Vec::new();
    let mut wrong = Vec::new();
    for ((claim, taken), sent) in claims.iter().zip(taken).zip(sent) {
        match (taken, sent) {
            (Taken::Away, Sent::Lacks | Sent::Away) => later.push(*claim),
            (Taken::Forgot, Sent::Has(known)) => wrong.push(Claim {
                known: *known,
                ..*claim
            }),
            _ => {}
        }
    }
    if !later.is_empty() {
        front.keep_for_later(later);
    }
    front.correct(&wrong).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(message_id: u64) -> Known {
        Known {
            conversation_id: 1,
            payload_hash: 2,
            message_id,
            hlc: 3,
        }
    }

    #[test]
    fn the_table_of_the_module_holds() {
        let redis = [Taken::New, Taken::Has(known(1)), Taken::Forgot, Taken::Away];
        let sends = [Sent::Has(known(2)), Sent::Lacks, Sent::Away];
        let durable = Claimed::Durable(known(2));
        let begun = Claimed::Begun(known(1));
        let expected = [
            [Claimed::New; 3],
            [durable, begun, begun],
            [durable, Claimed::Unsure, Claimed::Unsure],
            [durable, Claimed::Unsure, Claimed::Unsure],
        ];
        for (taken, row) in redis.into_iter().zip(expected) {
            for (sent, claimed) in sends.into_iter().zip(row) {
                assert_eq!(decide(taken, sent), claimed, "{taken:?} {sent:?}");
            }
        }
    }
}
