//! The tokens: JWT, HS256. Any holder of the secret may issue them, so buyers need no account here.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation};
use mongodb::bson::oid::ObjectId;
use serde::{Deserialize, Serialize};

use super::current_user::{CurrentUser, Fingerprint, TokenFacts};
use super::hs256;
use crate::config::{AccountsLimits, Secret};
use crate::error::{Error, Result};
use crate::model::timestamp::Timestamp;
use crate::model::user::{Role, User};

#[cfg(test)]
mod tests;

/// The issuer (`iss`) and audience (`aud`) of every token.
pub const ISSUER: &str = "flash-sale";
/// A token is valid from this long before it is signed, in seconds: the servers' clocks may differ by as much.
const CLOCK_SKEW_SECONDS: i64 = 30;
/// How far the clock of an identity provider may be ahead, in seconds.
const FOREIGN_CLOCK_SKEW_SECONDS: f64 = 5.0;
/// The longest display name in a token, in characters; longer ones are cut.
const NAME_CHARACTERS_MAX: usize = 80;
/// The random part of a token, so that no two tokens are the same, in bytes.
const JTI_BYTES: usize = 12;

/// Signs and verifies tokens.
pub struct Tokens {
    encoding_key: EncodingKey,
    decoding_key: DecodingKey,
    /// The secret before the last rotation: its tokens count until they expire.
    previous_key: Option<DecodingKey>,
    validation: Validation,
    lifetime_seconds: i64,
}

/// The claims of a new token, named as in RFC 7519.
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
    jti: String,
    #[serde(rename = "registeredAt")]
    registered_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
}

/// The claims that are read; the library's validation checks the others. Times may have fractions (RFC 7519, 2).
#[derive(Debug, Deserialize)]
struct VerifiedClaims {
    sub: String,
    name: String,
    role: Role,
    #[expect(
        dead_code,
        reason = "the library compares its value, but also accepts a list; `String` refuses one"
    )]
    iss: String,
    iat: f64,
    nbf: f64,
    exp: f64,
    #[serde(rename = "registeredAt", default)]
    registered_at: Option<Timestamp>,
    #[serde(default)]
    generation: Option<i64>,
}

/// A token with a good signature and good claims. `user` checks its times.
pub struct SoundToken {
    user: CurrentUser,
    nbf: f64,
    exp: f64,
}

/// A token and the moment it expires.
pub struct SignedToken {
    /// The compact form, for `Authorization: Bearer`.
    pub token: String,
    /// From this time on the token is refused.
    pub expires_at: Timestamp,
}

impl Tokens {
    /// Signs and verifies with this secret.
    pub fn new(secret: &Secret, limits: &AccountsLimits) -> Self {
        hs256::install();
        let mut validation = Validation::new(Algorithm::HS256);
        // `SoundToken::user` checks the times: the library has one leeway for `nbf` and `exp`, and accepts a token in
        // the second in which it expires.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["sub", "iss", "aud", "nbf", "exp"]);
        Self {
            encoding_key: EncodingKey::from_secret(secret.reveal().as_bytes()),
            decoding_key: DecodingKey::from_secret(secret.reveal().as_bytes()),
            previous_key: None,
            validation,
            lifetime_seconds: i64::try_from(limits.token_lifetime_seconds).unwrap_or(i64::MAX / 2),
        }
    }

    /// The same, and verifies what was signed with the secret before the last rotation, too.
    pub fn with_previous(mut self, secret: Option<&Secret>) -> Self {
        self.previous_key = secret.map(|secret| DecodingKey::from_secret(secret.reveal().as_bytes()));
        self
    }

    /// A new token for `user`, as any identity provider with the secret would make it: it needs no account.
    ///
    /// # Errors
    /// `internal`, if it cannot be signed.
    pub fn sign(&self, user: &User) -> Result<SignedToken> {
        self.sign_with(user, None)
    }

    /// A new token for this account. It ends with the account's token generation, or with the account.
    ///
    /// # Errors
    /// Those of `sign`.
    pub fn sign_for_account(&self, user: &User) -> Result<SignedToken> {
        self.sign_with(user, Some(user.token_generation))
    }

    fn sign_with(&self, user: &User, generation: Option<i64>) -> Result<SignedToken> {
        let now = Timestamp::now_here().milliseconds().div_euclid(1000);
        let claims = Claims {
            sub: user.id.to_hex(),
            name: user.public_name().to_owned(),
            role: user.role,
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            iat: now,
            nbf: now - CLOCK_SKEW_SECONDS,
            exp: now + self.lifetime_seconds,
            jti: BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; JTI_BYTES]>()),
            registered_at: user.created_at.into(),
            generation,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding_key)
            .map_err(|error| {
                tracing::error!("cannot sign a token: {error}");
                Error::Internal
            })?;
        Ok(SignedToken { token, expires_at: Timestamp::from_milliseconds(claims.exp * 1000) })
    }

    /// The user whom a valid token names.
    ///
    /// # Errors
    /// `token_expired`; `unauthenticated` for everything else.
    pub fn verify(&self, token: &str) -> Result<CurrentUser> {
        self.read(token)?.user()
    }

    /// Checks the signature and all claims except the times.
    ///
    /// # Errors
    /// `unauthenticated` when the token is wrong.
    pub fn read(&self, token: &str) -> Result<SoundToken> {
        let data = self.decode(token).map_err(|_| refused("The token is not one of ours."))?;
        // We understand no critical extensions, so a token with any is refused (RFC 7515, 4.1.11).
        if data.header.crit.is_some() {
            return Err(refused("The token has a `crit` header."));
        }
        let VerifiedClaims { sub, name, role, iat, nbf, exp, registered_at, generation, .. } = data.claims;
        let id: ObjectId = sub
            .parse()
            .map_err(|_| refused("The token's `sub` has to be an id of 24 hexadecimal digits."))?;
        let name = name.trim().chars().take(NAME_CHARACTERS_MAX).collect();
        let token = TokenFacts {
            fingerprint: fingerprint(token).ok_or(refused("The token is not one of ours."))?,
            issued_at_ms: milliseconds(iat),
            expires_at_ms: milliseconds(exp),
            generation,
        };
        Ok(SoundToken { user: CurrentUser { id, name, role, registered_at, token }, nbf, exp })
    }

    fn decode(&self, token: &str) -> Result<TokenData<VerifiedClaims>, jsonwebtoken::errors::Error> {
        let decode = |key| jsonwebtoken::decode::<VerifiedClaims>(token, key, &self.validation);
        match (decode(&self.decoding_key), &self.previous_key) {
            (Err(error), Some(previous)) if matches!(error.kind(), ErrorKind::InvalidSignature) => {
                decode(previous)
            }
            (result, _) => result,
        }
    }
}

impl SoundToken {
    /// The user, if the token is valid now.
    ///
    /// # Errors
    /// `token_expired` from `exp` on, `unauthenticated` before `nbf`.
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

/// Half of the signature of a verified token.
fn fingerprint(token: &str) -> Option<Fingerprint> {
    let (_, signature) = token.rsplit_once('.')?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    Some(Fingerprint(u128::from_be_bytes(*bytes.first_chunk()?)))
}

/// The first millisecond of the moment that the claim names; the conversion saturates.
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).floor() as i64
}

fn refused(detail: &'static str) -> Error {
    Error::Unauthenticated { detail, has_token: true }
}
