//! Buyers of what has to be paid for, and what becomes of it: paid in time or late, once or again and again, with the wrong
//! amount, given up, let go, or refunded.

use std::time::Duration;

use super::buyers::{look, one_wish};
use super::{Actor, HELD};
use crate::client::{Connection, PATIENT};
use crate::record::{Ask, Code, Purchase, Step};
use crate::shop::Wish;

/// Requests for one thing, until somebody gives up.
const REQUESTS_MAX: u32 = 12;
/// After that much a purchase that nobody has paid for is mostly expired.
const LATE_MS: (u64, u64) = (super::HELD_SECONDS.cast_unsigned() * 1_000, 6_000);

/// A purchase, and the connections on which something is asked of it.
struct Bought<'a> {
    user: u32,
    purchase: Purchase,
    connections: &'a mut [Connection],
}

/// Buys and decides, one purchase after the other, until it is time to go home.
pub async fn hold_on_and_on(mut actor: Actor) {
    let mut connections: Vec<_> = actor.shop.ports.iter().map(|port| Connection::to(*port)).collect();
    let mut user = actor.shop.new_user();
    let mut next_key = 0;
    while actor.rest(50, 400).await {
        if actor.random.percent(50) {
            user = actor.shop.new_user();
        }
        let key = actor.random.percent(60).then(|| {
            next_key += 1;
            next_key
        });
        let quantity = i64::try_from(actor.random.between(1, 2)).unwrap_or(1);
        let wish = Wish { user, product: HELD, key, quantity, reuses_key: false };
        let one = one_wish(&mut actor, wish, &mut connections).await;
        if let Some(purchase) = one.and_then(|one| one.told) {
            decide(&mut actor, Bought { user, purchase, connections: &mut connections }).await;
        }
    }
}

async fn decide(actor: &mut Actor, mut bought: Bought<'_>) {
    let payment = actor.shop.new_payment();
    let pay = Ask::Confirm { payment, is_right: true };
    let give_up = Ask::Cancel { by_buyer: actor.random.percent(70) };
    match actor.random.below(100) {
        // In time, now and then with the wrong amount at first.
        0..35 => {
            if actor.random.percent(25) {
                let wrong = Ask::Confirm { payment: actor.shop.new_payment(), is_right: false };
                bought.insist(actor, wrong).await;
            }
            let paid = bought.insist(actor, pay).await;
            afterwards(actor, &mut bought, paid).await;
        }
        // The payment service is told of it twice at once.
        35..45 => {
            let paid = bought.both(actor, pay, pay).await;
            afterwards(actor, &mut bought, paid).await;
        }
        // The buyer gives up while he pays.
        45..57 => {
            let paid = bought.both(actor, give_up, pay).await;
            afterwards(actor, &mut bought, paid).await;
        }
        57..67 => {
            bought.insist(actor, give_up).await;
            if actor.random.percent(50) {
                let paid = bought.insist(actor, pay).await;
                afterwards(actor, &mut bought, paid).await;
            }
        }
        67..77 => {}
        // Late, or at the last moment.
        _ if actor.rest(LATE_MS.0, LATE_MS.1).await => {
            let paid = bought.insist(actor, pay).await;
            afterwards(actor, &mut bought, paid).await;
        }
        _ => {}
    }
}

/// What follows a payment: another one, a look, a change of mind; and money goes back.
async fn afterwards(actor: &mut Actor, bought: &mut Bought<'_>, paid: Option<Step>) {
    let Some(paid) = paid else { return };
    if actor.random.percent(30) {
        let (user, server) = (bought.user, actor.any_server());
        look(actor, user, bought.purchase, server, &mut bought.connections[server]).await;
    }
    if actor.random.percent(15) {
        let another = Ask::Confirm { payment: actor.shop.new_payment(), is_right: true };
        bought.insist(actor, another).await;
    }
    if actor.random.percent(10) {
        bought.insist(actor, Ask::Cancel { by_buyer: true }).await;
    }
    let is_unfillable = paid.exchange.reply.code() == Some(Code::Unfillable);
    if actor.random.percent(if is_unfillable { 60 } else { 45 }) && actor.rest(0, 800).await {
        let refund = Ask::Refund { restock: actor.random.percent(75) };
        bought.insist(actor, refund).await;
        if actor.random.percent(30) {
            bought.insist(actor, paid.ask).await;
        }
    }
}

impl Bought<'_> {
    /// Asks until the answer is final, and sometimes once more; the final answer.
    async fn insist(&mut self, actor: &mut Actor, ask: Ask) -> Option<Step> {
        let mut server = actor.any_server();
        let mut settled: Option<Step> = None;
        for _ in 0..REQUESTS_MAX {
            let patience = match actor.random.percent(15) {
                true => Duration::from_millis(actor.random.between(5, 900)),
                false => PATIENT,
            };
            let about = (self.user, self.purchase);
            let step = actor.shop.ask(about, ask, server, &mut self.connections[server], patience).await;
            settled = settled.or(step.is_settled().then_some(step));
            if settled.is_some() && actor.random.percent(75) || !actor.rest(20, 400).await {
                break;
            }
            server = actor.another_server(server);
        }
        settled
    }

    /// Asks for one thing at one server and for another one at another at the same time, then insists on the second one.
    async fn both(&mut self, actor: &mut Actor, first: Ask, second: Ask) -> Option<Step> {
        let (one, about) = (actor.any_server(), (self.user, self.purchase));
        let other = actor.another_server(one);
        let shop = &actor.shop;
        let ask = |ask, server: usize| async move {
            let mut connection = Connection::to(shop.ports[server]);
            shop.ask(about, ask, server, &mut connection, PATIENT).await
        };
        tokio::join!(ask(first, one), ask(second, other));
        if first != second {
            self.insist(actor, first).await;
        }
        self.insist(actor, second).await
    }
}

/// What is still in doubt is asked for once more, until it is settled: nothing is broken any more.
pub async fn settle_doubts(actor: &Actor) {
    for (step, purchase) in in_doubt(actor) {
        let server = usize::from(step.exchange.server);
        let mut connection = Connection::to(actor.shop.ports[server]);
        crate::cluster::soon("an end of a doubt", async {
            loop {
                let about = (step.user, purchase);
                let again = actor.shop.ask(about, step.ask, server, &mut connection, PATIENT).await;
                if again.is_settled() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
}

/// The last request for each thing that has no final answer, and the purchase.
fn in_doubt(actor: &Actor) -> Vec<(Step, Purchase)> {
    let history = actor.shop.write();
    let mut last: indexmap::IndexMap<_, &Step> = indexmap::IndexMap::new();
    for step in &history.steps {
        last.insert((step.purchase, step.ask), step);
    }
    let in_doubt: Vec<Step> = last.into_values().filter(|step| !step.is_settled()).copied().collect();
    let bought = |step: &Step| {
        let told = |one: &crate::record::Try| one.told.filter(|told| told.id == step.purchase);
        history.tries.iter().find_map(told)
    };
    in_doubt.iter().filter_map(|step| Some((*step, bought(step)?))).collect()
}
