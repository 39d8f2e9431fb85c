//! What the log tells whoever runs a server, and what it must not tell.

use serde_json::Value;

use crate::harness::{ADMIN, SECRET, database_uri, process_directory};
use crate::process::Running;

/// A server on a database of the test's own that logs JSON.
fn start(name: &str, uri: &str, admin: (&str, &str)) -> Running {
    let settings = [
        ("MONGO_URI", uri),
        ("JWT_SECRET", SECRET),
        ("ADMIN_EMAIL", admin.0),
        ("ADMIN_PASSWORD", admin.1),
        ("LOG_FORMAT", "json"),
    ];
    Running::start_with(&process_directory(name), &settings)
}

/// The lines of that level, after a look for what must never be there.
fn lines(log: &str, level: &str) -> Vec<Value> {
    for secret in [ADMIN.0, ADMIN.1, SECRET, "eyJ"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["level"] == level).collect()
}

fn message(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_password_that_opens_nothing_is_told() {
    let uri = database_uri().await;
    let start = |password| start("admin-password", &uri, (ADMIN.0, password));
    assert_eq!(lines(&start(ADMIN.1).stop(), "WARN"), [Value::Null; 0]);
    assert_eq!(lines(&start(ADMIN.1).stop(), "WARN"), [Value::Null; 0]);
    let log = start("another password").stop();
    let warnings = lines(&log, "WARN");
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(message(&warnings[0]).starts_with("ADMIN_PASSWORD is not the password"), "{log}");
    assert!(!log.contains("another password"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_told_at_the_start() {
    let uri = database_uri().await;
    let log = start("database", &uri, ADMIN).stop();
    let name = uri.split_once('?').unwrap().0.rsplit('/').next().unwrap();
    let told = format!("the database is {name} at 127.0.0.1:");
    assert!(lines(&log, "INFO").iter().any(|line| message(line).starts_with(&told)), "{log}");
}
