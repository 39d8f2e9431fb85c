//! The id of every stored document: 12 bytes, in JSON 24 hexadecimal digits.

pub use mongodb::bson::oid::ObjectId as Id;
