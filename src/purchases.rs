//! Buying, the reason for all of this. The way of a purchase, in reading order: the route puts it into its product's
//! lane (`lanes`), if it can be served in time (`places`; `forecast`, pure); the lane takes all that is waiting (`lane`),
//! decides each one (`settle`, pure) from what it knows of the sale and its buyers (`knowledge`, `buyers`), and commits
//! the batch in one transaction (`commit`).

pub mod batch;
pub mod buyers;
pub mod commit;
pub mod forecast;
pub mod gate;
pub mod knowledge;
pub mod lane;
pub mod lanes;
pub mod model;
pub mod places;
pub mod routes;
pub mod service;
pub mod settle;
pub mod waiting;
