//! What is sold: the products, their sale times and their stock.

pub mod model;
pub mod request;
pub mod routes;
pub mod service;
