//! The list of settings.

/// A setting, as `--help` shows it.
pub struct Setting {
    /// The name of the environment variable.
    pub name: &'static str,
    /// The value when it is not set; `None` if that is not a fixed value.
    pub default: Option<&'static str>,
    /// What it does, in one line.
    pub meaning: &'static str,
}

const fn setting(name: &'static str, default: Option<&'static str>, meaning: &'static str) -> Setting {
    Setting { name, default, meaning }
}

/// Every setting. `.env.example` and the README name these and no others; a test compares them.
pub const SETTINGS: &[Setting] = &[
    setting("PORT", Some("3000"), "the port to listen on; 0 picks a free one"),
    setting("HOST", Some("127.0.0.1"), "the address to listen on; 0.0.0.0 for all"),
    setting("MONGO_URI", None, "the database; if not set, the server runs its own MongoDB"),
    setting("MONGO_WAIT_SECONDS", Some("60"), "how long the start waits for the database"),
    setting("JWT_SECRET", None, "signs the tokens, at least 32 bytes; required with MONGO_URI"),
    setting("JWT_SECRET_PREVIOUS", None, "the secret before, whose tokens count until they expire"),
    setting("ADMIN_EMAIL", None, "the first admin, created if there is no such user"),
    setting("ADMIN_PASSWORD", None, "the first admin's password, 12 to 128 characters"),
    setting("REGISTRATION", Some("open"), "open or closed: accounts come from an identity provider"),
    setting("RESERVED_NAMES", None, "words that no name may have, like the shop's, separated by commas"),
    setting("DATA_DIR", Some(".data"), "where the server's own MongoDB keeps its data"),
    setting("CORS_ORIGINS", None, "origins whose pages may call the API, separated by commas, or *"),
    setting("TRUSTED_PROXIES", None, "networks of your proxies, like 10.0.0.0/8, separated by commas"),
    setting(
        "CONNECTIONS_PER_ADDRESS_MAX",
        Some("2000"),
        "connections of one address that may be open at once",
    ),
    setting("WATCHERS_PER_ADDRESS_MAX", Some("1000"), "clients of one address that may watch live at once"),
    setting("SHOP_NAME", None, "the shop's name in the storefront"),
    setting("SHOP_LOGO_URL", None, "the shop's logo, a picture on the web"),
    setting("SHOP_COLOR", None, "the colour of buttons and links; it is made readable"),
    setting("SHOP_LINKS", None, "links in the footer: Imprint=https://shop.example/imprint, Privacy=..."),
    setting(
        "DEMO_PAYMENTS",
        Some("off"),
        "on shows admins a button that marks a purchase as paid, to try payments without a provider",
    ),
    setting(
        "KEEP_ALIVE_SECONDS",
        Some("65"),
        "how long an idle connection stays open: longer than the load balancer keeps one",
    ),
    setting(
        "REGISTRATIONS_PER_NETWORK",
        Some("20/1200"),
        "accounts that one network may make: at once, and in so many seconds",
    ),
    setting("LOGINS_PER_NETWORK", Some("300/300"), "logins of one network"),
    setting("READS_PER_NETWORK", Some("5000/10"), "reads of the API by one network"),
    setting("PURCHASES_PER_ACCOUNT", Some("30/6"), "requests to buy by one account"),
    setting("PURCHASES_PER_NETWORK", Some("off"), "requests to buy by one network"),
    setting(
        "NETWORK_DAYS",
        Some("30"),
        "days for which a purchase keeps the network it came from; 0 keeps none",
    ),
    setting("METRICS_TOKEN", None, "what scrapers send to read /metrics; if not set, everybody may"),
    setting("LOG_FORMAT", Some("text"), "text or json"),
    setting("RUST_LOG", Some("info"), "the log level, also per module"),
    // Read by `embedded`.
    setting("MONGOD", None, "the mongod program to run; if not set, the one in PATH, or a downloaded one"),
];
