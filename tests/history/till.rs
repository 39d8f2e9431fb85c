//! What is asked of a purchase: by the payment service, by its buyer, by an admin.

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use serde_json::json;

use crate::client::{Connection, Post, exchange, token};
use crate::record::{Ask, Code, Exchange, Micros, Purchase, Reply, Step, now};
use crate::shop::{Shop, number, reference, standing, user_id};

impl Step {
    /// Whether asking again can make no difference.
    pub fn is_settled(&self) -> bool {
        matches!(self.exchange.reply, Reply::Answer { status, .. } if status != 503)
    }
}

impl Shop {
    /// Asks once. The request is written down before it is sent.
    pub async fn ask(
        &self,
        (user, purchase): (u32, Purchase),
        ask: Ask,
        server: usize,
        connection: &mut Connection,
        patience: Duration,
    ) -> Step {
        let place = self.begin_step(user, purchase.id, ask, server);
        let buyer = token(&user_id(user).to_hex(), "Ada Lovelace", "customer");
        let total = purchase.price * purchase.quantity;
        let (route, token, body) = match ask {
            Ask::Confirm { payment, is_right } => {
                let amount = if is_right { total } else { total - 1 };
                let body = json!({ "paymentReference": reference(payment), "amount": amount });
                ("confirm", &self.payments, body)
            }
            Ask::Cancel { by_buyer: true } => ("cancel", &buyer, json!({})),
            Ask::Cancel { by_buyer: false } => ("cancel", &self.admin, json!({})),
            Ask::Refund { restock } => ("refund", &self.admin, json!({ "restock": restock })),
        };
        let path = format!("/purchases/{}/{route}", purchase.id);
        let post = Post { method: "POST", path: &path, token, key: None, if_match: None, body };
        let sent = self.write().steps[place].exchange.sent;
        let answer = connection.post(&post, patience).await;
        let exchange = exchange(number(server), sent, &answer);
        let told = answer.ok().filter(|_| exchange.reply.code() == Some(Code::None));
        let mut history = self.write();
        let step = &mut history.steps[place];
        (step.exchange, step.told) = (exchange, told.and_then(|answer| standing(&answer.json)));
        *step
    }

    /// Until there is an answer, the client has given it up.
    fn begin_step(&self, user: u32, purchase: ObjectId, ask: Ask, server: usize) -> usize {
        let mut history = self.write();
        let exchange =
            Exchange { server: number(server), sent: now(), ended: Micros::MAX, reply: Reply::GaveUp };
        history.steps.push(Step { user, purchase, ask, exchange, told: None });
        history.steps.len() - 1
    }
}
