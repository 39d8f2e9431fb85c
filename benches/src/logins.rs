//! `logins`: a storm of logins, and of registrations if wanted, the most expensive requests that anybody may send.

use std::sync::Arc;
use std::time::Duration;

use flash_sale::model::id::Id;
use flash_sale::model::timestamp::Timestamp;
use flash_sale::rehearse::load::Load;
use flash_sale::rehearse::progress::Progress;
use flash_sale::rehearse::wire::Connection;
use flash_sale::rehearse::within;
use tokio_util::sync::CancellationToken;

use crate::crowd::{Phase, Report};
use crate::target::Target;
use crate::{CONNECTIONS, DURATION_SECONDS, Outcome, RATE_PER_SECOND};

/// A later answer is of no use.
const GOODPUT_MS: u64 = 2_000;
const PASSWORD: &str = "the right one of them";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's address
    #[arg(long)]
    url: Target,
    /// Logins per second; every second one has a wrong password
    #[arg(long, default_value_t = 200.0, value_parser = within(RATE_PER_SECOND), allow_negative_numbers = true)]
    rate: f64,
    /// Duration in seconds
    #[arg(long, default_value_t = 10.0, value_parser = within(DURATION_SECONDS), allow_negative_numbers = true)]
    duration: f64,
    /// How many connections are open at once
    #[arg(long, default_value_t = 256, value_parser = within(CONNECTIONS), allow_negative_numbers = true)]
    connections: usize,
    /// How many accounts are registered beforehand
    #[arg(long, default_value_t = 10)]
    accounts: usize,
    /// Register a new account with each login: twice as many requests
    #[arg(long)]
    registrations: bool,
}

/// Registers accounts, then logs in at a constant rate.
pub async fn run(arguments: Arguments) -> Outcome {
    let target = &arguments.url;
    // Each run has accounts of its own.
    let run = Id::new();
    let address = |account: usize| format!("bench-{account}@{run}.example");
    let mut connection = Connection::open(target.address).await?;
    for account in 0..arguments.accounts {
        let (email, name) = (address(account), "Bench Mark");
        let body = format!(r#"{{"name":"{name}","email":"{email}","password":"{PASSWORD}"}}"#);
        let answer = connection.exchange(&target.request("POST", "/auth/register", "", &body)).await?;
        if answer.status != 201 {
            return Err(format!("an account was not registered: status {}", answer.status).into());
        }
    }
    let each = if arguments.registrations { 2 } else { 1 };
    let rate = arguments.rate * f64::from(each);
    let phase = Phase { rate: Some(rate), seconds: arguments.duration, connections: arguments.connections };
    let count = phase.offered().unwrap_or_default();
    let login = |number: usize| {
        // A wrong password for an unknown address costs as much, and since each address is used once, no limit on
        // failed logins refuses it.
        let (account, password) = match number % 2 {
            0 => (number / 2 % arguments.accounts.max(1), PASSWORD),
            _ => (arguments.accounts + number, "a wrong one of them"),
        };
        let body = format!(r#"{{"email":"{}","password":"{password}"}}"#, address(account));
        target.request("POST", "/auth/login", "", &body)
    };
    let registration = |number: usize| {
        let body = format!(
            r#"{{"name":"Bench Mark","email":"new-{number}@{run}.example","password":"{PASSWORD}"}}"#
        );
        target.request("POST", "/auth/register", "", &body)
    };
    let request = |number: usize| match (arguments.registrations, number % 2) {
        (true, 1) => registration(number),
        (true, _) => login(number / 2),
        (false, _) => login(number),
    };
    let stop = CancellationToken::new();
    let load = Load {
        address: target.address,
        connections: phase.connections,
        rate: phase.rate,
        requests: Arc::new((0..count).map(request).collect()),
        repeats: false,
        progress: Arc::new(Progress::default()),
        stop: stop.clone(),
    };
    let ready = load.open().await;
    let (opened, started_at) = (ready.connections(), Timestamp::now_here());
    let running = tokio::spawn(ready.run());
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(phase.seconds)) => stop.cancel(),
        () = stop.cancelled() => {}
    }
    let report = Report::new(&phase, (opened, started_at), Some(count), &running.await?, GOODPUT_MS);
    println!("{:#}", serde_json::to_value(report)?);
    Ok(())
}
