//! The crowd: every request that will be sent, made beforehand, so that sending it costs next to nothing.

use mongodb::bson::DateTime;

use super::arguments::Arguments;
use crate::auth::tokens::Tokens;
use crate::auth::user::{Role, User};
use crate::id::Id;

/// A buyer who sends twice does so this many requests later: while the first one is under way, or soon after.
const REPEAT_DISTANCE: usize = 50;

/// The requests, in the order in which they are sent.
pub struct Crowd {
    /// HTTP/1.1, ready to be written.
    pub requests: Vec<Box<[u8]>>,
}

impl Crowd {
    /// Mints the tokens and writes the requests.
    pub fn gather(arguments: &Arguments, tokens: &Tokens, products: &[Id], host: &str) -> Self {
        let repeaters = (arguments.repeat_share * arguments.buyers as f64).round() as usize;
        // Spread evenly: every so-many-th buyer sends twice.
        let every = arguments.buyers.checked_div(repeaters).unwrap_or(usize::MAX).max(1);
        let mut requests = Vec::with_capacity(arguments.buyers + repeaters);
        let mut repeats = std::collections::VecDeque::new();
        for number in 0..arguments.buyers {
            let repeats_itself = repeaters > 0 && number % every == 0;
            let with_key = repeats_itself && (number / every).is_multiple_of(2);
            let product = products[number % products.len()];
            let request = request(tokens, host, product, number, with_key);
            if repeats_itself {
                repeats.push_back((requests.len() + REPEAT_DISTANCE, request.clone()));
            }
            requests.push(request);
            while repeats.front().is_some_and(|(due, _)| *due <= requests.len()) {
                requests.extend(repeats.pop_front().map(|(_, repeat)| repeat));
            }
        }
        requests.extend(repeats.into_iter().map(|(_, repeat)| repeat));
        Self { requests }
    }
}

fn request(tokens: &Tokens, host: &str, product: Id, number: usize, with_key: bool) -> Box<[u8]> {
    let buyer = User {
        id: Id::new(),
        name: format!("Rehearsal {number}"),
        email: String::new(),
        password_hash: String::new(),
        role: Role::Customer,
        created_at: DateTime::now(),
    };
    let token = tokens.sign(&buyer).map(|signed| signed.token).unwrap_or_default();
    let key = if with_key { format!("Idempotency-Key: rehearsal-{number}\r\n") } else { String::new() };
    let body = format!("{{\"productId\":\"{product}\"}}");
    format!(
        "POST /products/purchase HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{key}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into_boxed_slice()
}
