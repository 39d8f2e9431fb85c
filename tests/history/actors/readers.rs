//! Readers: some who ask now and then, and a crowd.

use super::{Actor, HELD, HOT, LIMITED, SCARCE};
use crate::client::{Connection, PATIENT, exchange};
use crate::record::{About, Figures, Read, now};
use crate::shop::number;

/// Asks now and then about everything, at every server.
pub async fn ask_now_and_then(mut actor: Actor) {
    let mut connections: Vec<_> = actor.shop.ports.iter().map(|port| Connection::to(*port)).collect();
    // Not more than four times a second for one product at one server: that would be a crowd.
    while actor.rest(150, 350).await {
        let server = actor.any_server();
        let connection = &mut connections[server];
        match actor.random.below(4) {
            0 => read_catalogue(&actor, server, connection).await,
            1 => read_leaderboard(&actor, SCARCE[0], server, connection).await,
            _ => {
                let product = [SCARCE[0], SCARCE[1], LIMITED, HELD][actor.random.below(4)];
                read_product(&actor, product, server, connection).await;
            }
        }
    }
}

/// Asks about the hot product ten times a second.
pub async fn ask_as_a_crowd(mut actor: Actor, server: usize) {
    let mut connection = Connection::to(actor.shop.ports[server]);
    while actor.rest(60, 140).await {
        read_product(&actor, HOT, server, &mut connection).await;
    }
}

/// Reads a product once.
pub async fn read_product(actor: &Actor, product: u8, server: usize, connection: &mut Connection) {
    let path = format!("/products/{}", actor.shop.products[usize::from(product)]);
    let sent = now();
    let answer = connection.get(&path, None, PATIENT).await;
    let exchange = exchange(number(server), sent, &answer);
    let figures = answer.ok().and_then(|answer| actor.shop.figures(&answer.json));
    actor.shop.write().reads.push(Read { exchange, about: About::Product(figures) });
}

async fn read_catalogue(actor: &Actor, server: usize, connection: &mut Connection) {
    let sent = now();
    let answer = connection.get("/products", None, PATIENT).await;
    let exchange = exchange(number(server), sent, &answer);
    let items = answer.ok().and_then(|answer| answer.json["items"].as_array().cloned()).unwrap_or_default();
    let figures: Vec<Figures> = items.iter().filter_map(|item| actor.shop.figures(item)).collect();
    actor.shop.write().reads.push(Read { exchange, about: About::Catalogue(figures) });
}

async fn read_leaderboard(actor: &Actor, product: u8, server: usize, connection: &mut Connection) {
    let path = format!("/leaderboard?limit=200&productId={}", actor.shop.products[usize::from(product)]);
    let sent = now();
    let answer = connection.get(&path, None, PATIENT).await;
    let exchange = exchange(number(server), sent, &answer);
    let items = answer.ok().and_then(|answer| answer.json["items"].as_array().cloned());
    let sequences = items.unwrap_or_default().iter().filter_map(|item| item["sequence"].as_i64()).collect();
    actor.shop.write().reads.push(Read { exchange, about: About::Leaderboard { product, sequences } });
}
