//! The tokens: JWT, HS256. Whoever holds the secret may mint them; buying needs no account here.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use mongodb::bson::oid::ObjectId;
use serde::{Deserialize, Serialize};

use super::current_user::CurrentUser;
use super::hs256;
use crate::config::{AccountsLimits, Secret};
use crate::error::{Error, Result};
use crate::model::timestamp::Timestamp;
use crate::model::user::{Role, User};

/// Issuer and audience of every token.
pub const ISSUER: &str = "flash-sale";
/// A token is valid from this long before it is made, in seconds: the servers' clocks may differ by so much.
const CLOCK_SKEW_SECONDS: i64 = 30;
/// By so much, in seconds, the clock of an identity provider may be fast.
const FOREIGN_CLOCK_SKEW_SECONDS: f64 = 5.0;
/// The longest display name in a token, in characters; longer ones are cut.
const NAME_CHARACTERS_MAX: usize = 80;

/// Signs and verifies tokens.
pub struct Tokens {
    encoding_key: EncodingKey,
    decoding_key: DecodingKey,
    validation: Validation,
    lifetime_seconds: i64,
}

/// What a token says, in the names of RFC 7519.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    name: String,
    role: Role,
    iss: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// The claims that are read back; the validation has seen to the others. Moments may have fractions (RFC 7519, 2).
#[derive(Debug, Deserialize)]
struct VerifiedClaims {
    sub: String,
    name: String,
    role: Role,
    #[expect(
        dead_code,
        reason = "its value was compared, but the library takes a list for it, which it may not be"
    )]
    iss: String,
    #[expect(dead_code, reason = "a token without it is refused; nothing depends on its value")]
    iat: f64,
    nbf: f64,
    exp: f64,
}

/// What a token of ours says; whether this is the time for it is another question.
pub struct SoundToken {
    user: CurrentUser,
    nbf: f64,
    exp: f64,
}

/// A token and the moment it expires.
pub struct SignedToken {
    /// The compact form, for `Authorization: Bearer`.
    pub token: String,
    /// From then on it is refused.
    pub expires_at: Timestamp,
}

impl Tokens {
    /// Tokens over this secret.
    pub fn new(secret: &Secret, limits: &AccountsLimits) -> Self {
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        // The moments are compared here: the library has one leeway for both, and lets a token pass in the second in which it
        // expires.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["sub", "iss", "aud", "nbf", "exp"]);
        Self {
            encoding_key: EncodingKey::from_secret(secret.reveal().as_bytes()),
            decoding_key: DecodingKey::from_secret(secret.reveal().as_bytes()),
            validation,
            lifetime_seconds: i64::try_from(limits.token_lifetime_seconds).unwrap_or(i64::MAX / 2),
        }
    }

    /// A token for `user`.
    ///
    /// # Errors
    /// `internal`, if it cannot be signed.
    pub fn sign(&self, user: &User) -> Result<SignedToken> {
        let now = Timestamp::now_here().milliseconds().div_euclid(1000);
        let claims = Claims {
            sub: user.id.to_hex(),
            name: user.name.clone(),
            role: user.role,
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            iat: now,
            nbf: now - CLOCK_SKEW_SECONDS,
            exp: now + self.lifetime_seconds,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding_key)
            .map_err(|error| {
                tracing::error!("a token cannot be signed: {error}");
                Error::Internal
            })?;
        Ok(SignedToken { token, expires_at: Timestamp::from_milliseconds(claims.exp * 1000) })
    }

    /// Who the token says is asking.
    ///
    /// # Errors
    /// `token_expired`, and `unauthenticated` for everything else that is wrong with it.
    pub fn verify(&self, token: &str) -> Result<CurrentUser> {
        self.read(token)?.user()
    }

    /// Reads a token: its signature is good, and so are its claims, but for the moments.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub fn read(&self, token: &str) -> Result<SoundToken> {
        let data = jsonwebtoken::decode::<VerifiedClaims>(token, &self.decoding_key, &self.validation)
            .map_err(|_| refused("The token is not one of ours."))?;
        // Nothing that a token may call critical is understood here (RFC 7515, 4.1.11).
        if data.header.crit.is_some() {
            return Err(refused("The token has a `crit` header."));
        }
        let VerifiedClaims { sub, name, role, nbf, exp, .. } = data.claims;
        let id: ObjectId = sub
            .parse()
            .map_err(|_| refused("The token's `sub` has to be an id of 24 hexadecimal digits."))?;
        let name = name.trim().chars().take(NAME_CHARACTERS_MAX).collect();
        Ok(SoundToken { user: CurrentUser { id, name, role }, nbf, exp })
    }
}

impl SoundToken {
    /// Whom it names, if this is the time for it.
    ///
    /// # Errors
    /// `token_expired`, or `unauthenticated` before its time.
    pub fn user(&self) -> Result<CurrentUser> {
        let now = Timestamp::now_here().milliseconds() as f64 / 1000.0;
        if self.exp <= now {
            return Err(Error::TokenExpired);
        }
        if self.nbf > now + FOREIGN_CLOCK_SKEW_SECONDS {
            return Err(refused("The token is not valid yet."));
        }
        Ok(self.user.clone())
    }
}

fn refused(detail: &'static str) -> Error {
    Error::Unauthenticated { detail, has_token: true }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(&Secret::new("kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1"), &AccountsLimits::default())
    }

    fn claims(change: impl FnOnce(&mut Value)) -> Value {
        let now = Timestamp::now_here().milliseconds() / 1000;
        let mut claims = json!({
            "sub": "65f1c0ffee65f1c0ffee65f1", "name": "Ada Lovelace", "role": "customer",
            "iss": "flash-sale", "aud": "flash-sale", "iat": now, "nbf": now, "exp": now + 60,
        });
        change(&mut claims);
        claims
    }

    fn verify(claims: &Value) -> Result<CurrentUser> {
        let tokens = tokens();
        let token =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &tokens.encoding_key).unwrap();
        tokens.verify(&token)
    }

    #[test]
    fn a_token_of_any_provider_with_the_secret_is_good() {
        assert_eq!(verify(&claims(|_| ())).unwrap().name, "Ada Lovelace");
        assert_eq!(verify(&claims(|claims| claims["role"] = json!("admin"))).unwrap().role, Role::Admin);
    }

    #[test]
    fn each_claim_is_needed() {
        for name in ["sub", "name", "role", "iss", "aud", "iat", "nbf", "exp"] {
            let result = verify(&claims(|claims| {
                claims.as_object_mut().unwrap().remove(name);
            }));
            assert!(matches!(result, Err(Error::Unauthenticated { .. })), "{name}: {result:?}");
        }
    }

    #[test]
    fn each_claim_is_checked() {
        let later = Timestamp::now_here().milliseconds() / 1000 + 30;
        for (name, value) in [
            ("sub", json!("ada")),
            ("iss", json!("another")),
            ("iss", json!(["flash-sale", "another"])),
            ("aud", json!("another")),
            ("role", json!("root")),
            ("nbf", json!(later)),
        ] {
            let result = verify(&claims(|claims| claims[name] = value));
            assert!(matches!(result, Err(Error::Unauthenticated { .. })), "{name}: {result:?}");
        }
        let past = Timestamp::now_here().milliseconds() / 1000 - 1;
        assert_eq!(verify(&claims(|claims| claims["exp"] = json!(past))).unwrap_err(), Error::TokenExpired);
    }

    #[test]
    fn moments_are_compared_as_they_are_meant() {
        let now = Timestamp::now_here().milliseconds() / 1000;
        assert_eq!(verify(&claims(|claims| claims["exp"] = json!(now))).unwrap_err(), Error::TokenExpired);
        for (name, value) in [
            ("iat", json!(now as f64 + 0.5)),
            ("nbf", json!(now as f64 + 1.5)),
            ("exp", json!(now as f64 + 60.5)),
        ] {
            assert!(verify(&claims(|claims| claims[name] = value)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_critical_header_that_nobody_understands_is_refused() {
        let tokens = tokens();
        let header = Header { crit: Some(vec!["x".into()]), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims(|_| ()), &tokens.encoding_key).unwrap();
        assert!(matches!(tokens.verify(&token), Err(Error::Unauthenticated { .. })));
    }

    #[test]
    fn a_changed_or_unsigned_token_is_refused() {
        let tokens = tokens();
        let good =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(|_| ()), &tokens.encoding_key)
                .unwrap();
        let (signed, _) = good.rsplit_once('.').unwrap();
        let (_, payload) = signed.split_once('.').unwrap();
        // {"alg":"none"} and {"alg":"RS256"}
        for bad in [
            format!("{signed}."),
            format!("{good}x"),
            format!("eyJhbGciOiJub25lIn0.{payload}."),
            format!("eyJhbGciOiJSUzI1NiJ9.{payload}.AAAA"),
            "not a token".into(),
        ] {
            assert!(matches!(tokens.verify(&bad), Err(Error::Unauthenticated { .. })), "{bad}");
        }
        assert!(tokens.verify(&good).is_ok());
    }
}
