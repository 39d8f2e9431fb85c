//! What becomes of the crowd's purchases if they have to be paid for: while the sale goes on, a payment service confirms some,
//! buyers cancel others, and the rest is let go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::DateTime;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::arguments::Arguments;
use super::crowd::Crowd;
use super::load::{ANSWER_SECONDS_MAX, Bought};
use super::stage::Stage;
use super::wire::Connection;
use crate::model::id::Id;
use crate::model::user::{Role, User};

/// Connections for payments and cancels, besides the crowd's.
const CONNECTIONS_MAX: usize = 64;
/// How often one payment is told, or one cancel asked for, until the rehearsal gives up.
const TRIES_MAX: usize = 20;
/// The pause between two of them, in milliseconds.
const PAUSE_MS: u64 = 250;

/// What a buyer or the payment service was told in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Confirmed,
    Canceled,
    /// The money came too late, and goes back.
    Unfillable,
    /// It was canceled or had expired before it could be canceled.
    NotPending,
    /// Nobody knows: no answer, or only refusals that say nothing.
    Unknown,
    /// An answer that is not in the contract.
    Unexpected,
}

/// One payment or cancel.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub is_payment: bool,
    pub told: Told,
    /// From the first request to the last answer.
    pub latency: Duration,
}

/// What was done with the purchases, by their ids.
#[derive(Debug, Default)]
pub struct Payments {
    pub answers: HashMap<Id, Answered>,
    /// Purchases that nobody paid for or canceled.
    pub let_go: u64,
}

impl Payments {
    pub fn count(&self, told: Told) -> u64 {
        self.answers.values().filter(|answer| answer.told == told).count() as u64
    }
}

/// What the payment service calls the payment for this purchase.
pub fn reference(purchase: Id) -> String {
    format!("rehearsal-{purchase}")
}

/// What is done with a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Paid,
    Canceled,
    LetGo,
}

/// The fate of the purchase with this number, from 0: `share` of all are paid for, evenly spread; of the others every other
/// one is canceled.
fn fate(number: usize, share: f64) -> Fate {
    let paid_before = |number: usize| (number as f64 * share).round() as usize;
    let paid = paid_before(number);
    match number - paid {
        _ if paid_before(number + 1) > paid => Fate::Paid,
        others if others.is_multiple_of(2) => Fate::Canceled,
        _ => Fate::LetGo,
    }
}

/// Everybody who pays, cancels or lets go.
pub struct Till {
    workers: JoinSet<Payments>,
}

impl Till {
    /// Opens it: what comes in through the channel is paid for or not until the channel is closed. Once `interrupted`, nothing
    /// new is begun.
    pub fn open(
        arguments: &Arguments,
        stage: &Stage,
        crowd: &Crowd,
        bought: mpsc::UnboundedReceiver<Bought>,
        interrupted: &CancellationToken,
    ) -> Self {
        let service =
            User::new("Rehearsal".into(), String::new(), String::new(), Role::Payments, DateTime::now());
        let worker = Arc::new(Worker {
            address: stage.address(),
            host: stage.origin().authority(),
            token: stage.tokens().sign(&service).map(|signed| signed.token).unwrap_or_default(),
            requests: crowd.requests.clone(),
            share: arguments.pay_share,
            bought: Mutex::new((0, bought)),
            interrupted: interrupted.clone(),
        });
        let mut workers = JoinSet::new();
        for _ in 0..arguments.connections.min(CONNECTIONS_MAX) {
            workers.spawn(worker.clone().work());
        }
        Self { workers }
    }

    /// What was done, once the channel is closed and all is answered.
    pub async fn close(mut self) -> Payments {
        let mut all = Payments::default();
        while let Some(some) = self.workers.join_next().await {
            let some = some.unwrap_or_default();
            all.answers.extend(some.answers);
            all.let_go += some.let_go;
        }
        all
    }
}

struct Worker {
    address: std::net::SocketAddr,
    host: String,
    token: String,
    /// The crowd's requests, which have the buyers' tokens.
    requests: Arc<Vec<Box<[u8]>>>,
    share: f64,
    /// How many have come so far, and those that come.
    bought: Mutex<(usize, mpsc::UnboundedReceiver<Bought>)>,
    interrupted: CancellationToken,
}

impl Worker {
    async fn work(self: Arc<Self>) -> Payments {
        let mut payments = Payments::default();
        let mut connection = None;
        while let Some((number, bought)) = self.next().await {
            let fate = match self.interrupted.is_cancelled() {
                true => Fate::LetGo,
                false => fate(number, self.share),
            };
            if fate == Fate::LetGo {
                payments.let_go += 1;
                continue;
            }
            let start = Instant::now();
            let is_payment = fate == Fate::Paid;
            let request = if is_payment { self.payment(bought.purchase) } else { self.cancel(&bought) };
            let told = self.insist(&mut connection, &request).await;
            let answered = Answered { is_payment, told, latency: start.elapsed() };
            payments.answers.insert(bought.purchase, answered);
        }
        payments
    }

    async fn next(&self) -> Option<(usize, Bought)> {
        let mut bought = self.bought.lock().await;
        let next = bought.1.recv().await?;
        bought.0 += 1;
        Some((bought.0 - 1, next))
    }

    /// Asks until the answer is final.
    async fn insist(&self, connection: &mut Option<Connection>, request: &[u8]) -> Told {
        for tried in 0..TRIES_MAX {
            if tried > 0 {
                let pause = sleep(Duration::from_millis(PAUSE_MS));
                if self.interrupted.run_until_cancelled(pause).await.is_none() {
                    break;
                }
            }
            if connection.is_none() {
                *connection = Connection::open(self.address).await.ok();
            }
            let Some(open) = connection else { continue };
            match timeout(Duration::from_secs(ANSWER_SECONDS_MAX), open.exchange(request)).await {
                Ok(Ok(answer)) => {
                    if let Some(told) = told(answer.status, open.received()) {
                        return told;
                    }
                }
                Ok(Err(_)) | Err(_) => *connection = None,
            }
        }
        Told::Unknown
    }

    fn payment(&self, purchase: Id) -> Vec<u8> {
        let body = format!("{{\"paymentReference\":\"{}\"}}", reference(purchase));
        self.request(&format!("/purchases/{purchase}/confirm"), &format!("Bearer {}", self.token), &body)
    }

    /// With the token of the buyer's own request.
    fn cancel(&self, bought: &Bought) -> Vec<u8> {
        let request = self.requests.get(bought.request).map(AsRef::as_ref).unwrap_or_default();
        let request = String::from_utf8_lossy(request);
        let token = request.lines().find_map(|line| line.strip_prefix("Authorization: ")).unwrap_or_default();
        self.request(&format!("/purchases/{}/cancel", bought.purchase), token, "")
    }

    fn request(&self, path: &str, authorization: &str, body: &str) -> Vec<u8> {
        let (host, length) = (&self.host, body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// What an answer means; `None` if the same has to be asked again.
fn told(status: u16, received: &[u8]) -> Option<Told> {
    let says = |words: &str| received.windows(words.len()).any(|window| window == words.as_bytes());
    match status {
        200 if says("\"status\":\"confirmed\"") => Some(Told::Confirmed),
        200 if says("\"status\":\"canceled\"") => Some(Told::Canceled),
        409 if says("\"payment_unfillable\"") => Some(Told::Unfillable),
        409 if says("\"purchase_not_pending\"") => Some(Told::NotPending),
        429 | 503 => None,
        _ => Some(Told::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_paid_for_and_of_the_others_half_is_canceled() {
        for (share, expected) in
            [(0.0, [0, 50, 50]), (0.5, [50, 25, 25]), (0.9, [90, 5, 5]), (1.0, [100, 0, 0])]
        {
            let fates: Vec<_> = (0..100).map(|number| fate(number, share)).collect();
            let count = |wanted| fates.iter().filter(|fate| **fate == wanted).count();
            assert_eq!([count(Fate::Paid), count(Fate::Canceled), count(Fate::LetGo)], expected, "{share}");
        }
    }

    #[test]
    fn an_answer_is_final_or_asked_for_again() {
        assert_eq!(told(200, b"...{\"status\":\"confirmed\"}"), Some(Told::Confirmed));
        assert_eq!(told(409, b"{\"code\":\"payment_unfillable\"}"), Some(Told::Unfillable));
        assert_eq!(told(503, b"{\"code\":\"outcome_unknown\"}"), None);
        assert_eq!(told(404, b"{\"code\":\"purchase_not_found\"}"), Some(Told::Unexpected));
    }
}
