//! Scenes with what has to be paid for.

use std::time::Duration;

use super::{A, B, Stage, pause};
use crate::client::{Connection, PATIENT};
use crate::record::{Ask, Purchase, Step};

/// So many are paid for at one server and canceled at the other.
const OVERTAKEN: usize = 10;
/// As many milliseconds later comes what A says to the database; and so long after each other the cancels are sent, so that
/// some come between what A reads and what it writes.
const SLOW_MS: u64 = 300;
const APART_MS: u64 = 120;

impl Stage<'_> {
    async fn ask(&self, bought: (u32, Purchase), ask: Ask, server: usize) -> Step {
        let mut connection = Connection::to(self.shop.ports[server]);
        self.shop.ask(bought, ask, server, &mut connection, PATIENT).await
    }

    fn payment(&self) -> Ask {
        Ask::Confirm { payment: self.shop.new_payment(), is_right: true }
    }

    /// Somebody buys, and what he has bought.
    async fn hold(&self, server: usize) -> (u32, Purchase) {
        let one = self.sell(server).await;
        (one.user, one.told.expect("`sell` returns what is bought"))
    }

    /// A buyer gives up at B what is paid for late at A, and buys again at B: B has to know that the limit is used up again.
    pub async fn changes_elsewhere(&self) {
        let bought = self.hold(B).await;
        self.ask(bought, Ask::Cancel { by_buyer: true }, B).await;
        self.ask(bought, self.payment(), A).await;
        self.buy(bought.0, None, B, PATIENT).await;
    }

    /// While A takes payments for purchases over a slow way, they are canceled at B, one after the other.
    pub async fn overtaken(&self) {
        // Others hold units too, so that the product's figures alone do not show that these are given back.
        let mut bought = futures_util::future::join_all((0..2 * OVERTAKEN).map(|_| self.hold(A))).await;
        bought.truncate(OVERTAKEN);
        self.slow_down(A, SLOW_MS);
        let paid = bought.iter().map(|bought| self.ask(*bought, self.payment(), A));
        let canceled = bought.iter().zip(0..).map(|(bought, place)| async move {
            pause(APART_MS * place).await;
            self.ask(*bought, Ask::Cancel { by_buyer: false }, B).await;
        });
        tokio::join!(futures_util::future::join_all(paid), futures_util::future::join_all(canceled));
        // As long as a batch may take: what A has begun goes on, over the slow way.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
