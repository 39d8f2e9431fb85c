//! `going-round`: a sale in which nine of ten let go what they hold, so that each unit goes round until somebody pays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flash_sale::model::id::Id;
use flash_sale::rehearse::wire::Connection;
use flash_sale::rehearse::within;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::purchases;
use crate::figures::Latencies;
use crate::process::resident_kibibytes;
use crate::target::Target;
use crate::{CONNECTIONS, Outcome, buyers};

/// One of so many pays.
const BUYERS_PER_PAYMENT: usize = 10;
/// So many of them give it up at once; the others let it expire.
const CANCELING: usize = 6;
/// The pause of somebody who is told to come again, or that everything is held.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the payment windows of those who let it expire are ended.
const LAPSE_INTERVAL: Duration = Duration::from_millis(100);
/// How often the server's memory is read.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's address
    #[arg(long)]
    url: Target,
    /// The secret that the server signs tokens with
    #[arg(long)]
    secret: String,
    /// The server's database, to let payment windows end before their time
    #[arg(long)]
    mongo_uri: String,
    /// The id of the product, of which nothing is sold yet
    #[arg(long)]
    product: Id,
    /// How many units it has
    #[arg(long)]
    units: usize,
    /// How many connections are open at once
    #[arg(long, default_value_t = 256, value_parser = within(CONNECTIONS), allow_negative_numbers = true)]
    connections: usize,
    /// The process id of the server, on this machine
    #[arg(long)]
    pid: u32,
}

/// What somebody does with a unit.
#[derive(Clone, Copy)]
enum Next {
    Pay,
    Cancel,
    LetExpire,
}

impl Next {
    /// In turn, so that the shares are exact.
    fn of(buyer: usize) -> Self {
        match buyer % BUYERS_PER_PAYMENT {
            0 => Self::Pay,
            number if number <= CANCELING => Self::Cancel,
            _ => Self::LetExpire,
        }
    }
}

struct Sale {
    target: Target,
    product: Id,
    units: usize,
    tokens: Vec<String>,
    payments_token: String,
    next: AtomicUsize,
    held: AtomicUsize,
    paid: AtomicUsize,
    expiring: mpsc::UnboundedSender<Id>,
}

/// The answers to what was asked, by what it was.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// What the server's memory was.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    second: f64,
    held: usize,
    rss_kib: u64,
}

/// Sells until every unit is paid for, and prints what was done how fast, and the server's memory meanwhile.
pub async fn run(arguments: Arguments) -> Outcome {
    let purchases = purchases(&arguments.mongo_uri).await?;
    let (expiring, lapsing) = mpsc::unbounded_channel();
    let buyers_max = arguments.units * BUYERS_PER_PAYMENT + arguments.connections;
    let sale = Arc::new(Sale {
        tokens: buyers::tokens(&arguments.secret, buyers_max, None)?,
        payments_token: buyers::payments_token(&arguments.secret)?,
        target: arguments.url,
        product: arguments.product,
        units: arguments.units,
        next: AtomicUsize::default(),
        held: AtomicUsize::default(),
        paid: AtomicUsize::default(),
        expiring,
    });
    let lapsing = tokio::spawn(end_windows(purchases, lapsing));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..arguments.connections {
        clients.spawn(sale.clone().serve());
    }
    let memory = tokio::spawn(watch_memory(sale.clone(), arguments.pid, start));
    let mut times = Times::new();
    while let Some(client) = clients.join_next().await {
        for (what, more) in client?? {
            times.entry(what).or_default().extend(more);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let memory = memory.await?;
    // The last sender: ends the other task.
    drop(sale);
    let let_expire = lapsing.await??;
    let done: BTreeMap<_, _> = times.into_iter().map(|(what, times)| (what, Latencies::of(times))).collect();
    println!("{:#}", json!({ "seconds": seconds, "done": done, "letExpire": let_expire, "memory": memory }));
    Ok(())
}

impl Sale {
    fn is_over(&self) -> bool {
        self.paid.load(Ordering::Relaxed) >= self.units
    }

    /// Is one buyer after the other, on one connection.
    async fn serve(self: Arc<Self>) -> Outcome<Times> {
        let mut connection = Connection::open(self.target.address).await?;
        let mut times = Times::new();
        let body = format!(r#"{{"productId":"{}"}}"#, self.product);
        while !self.is_over() {
            let buyer = self.next.fetch_add(1, Ordering::Relaxed);
            let token =
                self.tokens.get(buyer).ok_or("everybody has had a unit, and some are not paid for")?;
            let own = format!("Authorization: Bearer {token}\r\n");
            let buy = self.target.request("POST", "/products/purchase", &own, &body);
            if !self.ask(&mut connection, &buy, 201, "held", &mut times).await? {
                break;
            }
            self.held.fetch_add(1, Ordering::Relaxed);
            let id = purchase_id(connection.received())?;
            match Next::of(buyer) {
                Next::Pay => {
                    let service = format!("Authorization: Bearer {}\r\n", self.payments_token);
                    let payment = format!(r#"{{"paymentReference":"bench-{id}"}}"#);
                    let path = format!("/purchases/{id}/confirm");
                    let confirm = self.target.request("POST", &path, &service, &payment);
                    self.ask(&mut connection, &confirm, 200, "confirmed", &mut times).await?;
                    self.paid.fetch_add(1, Ordering::Relaxed);
                }
                Next::Cancel => {
                    let cancel = self.target.request("POST", &format!("/purchases/{id}/cancel"), &own, "");
                    self.ask(&mut connection, &cancel, 200, "canceled", &mut times).await?;
                }
                Next::LetExpire => self.expiring.send(id)?,
            }
        }
        Ok(times)
    }

    /// Asks until it is done. False if there is nothing more to buy.
    async fn ask(
        &self,
        connection: &mut Connection,
        request: &[u8],
        wanted: u16,
        what: &'static str,
        times: &mut Times,
    ) -> Outcome<bool> {
        loop {
            let start = Instant::now();
            let status = connection.exchange(request).await?.status;
            let refused = match status {
                status if status == wanted => {
                    times.entry(what).or_default().push(start.elapsed());
                    return Ok(true);
                }
                // Everything is held, or sold.
                409 if wanted == 201 => "nothing left",
                503 => "overloaded",
                status => {
                    let answer = String::from_utf8_lossy(connection.received()).into_owned();
                    return Err(format!("what should be {what} was answered with {status}: {answer}").into());
                }
            };
            times.entry(refused).or_default().push(start.elapsed());
            if self.is_over() && wanted == 201 {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn purchase_id(answer: &[u8]) -> Outcome<Id> {
    #[derive(Deserialize)]
    struct Purchase {
        id: Id,
    }
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let head = answer
        .windows(HEAD_END.len())
        .position(|bytes| bytes == HEAD_END)
        .ok_or("an answer without a body")?;
    Ok(serde_json::from_slice::<Purchase>(&answer[head + HEAD_END.len()..])?.id)
}

/// Lets the payment windows of these purchases end, as the shortest lasts for a minute. Returns how many.
async fn end_windows(
    purchases: Collection<Document>,
    mut lapsing: mpsc::UnboundedReceiver<Id>,
) -> Outcome<usize> {
    let (mut count, mut ids) = (0, Vec::new());
    while lapsing.recv_many(&mut ids, usize::MAX).await > 0 {
        let past = doc! { "$set": { "expiresAt": DateTime::from_millis(1) } };
        count += ids.len();
        purchases.update_many(doc! { "_id": { "$in": std::mem::take(&mut ids) } }, past).await?;
        tokio::time::sleep(LAPSE_INTERVAL).await;
    }
    Ok(count)
}

async fn watch_memory(sale: Arc<Sale>, pid: u32, start: Instant) -> Vec<Memory> {
    let mut seen = Vec::new();
    while let Some(rss_kib) = resident_kibibytes(pid) {
        let held = sale.held.load(Ordering::Relaxed);
        seen.push(Memory { second: start.elapsed().as_secs_f64(), held, rss_kib });
        if sale.is_over() {
            break;
        }
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_ten_pays() {
        let count = |wanted: fn(&Next) -> bool| (0..10).map(Next::of).filter(wanted).count();
        assert_eq!(count(|next| matches!(next, Next::Pay)), 1);
        assert_eq!(count(|next| matches!(next, Next::Cancel)), 6);
    }
}
