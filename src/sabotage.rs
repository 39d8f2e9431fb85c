//! Mistakes that a test build can make, one at a time: the history test shows with them that it would find such a mistake.
//! Without the feature `sabotage` none can be made, and the checks for them cost nothing.

/// A mistake, named in `FLASH_SALE_SABOTAGE`.
#[derive(Clone, Copy)]
pub enum Mistake {
    /// A purchase is answered before its commit.
    AnswerBeforeCommit,
    /// A transaction does not look at the product's version.
    NoVersionCheck,
    /// A repeated key is not recognised.
    NoReplayCheck,
    /// A commit without an answer is made again, under another id.
    NewIdOnRetriedCommit,
    /// The server's clock decides the sale window.
    OwnClockForWindow,
    /// A read takes what the first member that answers has.
    ReadWithoutWaitingForTerm,
    /// A request is settled again after its client has hung up.
    SettleForClientThatIsGone,
    /// A lane does not learn what other servers have made of earlier purchases.
    FollowNoChanges,
    /// The units of a purchase come back each time that it is canceled.
    GiveBackTwice,
}

impl Mistake {
    /// Whether this server makes the mistake.
    #[cfg(not(feature = "sabotage"))]
    pub const fn is_made(self) -> bool {
        false
    }

    /// Whether this server makes the mistake.
    #[cfg(feature = "sabotage")]
    pub fn is_made(self) -> bool {
        static MADE: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| std::env::var("FLASH_SALE_SABOTAGE").unwrap_or_default());
        let name = match self {
            Self::AnswerBeforeCommit => "answer_before_commit",
            Self::NoVersionCheck => "no_version_check",
            Self::NoReplayCheck => "no_replay_check",
            Self::NewIdOnRetriedCommit => "new_id_on_retried_commit",
            Self::OwnClockForWindow => "own_clock_for_window",
            Self::ReadWithoutWaitingForTerm => "read_without_waiting_for_term",
            Self::SettleForClientThatIsGone => "settle_for_client_that_is_gone",
            Self::FollowNoChanges => "follow_no_changes",
            Self::GiveBackTwice => "give_back_twice",
        };
        *MADE == name
    }
}
