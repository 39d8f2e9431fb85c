//! Buying, the reason for all of this. The way of a purchase, in reading order: the route puts it into its product's
//! lane (`lanes`), if it can be served in time (`places`; `forecast`, pure); the lane takes all that is waiting (`lane`),
//! decides each one (`settle`, pure) from what it knows of the sale and its buyers (`knowledge`, `buyers`), and hands the
//! change (`change`) to the committer (`committer`), which commits those of all lanes that have one together, in one
//! transaction (`commit`). Servers that sell the same product take turns (`turns`, pure).

pub mod barrier;
pub mod batch;
pub mod buyers;
pub mod change;
pub mod commit;
pub mod committer;
pub mod forecast;
pub mod gate;
pub mod knowledge;
pub mod lane;
pub mod lanes;
pub mod memory;
pub mod model;
pub mod orphan;
pub mod places;
pub mod routes;
pub mod service;
pub mod settle;
pub mod turns;
pub mod waiting;
