//! What the settings may be, and what is said when they are something else.

use super::*;

fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_settings(
        &settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    )
}

#[test]
fn without_settings_the_defaults_hold() {
    let config = read(&[]).unwrap();
    assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 3000));
    assert!(matches!(config.database, Database::Embedded { jwt_secret: None, .. }));
    assert_eq!(config.cors_origins, CorsOrigins::List(vec![]));
}

#[test]
fn every_problem_is_reported_at_once() {
    let error = read(&[
        ("PORT", "99999"),
        ("HOST", "bad host"),
        ("MONGO_URI", "localhost:27017"),
        ("JWT_SECRET", "short"),
        ("ADMIN_EMAIL", "admin@shop.example"),
        ("CORS_ORIGINS", "https://shop.example/"),
        ("LOG_FORMAT", "xml"),
    ])
    .unwrap_err();
    let text = error.to_string();
    for name in ["PORT", "HOST", "MONGO_URI", "JWT_SECRET", "ADMIN_EMAIL", "CORS_ORIGINS", "LOG_FORMAT"] {
        assert!(text.contains(name), "{name} is missing in:\n{text}");
    }
    assert_eq!(error.0.len(), 7, "{text}");
}

#[test]
fn a_uri_needs_a_secret() {
    let error = read(&[("MONGO_URI", "mongodb://db.example/shop")]).unwrap_err();
    assert!(error.to_string().contains("JWT_SECRET is missing"));
}

#[test]
fn placeholders_are_no_secrets() {
    for secret in [
        "change-me-change-me-change-me-change-me",
        "your_super_secret_jwt_key_goes_here_1234",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert!(check_jwt_secret(secret).is_err(), "{secret}");
    }
    assert!(check_jwt_secret("kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1").is_ok());
}

#[test]
fn a_secret_is_never_shown() {
    let config = read(&[
        ("MONGO_URI", "mongodb://app:hunter2-hunter2@db.example/shop"),
        ("JWT_SECRET", "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1"),
    ])
    .unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("kZ3v9Qm1"), "{shown}");
}

#[test]
fn a_misspelt_uri_is_told() {
    for (name, value) in [
        ("MONGO_URL", "mongodb://app:hunter2@db.example/shop"),
        ("MONGODB_URI", "db.example:27017"),
        ("DATABASE_URL", "mongodb+srv://app:hunter2@db.example/shop"),
    ] {
        let text = read(&[(name, value)]).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("MONGO_URI") && !text.contains("hunter2"), "{text}");
        let jwt_secret = ("JWT_SECRET", "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1");
        assert!(read(&[(name, value), ("MONGO_URI", "mongodb://db.example"), jwt_secret]).is_ok());
    }
    assert!(read(&[("DATABASE_URL", "postgres://db.example/other"), ("MONGO_URL", "")]).is_ok());
}
