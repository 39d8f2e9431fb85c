//! An answer of the server, and the checks that every answer must pass.

use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::Value;

use super::document;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null when the body is empty or not JSON.
    pub json: Value,
    /// The body as it came.
    pub text: String,
    request: String,
}

impl Answer {
    /// Reads the response and checks what every response promises.
    pub async fn read(method: &Method, path: &str, response: Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Self { status, headers, json, text, request: format!("{method} {path}") };
        assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{answer:?}");
        if status >= 400 {
            answer.check_problem();
        }
        document::check(method, path, &answer);
        answer
    }

    /// Checks the members that every problem has: those of RFC 9457 and those of our contract.
    fn check_problem(&self) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["status"], self.status, "{self:?}");
        assert_eq!(self.json["instance"].as_str(), self.header("x-request-id"), "{self:?}");
        for member in ["type", "title", "detail", "code"] {
            assert!(self.json[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
        if matches!(self.status, 429 | 503) || matches!(self.code(), "sale_not_started" | "sale_paused") {
            let seconds: u64 = self.header("retry-after").unwrap_or_default().parse().unwrap_or_default();
            assert!(seconds >= 1, "Retry-After: {self:?}");
        }
        if self.status == 401 {
            assert!(
                self.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer")),
                "{self:?}"
            );
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The problem's code; empty when the answer is not a problem.
    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    pub fn etag(&self) -> String {
        self.header("etag").expect("an ETag").to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{self:#?}");
        self
    }

    /// Asserts `validation_failed` with errors in exactly these fields.
    #[track_caller]
    pub fn invalid(self, fields: &[&str]) -> Self {
        let answer = self.problem(422, "validation_failed");
        let errors = answer.json["errors"].as_array().expect("errors");
        let named: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(named, fields, "{}: {errors:#?}", answer.request);
        answer
    }
}

/// Reads a value from `/metrics`, over a connection of its own.
pub async fn metric(actor: &super::Actor, name: &str) -> f64 {
    let text = reqwest::get(format!("http://{}/metrics", actor.host())).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}:\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Polls `/health/ready` until it answers with `status`.
pub async fn until_ready(actor: &super::Actor, status: u16) {
    let asking = async { while actor.get("/health/ready").await.status != status {} };
    super::soon("another readiness", asking).await;
}
