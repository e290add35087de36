//! How many conversations a user may have: as many as it opens, and others into which it is put. Being put into
//! conversations takes none of what a user may open itself. Pure: the counts come from the store.

use rookery_wire::proto::ErrorCode;

use super::Refusal;

/// See the module. 0 is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationLimits {
    /// That a user may open.
    pub opened_max: u32,
    /// That a user may be in and still be put into one more by others.
    pub all_max: u32,
}

impl ConversationLimits {
    /// Nobody opens as many by hand, and ten who try to fill another user's list have to open as many as they may.
    pub const DEFAULT: ConversationLimits = ConversationLimits {
        opened_max: 10_000,
        all_max: 100_000,
    };

    /// No limits.
    pub const NONE: ConversationLimits = ConversationLimits {
        opened_max: 0,
        all_max: 0,
    };

    /// Whether anything is to be counted.
    pub fn is_none(&self) -> bool {
        *self == ConversationLimits::NONE
    }

    /// More rows than that a user's list has not, where both are limited.
    pub fn rows_max(&self) -> usize {
        match (self.opened_max, self.all_max) {
            (0, _) | (_, 0) => usize::MAX,
            (opened, all) => opened as usize + all as usize,
        }
    }

    /// Whether a user may open one more.
    pub fn check_opener(&self, has: Conversations) -> Result<(), Full> {
        is_below(has.opened, self.opened_max)
            .then_some(())
            .ok_or(Full::Opener)
    }

    /// Whether a user may be put into one more.
    pub fn check_member(&self, user_id: u64, has: Conversations) -> Result<(), Full> {
        is_below(has.all, self.all_max)
            .then_some(())
            .ok_or(Full::Member(user_id))
    }
}

fn is_below(count: usize, most: u32) -> bool {
    most == 0 || count < most as usize
}

/// How many conversations a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversations {
    /// Those that it opened.
    pub opened: usize,
    /// All that it is in.
    pub all: usize,
}

/// Who has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The one that opens.
    Opener,
    /// One who is to be put into it.
    Member(u64),
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Refusal {
        match full {
            Full::Opener => Refusal::never(
                ErrorCode::TooManyConversations,
                "as many conversations are open as one user may open",
            ),
            Full::Member(user_id) => Refusal {
                user_id: Some(user_id),
                ..Refusal::never(
                    ErrorCode::MemberFull,
                    "a member is in as many conversations as one may be put into",
                )
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_do_takes_nothing_of_what_one_may_open() {
        let limits = ConversationLimits {
            opened_max: 2,
            all_max: 5,
        };
        let has = |opened, all| Conversations { opened, all };
        assert_eq!(limits.check_opener(has(1, 1_000)), Ok(()));
        assert_eq!(limits.check_opener(has(2, 2)), Err(Full::Opener));
        assert_eq!(limits.check_member(9, has(2, 4)), Ok(()));
        assert_eq!(limits.check_member(9, has(0, 5)), Err(Full::Member(9)));
        let any = ConversationLimits::NONE;
        assert_eq!(any.check_opener(has(1 << 40, 1 << 40)), Ok(()));
        assert_eq!(any.check_member(9, has(1 << 40, 1 << 40)), Ok(()));
        assert_eq!((limits.rows_max(), any.rows_max()), (7, usize::MAX));
    }

    #[test]
    fn the_one_who_is_full_is_named() {
        let refusal = Refusal::from(Full::Member(4_711));
        assert_eq!(
            (refusal.code, refusal.retry_after_ms),
            (ErrorCode::MemberFull, 0)
        );
        let frame = refusal.frame(1_u64);
        let named = b"may be put into: user 4711";
        assert!(frame.windows(named.len()).any(|part| part == named));
    }
}
