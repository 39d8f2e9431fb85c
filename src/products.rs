//! The products: in the database (`catalogue`), in memory (`cache`), kept up to date by the change stream
//! (`change_stream`), and as clients read them (`pages`).

pub mod cache;
pub mod catalogue;
pub mod change_stream;
pub mod filter;
pub mod pages;
pub mod request;
pub mod view;
