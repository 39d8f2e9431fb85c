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
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &tokens.encoding_key).unwrap();
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
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(|_| ()), &tokens.encoding_key).unwrap();
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
