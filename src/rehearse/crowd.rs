//! The crowd: all requests, made beforehand, so that sending one costs next to nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use mongodb::bson::DateTime;
use tokio::task::yield_now;

use super::arguments::Arguments;
use super::stage::Stage;
use crate::accounts::tokens::Tokens;
use crate::model::user::{Role, User};

/// A buyer who sends twice does so this many requests later: while the first request is in flight, or soon after.
const REPEAT_DISTANCE: usize = 50;
/// Tokens signed without a pause: some milliseconds. Between them the rehearsal can be interrupted.
const SIGNED_AT_ONCE: usize = 256;

pub struct Crowd {
    /// HTTP/1.1 requests as bytes, in the order of sending.
    pub requests: Arc<Vec<Box<[u8]>>>,
    /// The indices, in order, of a buyer's second requests.
    repeats: Vec<usize>,
}

impl Crowd {
    /// Signs the tokens and writes the requests.
    pub async fn gather(arguments: &Arguments, stage: &Stage) -> Self {
        let (tokens, products, host) = (stage.tokens(), stage.products(), stage.origin().authority());
        let repeaters = (arguments.repeat_share * arguments.buyers as f64).round() as usize;
        // How many buyers before this one send twice: they are spread evenly.
        let repeaters_before = |number: usize| number * repeaters / arguments.buyers;
        let mut requests = Vec::with_capacity(arguments.buyers + repeaters);
        let mut repeats = Vec::with_capacity(repeaters);
        let mut later = VecDeque::new();
        for number in 0..arguments.buyers {
            if number.is_multiple_of(SIGNED_AT_ONCE) {
                yield_now().await;
            }
            let repeats_itself = repeaters_before(number + 1) > repeaters_before(number);
            let with_key = repeats_itself && repeaters_before(number).is_multiple_of(2);
            let key =
                if with_key { format!("Idempotency-Key: rehearsal-{number}\r\n") } else { String::new() };
            let body = format!("{{\"productId\":\"{}\"}}", products[number % products.len()]);
            let request = request(tokens, &host, &format!("Rehearsal {number}"), &key, &body);
            if repeats_itself {
                later.push_back((requests.len() + REPEAT_DISTANCE, request.clone()));
            }
            requests.push(request);
            while later.front().is_some_and(|(due, _)| *due <= requests.len()) {
                repeats.push(requests.len());
                requests.extend(later.pop_front().map(|(_, repeat)| repeat));
            }
        }
        repeats.extend(requests.len()..requests.len() + later.len());
        requests.extend(later.into_iter().map(|(_, repeat)| repeat));
        Self { requests: Arc::new(requests), repeats }
    }

    /// How many buyers the first `sent` requests come from.
    pub fn buyers_among(&self, sent: usize) -> usize {
        sent - self.repeats.partition_point(|repeat| *repeat < sent)
    }
}

/// A purchase request by a new customer of this name; `key` is a whole header line or empty.
pub fn request(tokens: &Tokens, host: &str, name: &str, key: &str, body: &str) -> Box<[u8]> {
    let buyer = User::new(name.to_owned(), String::new(), String::new(), Role::Customer, DateTime::now());
    let token = tokens.sign(&buyer).map(|signed| signed.token).unwrap_or_default();
    format!(
        "POST /products/purchase HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{key}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into_boxed_slice()
}
