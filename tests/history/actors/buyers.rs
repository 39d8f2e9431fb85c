//! Buyers: some with keys, some without; some patient, some not; some who look whether they have it.

use std::time::Duration;

use super::{Actor, CHANGING, HELD, HOT, LIMITED, SCARCE};
use crate::client::{Connection, PATIENT, exchange};
use crate::record::{About, Code, Purchase, Read, Reply, Try, now};
use crate::shop::{Wish, number, standing, user_id};

/// Tries of one wish, until somebody gives up.
const TRIES_MAX: u32 = 8;

/// Buys, as one after the other, until it is time to go home.
pub async fn buy_on_and_on(mut actor: Actor, rest_ms: u64) {
    let mut connections: Vec<_> = actor.shop.ports.iter().map(|port| Connection::to(*port)).collect();
    let mut user = actor.shop.new_user();
    let mut next_key = 0;
    while actor.rest(rest_ms / 2, rest_ms * 3 / 2).await {
        if actor.random.percent(60) {
            user = actor.shop.new_user();
        }
        let wish = any_wish(&mut actor, user, &mut next_key);
        if let Some(one) = one_wish(&mut actor, wish, &mut connections).await {
            afterwards(&mut actor, wish, &one, &mut connections).await;
        }
    }
}

fn any_wish(actor: &mut Actor, user: u32, next_key: &mut u32) -> Wish {
    let product = match actor.random.below(10) {
        0..3 => HOT,
        3 | 4 => SCARCE[0],
        5 => SCARCE[1],
        6 | 7 => LIMITED,
        _ => CHANGING,
    };
    let key = actor.random.percent(60).then(|| {
        *next_key += 1;
        *next_key
    });
    let quantity = if product == LIMITED { actor.random.between(1, 2) } else { 1 };
    Wish { user, product, key, quantity: i64::try_from(quantity).unwrap_or(1), reuses_key: false }
}

/// Tries until there is an answer; without a key, once: more would be more purchases. The try that bought.
pub async fn one_wish(actor: &mut Actor, wish: Wish, connections: &mut [Connection]) -> Option<Try> {
    let mut server = actor.any_server();
    for _ in 0..TRIES_MAX {
        // Whoever wants what is scarce is nervous: and it is there that a try that was given up may still be bought.
        let nervous = if SCARCE.contains(&wish.product) || wish.product == HELD { 40 } else { 12 };
        let patience = match actor.random.percent(nervous) {
            true => Duration::from_millis(actor.random.between(5, 900)),
            false => PATIENT,
        };
        let one = actor.shop.buy(wish, server, &mut connections[server], patience).await;
        if one.told.is_some() {
            return Some(one);
        }
        let is_settled = match one.exchange.reply {
            // Who was refused may ask again, as one more try that is judged anew.
            Reply::Answer { status, .. } => status != 503 && actor.random.percent(70),
            _ => false,
        };
        if is_settled || wish.key.is_none() || !actor.rest(20, 400).await {
            return None;
        }
        server = actor.another_server(server);
    }
    None
}

/// Some look at another server whether they have it, or ask again, or want something else with the same key.
async fn afterwards(actor: &mut Actor, wish: Wish, one: &Try, connections: &mut [Connection]) {
    let server = actor.another_server(usize::from(one.exchange.server));
    let connection = &mut connections[server];
    match actor.random.below(100) {
        0..25 => {
            let Some(told) = one.told else { return };
            look(actor, wish.user, told, server, connection).await;
        }
        25..35 if wish.key.is_some() => {
            actor.shop.buy(wish, server, connection, PATIENT).await;
        }
        35..38 if wish.key.is_some() => {
            let other = Wish { quantity: wish.quantity + 1, reuses_key: true, ..wish };
            actor.shop.buy(other, server, connection, PATIENT).await;
        }
        _ => {}
    }
}

/// The buyer reads his purchase.
pub async fn look(actor: &Actor, user: u32, told: Purchase, server: usize, connection: &mut Connection) {
    let token = crate::client::token(&user_id(user).to_hex(), "Ada Lovelace", "customer");
    let sent = now();
    let answer = connection.get(&format!("/purchases/{}", told.id), Some(&token), PATIENT).await;
    let exchange = exchange(number(server), sent, &answer);
    let found = answer.ok().filter(|_| exchange.reply.code() == Some(Code::None));
    let found = found.and_then(|answer| standing(&answer.json));
    let about = About::Purchase { wanted: told.id, found };
    actor.shop.write().reads.push(Read { exchange, about });
}

/// So many at once, each new and each once.
pub async fn burst(actor: Actor, buyers: usize) {
    let all = (0..buyers).map(|place| {
        let mut actor = actor.clone();
        actor.random = crate::random::Random::new(place as u64, actor.random.between(1, u64::from(u32::MAX)));
        async move {
            let user = actor.shop.new_user();
            let wish = any_wish(&mut actor, user, &mut 0);
            let server = actor.any_server();
            let mut connection = Connection::to(actor.shop.ports[server]);
            actor.shop.buy(wish, server, &mut connection, PATIENT).await;
        }
    });
    futures_util::future::join_all(all).await;
}
