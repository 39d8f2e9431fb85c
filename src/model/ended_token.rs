//! A token that was ended before it expired, as the database holds it.

use mongodb::bson::{DateTime, Timestamp as OperationTime};
use serde::{Deserialize, Serialize};

use super::id::Id;

/// The document in `endedTokens`: one token, or all tokens of a user who has no account here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedToken {
    /// `token:` and the token's fingerprint, or `user:` and the user's id.
    #[serde(rename = "_id")]
    pub key: String,
    /// Whose token it is.
    pub user_id: Id,
    /// When it was ended, by the database's logical clock, which never goes back.
    pub ended_at: OperationTime,
    /// When the token expires; the document is deleted a day later. `None` for all tokens of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime>,
    /// Of all tokens of a user: those that were made before this moment are ended. By the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_valid_from: Option<DateTime>,
}
