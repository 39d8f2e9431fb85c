//! What every route shares, and nothing about selling: the accept loop, the request's id and the problem+json of
//! every error, strict bodies, query parameters, pages and entity tags.

pub mod accept;
pub mod body;
pub mod conditional;
pub mod discard;
pub mod fields;
pub mod page;
pub mod path;
pub mod peer;
pub mod rendered;
pub mod request_id;
pub mod threads;
