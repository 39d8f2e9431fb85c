//! One request before the crowd comes, to check that the server has these settings.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::RehearsalError;
use super::crowd::request;
use super::stage::Stage;
use super::wire::{Answer, Connection};

/// How long an idle server may take to answer.
const ANSWER_SECONDS_MAX: u64 = 10;

/// Asks for more units than a buyer may have. A server that refuses this has accepted the token and found the
/// product, and nothing was sold.
///
/// # Errors
/// What is wrong, and what to do about it.
pub async fn check(stage: &Stage) -> Result<(), RehearsalError> {
    let server = stage.origin();
    let Some(product) = stage.products().first() else { return Ok(()) };
    let body = format!("{{\"productId\":\"{product}\",\"quantity\":2}}");
    let request = request(stage.tokens(), &server.authority(), "Rehearsal", "", &body);
    let exchange = async {
        let mut connection = Connection::open(stage.address()).await?;
        let answer = connection.exchange(&request).await?;
        std::io::Result::Ok((answer, said(connection.received())))
    };
    let (answer, said) = match timeout(Duration::from_secs(ANSWER_SECONDS_MAX), exchange).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return Err(not_ours(server, &error)),
        Err(_) => return Err(not_ours(server, &format!("no answer within {ANSWER_SECONDS_MAX} s"))),
    };
    judge(answer, &said)
        .map_err(|problem| RehearsalError::NotHeld(format!("the server at {server} {problem}")))
}

fn not_ours(server: &dyn std::fmt::Display, cause: &dyn std::fmt::Display) -> RehearsalError {
    RehearsalError::not_held(
        &format!("the server at {server} does not answer a purchase; is it a flash-sale server?"),
        cause,
    )
}

/// What the answer says about the settings; the error continues a sentence that begins "the server".
fn judge(answer: Answer, said: &str) -> Result<(), String> {
    match answer.status {
        _ if answer.kind.is_definite() => Ok(()),
        401 => Err(format!(
            "does not accept the tokens of these settings: {said}\nGive the rehearsal the server's own JWT_SECRET, or the \
             DATA_DIR that has it."
        )),
        404 if said.starts_with("product_not_found") => Err(
            "does not find a product that is in the database of these settings: it uses another database.\nGive the \
             rehearsal the server's own MONGO_URI or DATA_DIR."
                .into(),
        ),
        status => Err(format!("answers a purchase with {status}, so nobody could buy: {said}")),
    }
}

/// The code and detail of a problem; for any other answer the beginning of its body.
fn said(received: &[u8]) -> String {
    /// Of another server's body, in characters.
    const SHOWN_MAX: usize = 200;
    let received = String::from_utf8_lossy(received);
    let body = received.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    match (problem["code"].as_str(), problem["detail"].as_str()) {
        (Some(code), Some(detail)) => format!("{code}, {detail}"),
        _ => body.trim().chars().take(SHOWN_MAX).collect(),
    }
}
