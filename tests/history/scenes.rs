//! Scenes: situations in which a server is easily wrong, brought about on purpose. Without sabotage none of them may break a
//! promise; with the mistake built in that a scene is about, the checker has to name what is broken.

mod acts;
mod paying;

use std::sync::Arc;
use std::time::Duration;

use crate::actors::Actor;
use crate::checker::{self, Report};
use crate::cluster::{Cluster, soon};
use crate::random::Random;
use crate::record::{ProductPlan, Terms};
use crate::settings::Settings;
use crate::shop::Shop;

/// A scene, and the mistake that it is about, which can be built in: then the checker calls the result one of these names.
pub struct Scene {
    pub name: &'static str,
    #[cfg_attr(not(feature = "sabotage"), expect(dead_code, reason = "it is not built in"))]
    pub mistake: Option<&'static str>,
    #[cfg_attr(not(feature = "sabotage"), expect(dead_code, reason = "without a mistake nothing is found"))]
    pub violations: &'static [&'static str],
    act: Act,
}

/// What is played.
#[derive(Clone, Copy)]
enum Act {
    ClientGone,
    KilledAtCommit,
    Rivals,
    Repetition,
    CommitRetried,
    EndOfSale,
    NewTerm,
    CrowdInNewTerm,
    OldPrimary,
    ClockSetBack,
    ChangesElsewhere,
    GivenBackAgain,
}

const fn scene(name: &'static str, act: Act) -> Scene {
    Scene { name, mistake: None, violations: &[], act }
}

const fn about(
    name: &'static str,
    act: Act,
    mistake: &'static str,
    violations: &'static [&'static str],
) -> Scene {
    Scene { name, mistake: Some(mistake), violations, act }
}

/// All of them.
pub const ALL: [Scene; 12] = [
    about("client-gone", Act::ClientGone, "settle_for_client_that_is_gone", &["KeyedRefusalThenBought"]),
    about("killed-at-commit", Act::KilledAtCommit, "answer_before_commit", &["LostPurchase"]),
    about("rivals", Act::Rivals, "no_version_check", &["SequenceWrong"]),
    about("repetition", Act::Repetition, "no_replay_check", &["ReplayRefused", "KeyBoughtTwice"]),
    about(
        "commit-retried",
        Act::CommitRetried,
        "new_id_on_retried_commit",
        &["BoughtTwice", "RefusedYetBought"],
    ),
    about("end-of-sale", Act::EndOfSale, "own_clock_for_window", &["OutsideWindow"]),
    about("new-term", Act::NewTerm, "read_without_waiting_for_term", &["StaleRead", "PurchaseNotFound"]),
    scene("crowd-in-new-term", Act::CrowdInNewTerm),
    scene("old-primary", Act::OldPrimary),
    scene("clock-set-back", Act::ClockSetBack),
    about("changes-elsewhere", Act::ChangesElsewhere, "follow_no_changes", &["LimitExceeded"]),
    about("given-back-again", Act::GivenBackAgain, "give_back_twice", &["HeldIsNotPending"]),
];

/// What a scene is played on: two servers, A and B, over a database of its own, with one product.
pub struct Stage<'a> {
    pub cluster: &'a Cluster,
    pub shop: Arc<Shop>,
}

/// The place of a server.
pub const A: usize = 0;
pub const B: usize = 1;
/// The one product.
pub const PRODUCT: u8 = 0;

impl Scene {
    /// Whether it can be played here; if not, why.
    pub fn is_possible(&self, cluster: &Cluster) -> Result<(), &'static str> {
        match self.act {
            Act::ClockSetBack if !cluster.has_clocks() => Err("no clock can be set"),
            _ => Ok(()),
        }
    }

    /// Plays it, with this mistake built in or none; what the checker says.
    pub async fn play(&self, cluster: &mut Cluster, settings: &Settings, mistake: Option<&str>) -> Report {
        let settings = Settings { sabotage: mistake.map(str::to_owned), ..settings.clone() };
        let database = mistake.map_or_else(|| self.name.to_owned(), |_| format!("{}-wrong", self.name));
        cluster.start_servers(&settings, &database, 2).await;
        let cluster = &*cluster;
        let shop = Arc::new(Shop::open(cluster, vec![self.plan()]).await);
        let stage = Stage { cluster, shop };
        match self.act {
            Act::ClientGone => stage.client_gone().await,
            Act::KilledAtCommit => stage.killed_at_commit().await,
            Act::Rivals => stage.rivals().await,
            Act::Repetition => stage.repetition().await,
            Act::CommitRetried => stage.commit_retried().await,
            Act::EndOfSale => stage.end_of_sale().await,
            Act::NewTerm => stage.new_term(false).await,
            Act::CrowdInNewTerm => stage.new_term(true).await,
            Act::OldPrimary => stage.old_primary().await,
            Act::ClockSetBack => stage.clock_set_back().await,
            Act::ChangesElsewhere => stage.changes_elsewhere().await,
            Act::GivenBackAgain => stage.given_back_again().await,
        }
        stage.end().await
    }

    fn plan(&self) -> ProductPlan {
        let (stock, limit, lasts) = match self.act {
            Act::ClientGone => (2, 1, 3_600_000),
            Act::ChangesElsewhere => (10, 1, 3_600_000),
            Act::Repetition => (10, 1, 3_600_000),
            Act::EndOfSale => (10, 5, acts::SALE_MS),
            Act::ClockSetBack => (1_000, 5, acts::SALE_ENDED_BY_CLOCK_MS),
            _ => (1_000, 5, 3_600_000),
        };
        let now = mongodb::bson::DateTime::now().timestamp_millis();
        let terms = Terms { price: 100, limit, start: now - 3_600_000, end: now + lasts };
        ProductPlan {
            stock,
            has_crowd: matches!(self.act, Act::CrowdInNewTerm),
            payment_window_seconds: matches!(self.act, Act::ChangesElsewhere | Act::GivenBackAgain)
                .then_some(3_600),
            terms: vec![terms],
        }
    }
}

impl Stage<'_> {
    /// Somebody who acts.
    pub fn actor(&self) -> Actor {
        let (_, is_over) = tokio::sync::watch::channel(false);
        Actor { shop: Arc::clone(&self.shop), is_over, random: Random::new(1, 1) }
    }

    /// Everything is mended, the servers end what they have begun, and the books are checked.
    async fn end(self) -> Report {
        self.cluster.heal().await;
        for server in &self.cluster.servers {
            soon("the end of a server", server.stop()).await;
        }
        let database = self.cluster.database().await;
        self.shop.read_stored(&database).await;
        let history = Arc::into_inner(self.shop).expect("everybody has gone home").into_history();
        checker::check(&history)
    }
}

/// A short pause that decides nothing but how often something is looked at.
pub async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
