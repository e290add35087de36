//! What a request must be like before anything is looked up for it.

use std::sync::Arc;

use rookery_wire::proto::ErrorCode;

use super::Refusal;

/// The most members of a conversation, its maker included.
pub const MEMBERS_MAX: usize = 1_024;

/// User ids are the token's `sub`: 1 to 2^63-1.
const USER_ID_MAX: u64 = i64::MAX as u64;

/// The members of a conversation that `caller` makes with `others`: ascending, each once.
pub fn members_of_new(caller: u64, others: &[u64]) -> Result<Arc<[u64]>, Refusal> {
    if others.len() >= MEMBERS_MAX {
        return Err(Refusal::never(
            ErrorCode::BadRequest,
            "more than 1,023 other members",
        ));
    }
    others.iter().try_for_each(|&user_id| check_peer(user_id))?;
    let mut members = others.to_vec();
    members.push(caller);
    members.sort_unstable();
    members.dedup();
    if members.len() < 2 {
        return Err(Refusal::never(
            ErrorCode::BadRequest,
            "name at least one other member",
        ));
    }
    Ok(members.into())
}

/// Whether a user can have this id. Whether there is such a user the router does not know.
pub fn check_peer(user_id: u64) -> Result<(), Refusal> {
    if (1..=USER_ID_MAX).contains(&user_id) {
        Ok(())
    } else {
        Err(Refusal::never(
            ErrorCode::BadRequest,
            "a user id is 1 to 2^63-1",
        ))
    }
}

/// The rows of a page: what was asked, at least 1, at most `limit_max`.
pub fn page_limit(asked: u32, limit_max: u32) -> usize {
    asked.clamp(1, limit_max.max(1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_counted_once_and_bounded() {
        assert_eq!(*members_of_new(5, &[9, 1, 9, 5]).unwrap(), [1, 5, 9]);
        let many: Vec<u64> = (10..10 + 1_023).collect();
        assert_eq!(members_of_new(5, &many).unwrap().len(), MEMBERS_MAX);
        let more: Vec<u64> = (10..10 + 1_024).collect();
        assert_eq!(
            members_of_new(5, &more).unwrap_err().code,
            ErrorCode::BadRequest
        );
        for bad in [&[][..], &[5], &[0], &[1 << 63]] {
            assert_eq!(
                members_of_new(5, bad).unwrap_err().code,
                ErrorCode::BadRequest
            );
        }
    }

    #[test]
    fn a_page_has_at_least_one_row_and_at_most_the_bound() {
        assert_eq!(
            [0, 1, 50, 101, u32::MAX].map(|n| page_limit(n, 100)),
            [1, 1, 50, 100, 100]
        );
    }
}
