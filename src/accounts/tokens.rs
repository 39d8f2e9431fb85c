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
            name: user.name.clone(),
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::{Value, json};

    use mongodb::bson::DateTime;

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
    fn a_secret_before_the_rotation_verifies_but_does_not_sign() {
        let old = Secret::new("an older secret of at least 32 bytes");
        let before = Tokens::new(&old, &AccountsLimits::default());
        let user = User::new("Ada".into(), String::new(), String::new(), Role::Customer, DateTime::now());
        let token = before.sign_for_account(&user).unwrap().token;
        assert!(matches!(tokens().verify(&token), Err(Error::Unauthenticated { .. })));
        let rotated = tokens().with_previous(Some(&old));
        assert_eq!(rotated.verify(&token), before.verify(&token));
        let new = rotated.sign_for_account(&user).unwrap().token;
        assert!(tokens().verify(&new).is_ok() && before.verify(&new).is_err());
    }

    #[test]
    fn a_token_says_when_its_account_was_made_and_is_like_no_other() {
        let user = User::new("Ada".into(), String::new(), String::new(), Role::Payments, DateTime::now());
        let verified = || tokens().verify(&tokens().sign_for_account(&user).unwrap().token).unwrap();
        let (first, second) = (verified(), verified());
        assert_eq!(first.registered_at, Some(user.created_at.into()));
        assert_eq!((first.role, first.token.generation), (Role::Payments, Some(0)));
        assert_ne!(first.token.fingerprint, second.token.fingerprint);
        let foreign = tokens().verify(&tokens().sign(&user).unwrap().token).unwrap();
        assert_eq!(foreign.token.generation, None);
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
            ("registeredAt", json!("yesterday")),
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
