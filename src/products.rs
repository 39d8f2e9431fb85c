//! What is sold: the products, their sale times and their stock.

pub mod cache;
pub mod filter;
pub mod model;
pub mod reads;
pub mod request;
pub mod routes;
pub mod service;
