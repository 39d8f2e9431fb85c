//! The requests, prepared as bytes before the clock starts, so that sending costs next to nothing.

use std::net::Ipv4Addr;

use super::arguments::Arguments;
use super::phase::Phase;
use crate::{Outcome, buyers};

/// The first of the networks.
const NETWORKS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// The requests to one server, in order.
pub type Requests = Vec<Box<[u8]>>;

/// The requests of each phase for each server. Buyers who send once are divided among the phases by how much each one
/// sends.
pub fn prepare(arguments: &Arguments, phases: &[Phase]) -> Outcome<Vec<Vec<Requests>>> {
    let tokens = buyers::tokens(&arguments.secret, arguments.tokens, arguments.user)?;
    let bodies: Vec<String> = match &arguments.bodies {
        Some(path) => std::fs::read_to_string(path)?.lines().map(str::to_owned).collect(),
        None => vec![arguments.body.clone()],
    };
    if bodies.is_empty() {
        return Err("--bodies is empty".into());
    }
    if !arguments.once || tokens.is_empty() {
        // The servers' shares begin at different buyers.
        return Ok(phases.iter().map(|_| share(arguments, &bodies, &tokens)).collect());
    }
    let weights: Vec<f64> = phases.iter().map(|phase| phase.rate.unwrap_or(1.0) * phase.seconds).collect();
    let total: f64 = weights.iter().sum();
    let mut rest = tokens.as_slice();
    let mut prepared = Vec::new();
    for weight in weights {
        let count = (weight / total * tokens.len() as f64) as usize;
        let (own, others) = rest.split_at(count.min(rest.len()));
        prepared.push(share(arguments, &bodies, own));
        rest = others;
    }
    Ok(prepared)
}

/// The requests with these tokens, dealt out to the servers.
fn share(arguments: &Arguments, bodies: &[String], tokens: &[String]) -> Vec<Requests> {
    let servers = arguments.urls.len();
    let with = |server: usize, token: Option<(usize, &String)>| {
        let mut headers = String::new();
        let body = &bodies[token.map_or(0, |(number, _)| number % bodies.len())];
        if let Some((number, token)) = token {
            headers.push_str(&format!("Authorization: Bearer {token}\r\n"));
            if let Some(network) = (number as u32).checked_rem(arguments.networks) {
                let address = Ipv4Addr::from_bits(NETWORKS.to_bits() + network);
                headers.push_str(&format!("X-Forwarded-For: {address}\r\n"));
            }
            if arguments.keys {
                headers.push_str(&format!("Idempotency-Key: bench-{number}\r\n"));
            }
        }
        if let Some(tag) = &arguments.if_none_match {
            headers.push_str(&format!("If-None-Match: {tag}\r\n"));
        }
        arguments.urls[server].request(&arguments.method, &arguments.path, &headers, body)
    };
    (0..servers)
        .map(|server| match tokens {
            [] => vec![with(server, None)],
            _ => {
                let own = tokens.iter().enumerate().skip(server).step_by(servers);
                own.map(|token| with(server, Some(token))).collect()
            }
        })
        .collect()
}
