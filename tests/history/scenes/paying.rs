//! Scenes with what has to be paid for.

use super::{A, B, Stage};
use crate::client::{Connection, PATIENT};
use crate::record::{Ask, Purchase, Step};

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

    /// What is given up, or refunded, is so at every server, as often as it is asked for; and its units come back once.
    pub async fn given_back_again(&self) {
        // The others hold and have units, too, so that the product's figures alone do not show that some came back twice.
        let (_, paid) = (self.hold(A).await, self.hold(B).await);
        self.ask(paid, self.payment(), A).await;
        for first in [A, B] {
            let (canceled, refunded) = (self.hold(A).await, self.hold(B).await);
            self.ask(refunded, self.payment(), B).await;
            for server in [first, A, B] {
                self.ask(canceled, Ask::Cancel { by_buyer: true }, server).await;
                self.ask(refunded, Ask::Refund { restock: true }, server).await;
            }
            // All at once.
            let again = [A, B].map(|server| self.ask(canceled, Ask::Cancel { by_buyer: false }, server));
            futures_util::future::join_all(again).await;
        }
    }
}
