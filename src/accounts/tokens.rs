//! The tokens: JWT, HS256. Any holder of the secret may issue them, so buyers need no account here.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use mongodb::bson::oid::ObjectId;
use serde::{Deserialize, Serialize};

use super::current_user::CurrentUser;
use super::hs256;
use crate::config::{AccountsLimits, Secret};
use crate::error::{Error, Result};
use crate::model::timestamp::Timestamp;
use crate::model::user::{Role, User};

/// The issuer (`iss`) and audience (`aud`) of every token.
pub const ISSUER: &str = "flash-sale";
/// A token is valid from this long before it is signed, in seconds: the servers' clocks may differ by as much.
const CLOCK_SKEW_SECONDS: i64 = 30;
/// How far the clock of an identity provider may be ahead, in seconds.
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
    #[serde(rename = "registeredAt")]
    registered_at: Timestamp,
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
    #[expect(dead_code, reason = "it is required, but its value does not matter")]
    iat: f64,
    nbf: f64,
    exp: f64,
    #[serde(rename = "registeredAt")]
    registered_at: Option<Timestamp>,
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
            validation,
            lifetime_seconds: i64::try_from(limits.token_lifetime_seconds).unwrap_or(i64::MAX / 2),
        }
    }

    /// A new token for `user`.
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
            registered_at: user.created_at.into(),
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
        let data = jsonwebtoken::decode::<VerifiedClaims>(token, &self.decoding_key, &self.validation)
            .map_err(|_| refused("The token is not one of ours."))?;
        // We understand no critical extensions, so a token with any is refused (RFC 7515, 4.1.11).
        if data.header.crit.is_some() {
            return Err(refused("The token has a `crit` header."));
        }
        let VerifiedClaims { sub, name, role, nbf, exp, registered_at, .. } = data.claims;
        let id: ObjectId = sub
            .parse()
            .map_err(|_| refused("The token's `sub` has to be an id of 24 hexadecimal digits."))?;
        let name = name.trim().chars().take(NAME_CHARACTERS_MAX).collect();
        Ok(SoundToken { user: CurrentUser { id, name, role, registered_at }, nbf, exp })
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

fn refused(detail: &'static str) -> Error {
    Error::Unauthenticated { detail, has_token: true }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
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
    fn a_token_may_say_when_the_account_was_made() {
        assert_eq!(verify(&claims(|_| ())).unwrap().registered_at, None);
        let moment = "2030-11-29T09:00:00.000Z";
        let user = verify(&claims(|claims| claims["registeredAt"] = json!(moment))).unwrap();
        assert_eq!(user.registered_at, Timestamp::parse(moment));
        let wrong = verify(&claims(|claims| claims["registeredAt"] = json!("yesterday")));
        assert!(matches!(wrong, Err(Error::Unauthenticated { .. })));
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
    fn times_may_have_fractions_and_end_exactly() {
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
    fn an_unknown_critical_header_is_refused() {
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

    /// A small change of a token, like those that a forger tries.
    fn changed(token: &str, at: Index, byte: u8, kind: u8) -> String {
        let mut bytes = token.as_bytes().to_vec();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ => bytes.rotate_left(at),
        }
        String::from_utf8(bytes).expect("still ASCII")
    }

    /// A token with these three parts, none of which has to be one.
    fn encoded(parts: &[Vec<u8>]) -> String {
        use base64::Engine as _;
        let encode = |part: &Vec<u8>| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(part);
        parts.iter().map(encode).collect::<Vec<_>>().join(".")
    }

    fn part() -> impl Strategy<Value = Vec<u8>> {
        let text = select(vec![
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256","typ":"JWT","crit":[]}"#,
            r#"{"sub":"65f1c0ffee65f1c0ffee65f1","name":"Ada","role":"admin"}"#,
            "{}",
            "[]",
            "",
        ]);
        prop_oneof![text.prop_map(|text| text.as_bytes().to_vec()), vec(any::<u8>(), 0..64)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

        #[test]
        fn a_token_that_is_not_signed_is_refused(text: String, parts in vec(part(), 0..5)) {
            let tokens = tokens();
            prop_assert!(tokens.read(&text).is_err());
            prop_assert!(tokens.read(&encoded(&parts)).is_err());
        }

        #[test]
        fn a_token_that_was_changed_is_refused(at: Index, byte in 0..128_u8, kind in 0..5_u8) {
            let tokens = tokens();
            let header = Header::new(Algorithm::HS256);
            let good = jsonwebtoken::encode(&header, &claims(|_| ()), &tokens.encoding_key).unwrap();
            let changed = changed(&good, at, byte, kind);
            prop_assert_eq!(tokens.read(&changed).is_ok(), changed == good, "{}", changed);
        }
    }
}
