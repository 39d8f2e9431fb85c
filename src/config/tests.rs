//! Which settings are valid, and what is reported about the others.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;

use super::*;
use crate::cli::CommandLine;

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
        ("JWT_SECRET_PREVIOUS", "short"),
        ("ADMIN_EMAIL", "admin@shop.example"),
        ("CORS_ORIGINS", "https://shop.example/"),
        ("LOG_FORMAT", "xml"),
    ])
    .unwrap_err();
    let text = error.to_string();
    for name in [
        "PORT",
        "HOST",
        "MONGO_URI",
        "JWT_SECRET has",
        "JWT_SECRET_PREVIOUS has",
        "ADMIN_EMAIL",
        "CORS_ORIGINS",
        "LOG_FORMAT",
    ] {
        assert!(text.contains(name), "{name} is missing in:\n{text}");
    }
    assert_eq!(error.0.len(), 8, "{text}");
}

#[test]
fn a_setting_that_could_not_be_read_is_not_reported_as_missing() {
    let settings = [("PORT", "no"), ("ADMIN_EMAIL", "ada"), ("MONGO_URI", "mongodb://db.example/shop")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let problems = Config::read(&settings, vec!["a line of .env cannot be read".into()]).unwrap_err().0;
    let [file, port, email] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(file.contains(".env") && port.contains("PORT") && email.contains("ADMIN_EMAIL"), "{problems:?}");
}

#[test]
fn the_first_admin_has_a_valid_address_and_password() {
    let problems = |email: &str, password: &str| {
        let settings = [("ADMIN_EMAIL", email), ("ADMIN_PASSWORD", password)];
        read(&settings).map_or_else(|error| error.0.len(), |_| 0)
    };
    let characters = |count: usize| "kZ3v9Qm1xY7é".chars().cycle().take(count).collect::<String>();
    assert_eq!(problems("ada@shop.example", &characters(12)), 0);
    assert_eq!(problems("ada@shop.example", &characters(128)), 0);
    assert_eq!(problems("ada@shop.example", &characters(11)), 1);
    assert_eq!(problems("ada@shop.example", &characters(129)), 1);
    assert_eq!(problems("Ada <ada@shop.example>", &characters(12)), 1);
    // All problems are reported, and so is a missing half of the pair.
    assert_eq!(problems("ada", &characters(11)), 2);
    assert_eq!(problems("ada", ""), 2);
    assert_eq!(problems("", &characters(12)), 1);
}

#[test]
fn the_first_admin_has_a_mailbox_and_a_password_that_is_hard_to_guess() {
    for (email, password, part) in [
        ("ada@localhost", "correct horse battery", "ADMIN_EMAIL"),
        ("ada@127.0.0.1", "correct horse battery", "ADMIN_EMAIL"),
        ("ada@shop.example", "123456789012", "ADMIN_PASSWORD is too easy to guess"),
        ("ada@shop.example", "aaaaaaaaaaaa", "ADMIN_PASSWORD is too easy to guess"),
        ("ada@shop.example", "ada@shop.example", "ADMIN_PASSWORD is too easy to guess"),
        ("ada@shop.example", "password1234", "ADMIN_PASSWORD is too easy to guess"),
    ] {
        let problems = read(&[("ADMIN_EMAIL", email), ("ADMIN_PASSWORD", password)]).unwrap_err().0;
        assert!(problems.len() == 1 && problems[0].starts_with(part), "{problems:?}");
    }
    // Made of the shop's name.
    let admin = [("ADMIN_EMAIL", "ada@engine.example"), ("ADMIN_PASSWORD", "sneakerhouse24")];
    assert!(read(&admin).is_ok());
    assert!(read(&[admin[0], admin[1], ("RESERVED_NAMES", "Zalando, Sneaker House")]).is_err());
}

#[test]
fn registration_is_open_or_closed() {
    let registration = |value: &str| read(&[("REGISTRATION", value)]).map(|config| config.registration);
    assert_eq!(registration("").unwrap(), Registration::Open);
    assert_eq!(registration("open").unwrap(), Registration::Open);
    assert_eq!(registration("closed").unwrap(), Registration::Closed);
    assert!(registration("no").unwrap_err().to_string().contains("REGISTRATION is `no`"));
}

#[test]
fn a_secret_with_what_a_tool_has_left_around_it_is_refused() {
    let secret = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";
    for (around, part) in [
        (format!("{secret}\n"), "line break"),
        (format!("{secret}\r\n"), "line break"),
        (format!("\"{secret}\""), "quotes"),
        (format!("'{secret}'"), "quotes"),
    ] {
        for settings in [
            vec![("JWT_SECRET", around.as_str())],
            vec![("ADMIN_EMAIL", "a@b.example"), ("ADMIN_PASSWORD", &around)],
        ] {
            let problems = read(&settings).unwrap_err().0;
            assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}");
            assert!(!problems[0].contains(secret), "{problems:?}");
        }
    }
}

#[test]
fn a_secret_is_taken_as_it_is() {
    let secret = " kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1 ";
    let settings =
        [("JWT_SECRET", secret), ("ADMIN_EMAIL", " ada@shop.example "), ("ADMIN_PASSWORD", secret)];
    let config = read(&settings).unwrap();
    let admin = config.admin.unwrap();
    assert_eq!((admin.email.as_str(), admin.password.reveal()), ("ada@shop.example", secret));
    let Database::Embedded { jwt_secret: Some(jwt_secret), .. } = config.database else { panic!() };
    assert_eq!(jwt_secret.reveal(), secret);
    assert!(read(&[("JWT_SECRET", &secret[1..33])]).is_ok());
    assert!(read(&[("JWT_SECRET", &secret[1..32])]).is_err());
}

#[test]
fn a_token_for_scrapers_fits_into_a_header() {
    let token = |text: &str| read(&[("METRICS_TOKEN", text)]).map(|config| config.metrics_token);
    assert_eq!(token("").unwrap(), None);
    assert_eq!(token("s3cret$/+~=").unwrap().unwrap().reveal(), "s3cret$/+~=");
    for wrong in ["two words", " s3cret", "s3crét", "s3cret\n", "'s3cret'", "\ts3cret"] {
        let problems = token(wrong).unwrap_err().0;
        assert!(problems.iter().all(|problem| problem.starts_with("METRICS_TOKEN")), "{problems:?}");
        assert!(!problems.concat().contains("s3cr"), "{problems:?}");
    }
}

#[test]
fn cors_origins_are_a_star_or_a_list() {
    let origins = |text: &str| read(&[("CORS_ORIGINS", text)]).map(|config| config.cors_origins);
    assert_eq!(origins("*").unwrap(), CorsOrigins::Any);
    let listed = CorsOrigins::List(vec!["https://a.example".into(), "http://localhost:5173".into()]);
    assert_eq!(origins("https://a.example, http://localhost:5173").unwrap(), listed);
    let apps = CorsOrigins::List(vec!["capacitor://localhost".into(), "app://shop".into()]);
    assert_eq!(origins("capacitor://localhost, app://shop").unwrap(), apps);
    for wrong in
        ["https://a.example,*", "capacitor://", "capacitor://localhost/", "mailto:ada@a.example", "a.example"]
    {
        assert!(origins(wrong).is_err(), "{wrong}");
    }
    let error = origins("https://*.a.example").unwrap_err().to_string();
    assert!(error.contains("list each subdomain"), "{error}");
}

#[test]
fn an_idle_connection_stays_open_as_long_as_the_setting_says() {
    let read = |text: &str| {
        read(&[("KEEP_ALIVE_SECONDS", text)]).map(|config| config.limits.http.header_read_ms_max)
    };
    assert_eq!(read("650").unwrap(), 650_000);
    assert!(["0", "3601", "a minute"].iter().all(|wrong| read(wrong).is_err()));
}

#[test]
fn a_uri_needs_a_secret() {
    let error = read(&[("MONGO_URI", "mongodb://db.example/shop")]).unwrap_err();
    assert!(error.to_string().contains("JWT_SECRET is missing"));
}

#[test]
fn placeholders_are_refused_as_secrets() {
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
fn a_misspelt_uri_setting_is_reported() {
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

const EXAMPLE: &str = include_str!("../../.env.example");
const README: &str = include_str!("../../README.md");

/// Settings by name, with the default that a text gives them; `None` where that is a sentence and not a value.
type Told = BTreeMap<String, Option<String>>;

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|character| character.is_ascii_uppercase() || character == '_')
}

/// Paragraphs with `# ... Default: VALUE` and `#NAME=`.
fn told_by_example() -> Told {
    let mut told = Told::new();
    for paragraph in EXAMPLE.split("\n\n") {
        let comment: Vec<_> = paragraph.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        let comment = comment.join(" ");
        let default = comment.split_once("Default: ").and_then(|(_, text)| text.split_whitespace().next());
        let default = default.filter(|word| !["unset,", "none", "the"].contains(word)).map(str::to_owned);
        let settings = paragraph.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
        for (name, _) in settings.filter(|(name, _)| is_name(name)) {
            told.insert(name.to_owned(), default.clone());
        }
    }
    told
}

/// Lines that begin with one or more `NAME` or `NAME=VALUE`.
fn told_by_help() -> Told {
    let help = CommandLine::command().render_help().to_string();
    let lines = help.lines().skip_while(|line| !line.starts_with("Settings")).skip(1);
    let mut told = Told::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        for word in line.split_whitespace().map(|word| word.trim_end_matches(',')) {
            let (name, default) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
            if !is_name(name) {
                break;
            }
            told.insert(name.to_owned(), default);
        }
    }
    told
}

/// Rows like ``| `NAME`, `NAME` | default, default | … |``.
fn told_by_readme() -> Told {
    let rows = README.lines().skip_while(|line| !line.starts_with("| setting |")).skip(2);
    let mut told = Told::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let mut defaults = cells[2].split(", ");
        for name in cells[1].split(", ") {
            let default = defaults.next().filter(|text| !text.contains(' ') && *text != "none");
            told.insert(name.trim_matches('`').to_owned(), default.map(str::to_owned));
        }
    }
    told
}

#[test]
fn help_readme_and_example_name_every_setting() {
    let known: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    for told in [told_by_example(), told_by_help(), told_by_readme()] {
        assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    }
}

#[test]
fn help_readme_and_example_give_the_real_defaults() {
    let told = told_by_example();
    assert_eq!(told_by_help(), told);
    assert_eq!(told_by_readme(), told);
    let defaults =
        told.into_iter().filter_map(|(name, default)| Some((name, default?))).collect::<HashMap<_, _>>();
    assert!(defaults.len() >= 7, "{defaults:?}");
    let explicit = Config::from_settings(&defaults).unwrap();
    assert_eq!(format!("{explicit:?}"), format!("{:?}", read(&[]).unwrap()));
}

#[test]
fn a_shop_has_a_name_a_logo_a_color_and_links() {
    let shop = read(&[
        ("SHOP_NAME", "Small Runs"),
        ("SHOP_LOGO_URL", "https://shop.example/logo.svg"),
        ("SHOP_COLOR", "#1040C0"),
        ("SHOP_LINKS", "Imprint=https://shop.example/imprint?a=b, Terms = https://shop.example/terms,"),
    ]);
    let shop = shop.unwrap().shop;
    assert_eq!(shop.name.as_deref(), Some("Small Runs"));
    assert_eq!(shop.color, Some(Color([0x10, 0x40, 0xC0])));
    assert!(!shop.demo_payments && read(&[("DEMO_PAYMENTS", "on")]).unwrap().shop.demo_payments);
    let links: Vec<_> = shop.links.iter().map(|(text, address)| (text.as_str(), address.as_str())).collect();
    assert_eq!(
        links,
        [("Imprint", "https://shop.example/imprint?a=b"), ("Terms", "https://shop.example/terms")]
    );
    for wrong in [
        ("SHOP_NAME", "x".repeat(81).as_str()),
        ("SHOP_LOGO_URL", "javascript:alert(1)"),
        ("SHOP_COLOR", "#12345g"),
        ("SHOP_COLOR", "red"),
        ("SHOP_LINKS", "Imprint"),
        ("SHOP_LINKS", "Imprint=javascript:alert(1)"),
        ("SHOP_LINKS", "=https://shop.example"),
        ("DEMO_PAYMENTS", "yes"),
    ] {
        let problem = read(&[wrong]).unwrap_err().to_string();
        assert!(problem.contains(wrong.0), "{wrong:?}: {problem}");
    }
}

#[test]
fn the_bounds_of_a_client_are_read_or_named() {
    let limits = |settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_settings(&settings.collect()).map(|config| config.limits.clients)
    };
    let set = limits(&[("REGISTRATIONS_PER_NETWORK", "5/60"), ("READS_PER_NETWORK", "off")]).unwrap();
    assert_eq!((set.registrations, set.reads), (Some(Quota::new(5, 60)), None));
    assert_eq!(set.purchases, ClientsLimits::default().purchases);
    let bad =
        [("LOGINS_PER_NETWORK", "5"), ("PURCHASES_PER_ACCOUNT", "0/1"), ("CONNECTIONS_PER_ADDRESS_MAX", "0")];
    let ConfigError(problems) = limits(&bad).unwrap_err();
    assert_eq!(problems.len(), bad.len(), "{problems:?}");
    for (name, _) in bad {
        assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
    }
}

#[test]
fn the_defaults_that_settings_name_are_those_of_the_limits() {
    let default =
        |name: &str| SETTINGS.iter().find(|setting| setting.name == name).and_then(|setting| setting.default);
    let limits = Limits::default();
    let text = |quota: Option<Quota>| {
        quota.map_or("off".to_owned(), |quota| format!("{}/{}", quota.requests, quota.window_seconds))
    };
    for (name, value) in [
        ("CONNECTIONS_PER_ADDRESS_MAX", limits.http.connections_per_address_max.to_string()),
        ("WATCHERS_PER_ADDRESS_MAX", limits.live.watchers_per_address_max.to_string()),
        ("REGISTRATIONS_PER_NETWORK", text(limits.clients.registrations)),
        ("LOGINS_PER_NETWORK", text(limits.clients.logins)),
        ("READS_PER_NETWORK", text(limits.clients.reads)),
        ("PURCHASES_PER_ACCOUNT", text(limits.clients.purchases)),
        ("PURCHASES_PER_NETWORK", text(limits.clients.purchases_of_network)),
    ] {
        assert_eq!(default(name), Some(value.as_str()), "{name}");
    }
}

#[test]
fn trusted_proxies_that_are_none_are_named() {
    let settings = [("TRUSTED_PROXIES".to_owned(), "10.0.0.0/8, proxy.example".to_owned())];
    let ConfigError(problems) = Config::from_settings(&settings.into_iter().collect()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("`proxy.example`"), "{problems:?}");
}
