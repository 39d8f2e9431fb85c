//! The domain as plain data: ids, timestamps, money, and the documents in the database. No I/O.

pub mod audit;
pub(crate) mod email;
pub mod ended_token;
pub mod id;
pub(crate) mod leaderboard_item;
pub mod money;
pub(crate) mod name;
pub mod network;
pub(crate) mod number;
pub(crate) mod password;
pub mod product;
pub mod purchase;
pub(crate) mod text;
pub mod timestamp;
pub mod user;
