//! The products: in the database (`catalogue` reads, `changes` writes), in memory (`cache`, kept current by `change_stream`), and as clients
//! read them (`pages`).

pub(crate) mod cache;
pub(crate) mod catalogue;
pub(crate) mod change_stream;
pub(crate) mod changes;
pub(crate) mod filter;
pub(crate) mod pages;
pub(crate) mod request;
pub(crate) mod view;
