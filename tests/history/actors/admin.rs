//! The admin: puts units on sale, and changes price, limit and window.

use super::{Actor, CHANGING, HELD, SCARCE};
use crate::client::{Connection, PATIENT, exchange};
use crate::record::{About, Code, Read, Terms, now};
use crate::shop::{milliseconds, number};

/// Restocks what is scarce.
pub async fn restock_on_and_on(mut actor: Actor) {
    while actor.rest(120, 700).await {
        let product = [SCARCE[0], SCARCE[1], HELD][actor.random.below(3)];
        let units = i64::try_from(actor.random.between(1, 4)).unwrap_or(1);
        let server = actor.any_server();
        actor.shop.restock(product, units, server).await;
    }
}

/// Sells one product under other terms again and again: every other time its sale ends soon.
pub async fn change_on_and_on(mut actor: Actor) {
    let mut price = 100;
    let mut ends_soon = true;
    while actor.rest(400, 1_200).await {
        let server = actor.any_server();
        let Some((etag, now)) = look(&actor, server).await else { continue };
        // Somebody buys meanwhile, now and then: then this version is gone.
        if actor.random.percent(30) && !actor.rest(50, 150).await {
            return;
        }
        price += 1;
        let limit = i64::try_from(actor.random.between(1, 3)).unwrap_or(1);
        let lasts = i64::try_from(actor.random.between(100, 900)).unwrap_or(500);
        let end = if ends_soon { now + lasts } else { now + 3_600_000 };
        let terms = Terms { price, limit, start: now - 3_600_000, end };
        let change = actor.shop.sell_under(CHANGING, terms, server, &etag).await;
        match change.exchange.reply.code() {
            Some(Code::VersionConflict) => actor.shop.write().sightings.conflicts += 1,
            Some(Code::None) => ends_soon = !ends_soon,
            _ => {}
        }
    }
}

/// The product's ETag, and the database's clock.
async fn look(actor: &Actor, server: usize) -> Option<(String, i64)> {
    let mut connection = Connection::to(actor.shop.ports[server]);
    let time = connection.get("/time", None, PATIENT).await.ok()?;
    let now_there = milliseconds(&time.json["now"])?;
    let path = format!("/products/{}", actor.shop.products[usize::from(CHANGING)]);
    let sent = now();
    let answer = connection.get(&path, None, PATIENT).await;
    let exchange = exchange(number(server), sent, &answer);
    let answer = answer.ok();
    let figures = answer.as_ref().and_then(|answer| actor.shop.figures(&answer.json));
    actor.shop.write().reads.push(Read { exchange, about: About::Product(figures) });
    Some((answer?.etag?, now_there))
}
