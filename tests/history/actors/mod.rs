//! The people of the run, each a task that goes on until it is told to stop.

pub mod admin;
pub mod buyers;
pub mod payers;
pub mod readers;
pub mod watchers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::random::Random;
use crate::record::{ProductPlan, Terms};
use crate::shop::Shop;

/// Asked for by a crowd, and never sold out.
pub const HOT: u8 = 0;
/// Sold out most of the time.
pub const SCARCE: [u8; 2] = [1, 2];
/// Of which each buyer wants more than he may have.
pub const LIMITED: u8 = 3;
/// Whose price, limit and window change all the time.
pub const CHANGING: u8 = 4;

/// Which has to be paid for, and is sold out most of the time.
pub const HELD: u8 = 5;
/// Within so many seconds.
pub const HELD_SECONDS: i64 = 3;

/// The products of a run.
pub fn plans() -> Vec<ProductPlan> {
    let terms = |price, limit| Terms { price, limit, start: 1_700_000_000_000, end: 4_000_000_000_000 };
    let plan = |stock, limit, has_crowd| ProductPlan {
        stock,
        has_crowd,
        payment_window_seconds: None,
        terms: vec![terms(100, limit)],
    };
    let held = ProductPlan { payment_window_seconds: Some(HELD_SECONDS), ..plan(10, 3, false) };
    vec![
        plan(100_000_000, 2, true),
        plan(20, 5, false),
        plan(20, 5, false),
        plan(1_000_000, 3, false),
        plan(1_000_000, 2, false),
        held,
    ]
}

/// What every one of them has.
#[derive(Clone)]
pub struct Actor {
    pub shop: Arc<Shop>,
    /// True when it is time to go home.
    pub is_over: watch::Receiver<bool>,
    pub random: Random,
}

impl Actor {
    /// Does nothing for a while; false when it is time to go home.
    pub async fn rest(&mut self, least_ms: u64, most_ms: u64) -> bool {
        let pause = Duration::from_millis(self.random.between(least_ms, most_ms));
        let over = self.is_over.wait_for(|is_over| *is_over);
        tokio::time::timeout(pause, over).await.is_err()
    }

    /// One of the servers.
    pub fn any_server(&mut self) -> usize {
        self.random.below(self.shop.ports.len())
    }

    /// A server that is not this one.
    pub fn another_server(&mut self, than: usize) -> usize {
        let servers = self.shop.ports.len();
        (than + 1 + self.random.below(servers.saturating_sub(1).max(1))) % servers
    }
}
