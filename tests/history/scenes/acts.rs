//! What is played in each scene.

use std::time::Duration;

use mongodb::bson::doc;
use tokio::time::Instant;

use super::{A, B, PRODUCT, Stage, pause};
use crate::actors::readers::read_product;
use crate::client::{Connection, PATIENT, exchange, token};
use crate::cluster::{Flow, MEMBERS, Way, soon};
use crate::record::{About, Code, Read, Span, Try, now};
use crate::shop::{Wish, milliseconds, number, standing, user_id};

/// How long the sale lasts that ends within a scene.
pub const SALE_MS: i64 = 3_000;
/// How long the sale lasts that a clock ends which runs ahead: longer than its scene takes, and shorter than it jumps.
pub const SALE_ENDED_BY_CLOCK_MS: i64 = 50_000;
/// How far that clock jumps: at first into the sale, then past its end.
const AHEAD_SECONDS: i64 = 20;
const FAR_AHEAD_SECONDS: i64 = 60;
/// How much later each byte of a slow way comes.
const SLOW_MS: u64 = 600;
/// So slow that all others can do what they do in a scene before the first word of a server has come; and quick enough for
/// two tries of a batch, between which the server asks whose access has ended.
const VERY_SLOW_MS: u64 = 400;
/// How long a new primary is left without anybody who follows it.
const UNCONFIRMED_MS: u64 = 3_500;
/// So many reads make a crowd.
const CROWD: usize = 150;

impl Stage<'_> {
    pub(super) async fn buy(&self, user: u32, key: Option<u32>, server: usize, patience: Duration) -> Try {
        let wish = Wish { user, product: PRODUCT, key, quantity: 1, reuses_key: false };
        let mut connection = Connection::to(self.shop.ports[server]);
        self.shop.buy(wish, server, &mut connection, patience).await
    }

    /// Somebody buys there, and if it is not confirmed somebody else: without it there is no scene.
    pub(super) async fn sell(&self, server: usize) -> Try {
        let confirmed = async {
            loop {
                let one = self.buy(self.shop.new_user(), None, server, PATIENT).await;
                if one.told.is_some() {
                    return one;
                }
                pause(50).await;
            }
        };
        soon("a purchase", confirmed).await
    }

    /// What one server says comes so much later to every member.
    fn slow_down(&self, server: usize, milliseconds: u64) {
        for way in &self.cluster.ways[server] {
            way.set(Flow::Slow(milliseconds), Flow::Open);
        }
    }

    /// A client gives up while A's way is slow; the last unit goes to somebody else; he asks again at B and is refused; then
    /// one more unit comes. What A does with the first try must not be a purchase.
    pub async fn client_gone(&self) {
        // So that A knows the product, and settles at once.
        self.buy(self.shop.new_user(), None, A, PATIENT).await;
        let user = self.shop.new_user();
        self.slow_down(A, VERY_SLOW_MS);
        self.buy(user, Some(1), A, Duration::from_millis(VERY_SLOW_MS / 4)).await;
        self.buy(self.shop.new_user(), None, B, PATIENT).await;
        let again = self.buy(user, Some(1), B, PATIENT).await;
        assert_eq!(again.exchange.reply.code(), Some(Code::SoldOut), "the scene has failed: {again:?}");
        self.shop.restock(PRODUCT, 1, B).await;
        // As long as a batch may take: what A has begun goes on, over the slow way.
        pause(5_000).await;
    }

    /// A is killed while its commit waits in the database, which then loses it.
    pub async fn killed_at_commit(&self) {
        self.buy(self.shop.new_user(), None, A, PATIENT).await;
        let lost = doc! {
            "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": 2_500,
            "closeConnection": true,
        };
        let primary = self.cluster.primary().await;
        self.cluster.members[primary].fail("alwaysOn", lost).await;
        let from = now();
        self.buy(self.shop.new_user(), None, A, Duration::from_millis(1_500)).await;
        self.cluster.servers[A].kill();
        pause(2_500).await;
        self.cluster.members[primary].fail_no_more().await;
        let span = Span { fault: "killed".into(), silent_server: Some(number(A)), from, to: now() };
        self.shop.write().spans.push(span);
    }

    /// Both servers sell the same product at once, as fast as they can.
    pub async fn rivals(&self) {
        const BUYERS: usize = 30;
        const ROUNDS: usize = 4;
        for _ in 0..ROUNDS {
            let buyers =
                (0..2 * BUYERS).map(|place| self.buy(self.shop.new_user(), None, place % 2, PATIENT));
            futures_util::future::join_all(buyers).await;
        }
    }

    /// The same key again, at the same server and at the other one.
    pub async fn repetition(&self) {
        for first in [A, B] {
            let user = self.shop.new_user();
            for server in [first, A, B] {
                self.buy(user, Some(1), server, PATIENT).await;
            }
        }
    }

    /// The database commits, and says that it cannot tell for whether.
    pub async fn commit_retried(&self) {
        let primary = self.cluster.primary().await;
        for times in 1..=3 {
            self.buy(self.shop.new_user(), None, A, PATIENT).await;
            let error = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
            let in_doubt = doc! { "failCommands": ["commitTransaction"], "writeConcernError": error };
            self.cluster.members[primary].fail(doc! { "times": times }, in_doubt).await;
            self.buy(self.shop.new_user(), None, A, PATIENT).await;
            self.cluster.members[primary].fail_no_more().await;
        }
    }

    /// A settles before the sale's end, and its purchase reaches the database after it.
    pub async fn end_of_sale(&self) {
        let end = self.shop.write().products[usize::from(PRODUCT)].terms[0].end;
        self.buy(self.shop.new_user(), None, A, PATIENT).await;
        while mongodb::bson::DateTime::now().timestamp_millis()
            < end - i64::try_from(SLOW_MS / 3).unwrap_or(0)
        {
            pause(5).await;
        }
        // Not earlier: a server that the database answers late asks first whose access has ended, past the end of the sale.
        self.slow_down(A, SLOW_MS);
        let buyers = (0..5).map(|_| self.buy(self.shop.new_user(), None, A, PATIENT));
        futures_util::future::join_all(buyers).await;
    }

    /// A purchase is confirmed, and the primary is gone before another member knows that a majority has it. That member
    /// becomes the primary, and for a while no majority follows it.
    pub async fn new_term(&self, has_crowd: bool) {
        self.buy(self.shop.new_user(), None, B, PATIENT).await;
        if has_crowd {
            self.wear_out(B).await;
        }
        let primary = self.cluster.primary().await;
        let others = || (0..MEMBERS).filter(|member| *member != primary);
        // What the primary says comes late to the others, and to B.
        for other in others() {
            self.cluster.peer_ways[other][primary].set(Flow::Open, Flow::Slow(SLOW_MS));
            self.cluster.peer_ways[primary][other].set(Flow::Slow(SLOW_MS), Flow::Open);
        }
        self.cluster.ways[B][primary].set(Flow::Open, Flow::Slow(SLOW_MS));
        let bought = self.sell(A).await;
        let gone = async {
            self.cluster.cut_off_from_peers(primary, true);
            self.cluster.ways.iter().for_each(|ways| ways[primary].refuse());
            self.cluster.members[primary].kill();
        };
        let follow = others().map(|other| self.cluster.members[other].follow_nobody(true));
        tokio::join!(gone, futures_util::future::join_all(follow));
        let mended = async {
            self.cluster.primary().await;
            // Memory may be late by two seconds.
            pause(if has_crowd { UNCONFIRMED_MS } else { UNCONFIRMED_MS / 2 }).await;
            for other in others() {
                self.cluster.members[other].follow_nobody(false).await;
            }
        };
        let reading =
            futures_util::future::join_all([A, B].map(|server| self.read_until_there(server, &bought)));
        let crowd = async {
            if has_crowd {
                self.crowd(B).await;
            }
        };
        tokio::join!(mended, reading, crowd);
    }

    /// The primary is cut off from the other members together with A, and B sells at the new one, while the old one still
    /// believes in itself.
    pub async fn old_primary(&self) {
        let before = self.shop.new_user();
        for server in [A, B] {
            self.buy(before, None, server, PATIENT).await;
        }
        // The other member may look for some seconds for the one to follow now, and until then B cannot sell.
        self.cluster.set_election_timeout(30_000).await;
        let primary = self.cluster.primary().await;
        self.cluster.cut_off_from_peers(primary, true);
        for other in (0..MEMBERS).filter(|member| *member != primary) {
            self.cluster.ways[A][other].refuse();
        }
        self.cluster.ways[B][primary].refuse();
        self.cluster.replace(primary).await;
        let bought = self.sell(B).await;
        let mended = async {
            pause(UNCONFIRMED_MS).await;
            self.cluster.cut_off_from_peers(primary, false);
            self.cluster.ways.iter().flatten().for_each(Way::heal);
        };
        tokio::join!(mended, self.read_until_there(A, &bought));
        self.cluster.set_election_timeout(1_000).await;
    }

    /// The database's clock runs ahead, and somebody buys; it comes back, and the next one buys. Then it runs past the end of
    /// the sale, units are added, and it comes back: the sale was over, and stays so. Nobody's purchase may be dated before
    /// an earlier one, or outside the sale.
    pub async fn clock_set_back(&self) {
        self.cluster.set_clocks(AHEAD_SECONDS).await;
        self.sell(A).await;
        self.cluster.set_clocks(0).await;
        for server in [A, B] {
            self.sell(server).await;
        }
        self.cluster.set_clocks(FAR_AHEAD_SECONDS).await;
        // The change of a product is dated by what its server knows of the database's clock.
        let end = self.shop.write().products[usize::from(PRODUCT)].terms[0].end;
        soon("a server past the end of the sale", async { while self.time(A).await < Some(end) {} }).await;
        let restocked = async { while self.shop.restock(PRODUCT, 1, A).await.figures.is_none() {} };
        soon("more units", restocked).await;
        let late = self.buy(self.shop.new_user(), Some(1), A, PATIENT).await;
        assert_eq!(late.exchange.reply.code(), Some(Code::SaleEnded), "the scene has failed: {late:?}");
        self.cluster.set_clocks(0).await;
        for (server, key) in [(A, None), (B, None), (A, Some(1)), (B, Some(1))] {
            self.buy(if key.is_none() { self.shop.new_user() } else { late.user }, key, server, PATIENT)
                .await;
        }
        self.shop.restock(PRODUCT, 1, B).await;
        for server in [A, B] {
            self.buy(self.shop.new_user(), None, server, PATIENT).await;
        }
    }

    /// The database's clock, as far as this server knows.
    async fn time(&self, server: usize) -> Option<i64> {
        pause(50).await;
        let answer = Connection::to(self.shop.ports[server]).get("/time", None, PATIENT).await.ok()?;
        milliseconds(&answer.json["now"])
    }

    /// Asks so often that memory may answer.
    async fn wear_out(&self, server: usize) {
        let mut connection = Connection::to(self.shop.ports[server]);
        for _ in 0..CROWD {
            read_product(&self.actor(), PRODUCT, server, &mut connection).await;
        }
    }

    /// Each one asks once, whether those before have got an answer or not.
    async fn crowd(&self, server: usize) {
        let all = (0..CROWD as u64).map(|place| async move {
            pause(place * 40).await;
            let mut connection = Connection::to(self.shop.ports[server]);
            read_product(&self.actor(), PRODUCT, server, &mut connection).await;
        });
        futures_util::future::join_all(all).await;
    }

    /// Reads until the purchase has been there for a while.
    async fn read_until_there(&self, server: usize, bought: &Try) {
        let Some(told) = bought.told else { return };
        let (actor, token) =
            (self.actor(), token(&user_id(bought.user).to_hex(), "Ada Lovelace", "customer"));
        let mut connection = Connection::to(self.shop.ports[server]);
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut found_times = 0;
        while found_times < 10 && Instant::now() < deadline {
            read_product(&actor, PRODUCT, server, &mut connection).await;
            let sent = now();
            let answer = connection.get(&format!("/purchases/{}", told.id), Some(&token), PATIENT).await;
            let exchange = exchange(number(server), sent, &answer);
            let found = answer.ok().and_then(|answer| standing(&answer.json));
            found_times += u32::from(found.is_some());
            let about = About::Purchase { wanted: told.id, found };
            self.shop.write().reads.push(Read { exchange, about });
            pause(100).await;
        }
    }
}
