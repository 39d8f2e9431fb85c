//! Turns the driver's errors into answers for clients. Each failure is logged here, once; the answer leaves out the
//! cause.

use mongodb::error::{
    Error as DatabaseError, ErrorKind, RETRYABLE_WRITE_ERROR, SYSTEM_OVERLOADED_ERROR,
    TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};

use crate::error::Error;

/// A unique index was violated (MongoDB's error table).
pub(super) const DUPLICATE_KEY: i32 = 11_000;
/// A command took longer than its `maxTimeMS`.
const MAX_TIME_EXPIRED: i32 = 50;

/// Logs why a read failed, and returns the answer for the client.
pub fn of_read(error: &DatabaseError) -> Error {
    if is_unavailable(error) {
        tracing::warn!("the database cannot be reached: {error}");
        Error::DatabaseUnavailable
    } else {
        tracing::error!("the database refused a command: {error}");
        Error::Internal
    }
}

/// The same for a single write. It tells a write that never reached the database from one that may have taken effect.
pub fn of_write(error: &DatabaseError) -> Error {
    match error.kind.as_ref() {
        // Not `ConnectionPoolCleared`: a command in flight also gets it, when the monitor gives up its server.
        ErrorKind::ServerSelection { .. } => {
            tracing::warn!("the database cannot be reached: {error}");
            Error::DatabaseUnavailable
        }
        ErrorKind::Write(WriteFailure::WriteError(_)) => {
            tracing::error!("a write was refused: {error}");
            Error::Internal
        }
        _ => {
            tracing::error!("a write failed, its outcome is unknown: {error}");
            Error::OutcomeUnknown { purchase_id: None }
        }
    }
}

pub fn too_slow(what: &str) -> Error {
    tracing::warn!("{what} got no answer from the database in time");
    Error::DatabaseUnavailable
}

/// Whether the database gave up waiting for a document that another transaction held. Nothing was changed.
pub fn is_held(error: &DatabaseError) -> bool {
    code_of(error) == Some(MAX_TIME_EXPIRED)
}

/// Whether the command or its write concern ran out of time.
pub fn is_too_slow(error: &DatabaseError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => error.code == MAX_TIME_EXPIRED,
        _ => is_held(error),
    }
}

/// Whether the database, and not the command, is at fault.
pub fn is_unavailable(error: &DatabaseError) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::Io(_)
            // The write took effect at the primary, but no majority has it in time.
            | ErrorKind::Write(WriteFailure::WriteConcernError(_))
    ) || error.contains_label(SYSTEM_OVERLOADED_ERROR)
        || error.contains_label(RETRYABLE_WRITE_ERROR)
        || is_state_change(error)
}

/// Not primary, stepping down, shutting down, a network fault between servers, a cursor or a snapshot lost with the
/// primary: another server can answer, or this one can soon (the codes of MongoDB's retryable reads).
fn is_state_change(error: &DatabaseError) -> bool {
    const CODES: [i32; 15] =
        [6, 7, 43, 89, 91, 134, 189, 262, 9001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436];
    code_of(error).is_some_and(|code| CODES.contains(&code))
}

/// Whether a unique index refused the write.
pub fn is_duplicate_key(error: &DatabaseError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::InsertMany(error) => {
            error.write_errors.iter().flatten().any(|error| error.code == DUPLICATE_KEY)
        }
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// Whether the transaction had no effect, so that all of it may be run again.
pub fn is_transient(error: &DatabaseError) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

/// Whether the commit may have taken effect, so that only the commit may be repeated.
pub fn is_unknown_commit(error: &DatabaseError) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

fn code_of(error: &DatabaseError) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => error.write_errors.iter().flatten().map(|error| error.code).next(),
        _ => None,
    }
}
