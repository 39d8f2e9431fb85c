//! Secrets: that of the tokens, that of the scrapers, passwords.

use std::fmt;

use super::Reader;

/// The shortest `JWT_SECRET`, in bytes: the size of an HS256 key (RFC 7518, 3.2).
pub const JWT_SECRET_BYTES_MIN: usize = 32;
/// A secret with fewer different bytes than this is refused as a placeholder.
const JWT_SECRET_DISTINCT_BYTES_MIN: usize = 10;
/// A secret with one of these words (in any case) is refused as a copied example.
const PLACEHOLDER_WORDS: [&str; 8] =
    ["change", "placeholder", "example", "replace", "your-", "your_", "jwtsecret", "jwt_secret"];

/// A text that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text` from debug output.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the code that has to use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl<'a> Reader<'a> {
    /// A secret, which is not trimmed: blanks at its ends belong to it. What a tool has left around it is refused, because
    /// nobody could log in with what they believe the secret to be.
    pub(super) fn secret(&mut self, name: &str) -> Option<&'a str> {
        let value = self.verbatim(name)?;
        if value.ends_with(['\n', '\r']) {
            self.problem(format!(
                "{name} ends with a line break, as `echo` makes it: write it with `printf %s`"
            ));
        }
        let is_quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        if is_quoted('"') || is_quoted('\'') {
            self.problem(format!("{name} is in quotes, which `docker run --env-file` keeps: leave them out"));
        }
        Some(value)
    }

    pub(super) fn jwt_secret(&mut self, name: &str) -> Option<Secret> {
        let secret = self.secret(name)?;
        match check_jwt_secret(secret) {
            Ok(()) => Some(Secret::new(secret)),
            Err(problem) => {
                self.problem(problem.replacen("JWT_SECRET", name, 1));
                None
            }
        }
    }

    pub(super) fn metrics_token(&mut self) -> Option<Secret> {
        let token = self.secret("METRICS_TOKEN")?;
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            self.problem("METRICS_TOKEN has other characters than visible ASCII, which no header can carry");
        }
        Some(Secret::new(token))
    }
}

/// Checks that `secret` may sign tokens; the error says why not.
pub fn check_jwt_secret(secret: &str) -> Result<(), String> {
    const ADVICE: &str = "make one with: openssl rand -base64 48";
    if secret.len() < JWT_SECRET_BYTES_MIN {
        return Err(format!(
            "JWT_SECRET has {} bytes, but at least {JWT_SECRET_BYTES_MIN} are needed ({ADVICE})",
            secret.len()
        ));
    }
    let lower = secret.to_lowercase();
    let distinct = secret.bytes().collect::<std::collections::HashSet<_>>().len();
    if distinct < JWT_SECRET_DISTINCT_BYTES_MIN || PLACEHOLDER_WORDS.iter().any(|word| lower.contains(word)) {
        return Err(format!("JWT_SECRET is a placeholder that anyone can guess ({ADVICE})"));
    }
    Ok(())
}
