//! A person who talks to a server.

use flash_sale::model::id::Id;
use reqwest::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::watch::soon;

/// A person who talks to one of the shop's servers.
#[derive(Clone)]
pub struct Actor {
    pub id: Id,
    pub(super) base: String,
    pub(super) token: Option<String>,
    pub(super) forwarded_for: Option<String>,
    pub(super) client: reqwest::Client,
}

impl Actor {
    /// A person who talks to a server outside any shop.
    pub fn of(base: &str, id: Id, token: Option<String>) -> Self {
        Self { id, base: base.to_owned(), token, forwarded_for: None, client: reqwest::Client::new() }
    }

    /// The same person with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same person as a proxy forwards them: this is the value of `X-Forwarded-For`.
    pub fn behind_proxy(&self, forwarded_for: &str) -> Self {
        Self { forwarded_for: Some(forwarded_for.to_owned()), ..self.clone() }
    }

    /// The address of this actor's server, as `host:port`.
    pub fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, None, headers).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string()), &[]).await
    }

    pub async fn patch(&self, path: &str, if_match: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body.to_string()), &[("If-Match", if_match)]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &[]).await
    }

    pub async fn purchase(&self, product: &str) -> Answer {
        self.post("/products/purchase", &json!({ "productId": product })).await
    }

    pub async fn purchase_many(&self, product: &str, quantity: i64) -> Answer {
        self.post("/products/purchase", &json!({ "productId": product, "quantity": quantity })).await
    }

    /// A purchase that expects this price in US cents.
    pub async fn purchase_at(&self, product: &str, amount: i64, headers: &[(&str, &str)]) -> Answer {
        let price = json!({ "amount": amount, "currency": "USD" });
        let body = json!({ "productId": product, "expectedPrice": price }).to_string();
        self.send(Method::POST, "/products/purchase", Some(body), headers).await
    }

    pub async fn purchase_with_key(&self, product: &str, quantity: i64, key: &str) -> Answer {
        let body = json!({ "productId": product, "quantity": quantity }).to_string();
        self.send(Method::POST, "/products/purchase", Some(body), &[("Idempotency-Key", key)]).await
    }

    /// Tells as the payment service that a purchase is paid for.
    pub async fn confirm(&self, purchase: &str, reference: &str) -> Answer {
        let body = json!({ "paymentReference": reference });
        self.post(&format!("/purchases/{purchase}/confirm"), &body).await
    }

    pub async fn cancel(&self, purchase: &str) -> Answer {
        self.send(Method::POST, &format!("/purchases/{purchase}/cancel"), None, &[]).await
    }

    pub async fn refund(&self, purchase: &str, body: &Value) -> Answer {
        self.post(&format!("/purchases/{purchase}/refund"), body).await
    }

    /// Sends any request. The body counts as JSON unless `headers` say otherwise.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(client) = &self.forwarded_for {
            request = request.header("X-Forwarded-For", client);
        }
        if let Some(body) = body {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("Content-Type", "application/json");
            }
            request = request.body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = async {
            let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
            Answer::read(&method, path, response).await
        };
        soon(&format!("an answer to {method} {path}"), answer).await
    }
}
