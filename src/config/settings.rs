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
pub const SETTINGS: [Setting; 14] = [
    setting("PORT", Some("3000"), "the port to listen on; 0 picks a free one"),
    setting("HOST", Some("127.0.0.1"), "the address to listen on; 0.0.0.0 for all"),
    setting("MONGO_URI", None, "the database; if not set, the server runs its own MongoDB"),
    setting("MONGO_WAIT_SECONDS", Some("60"), "how long the start waits for the database"),
    setting("JWT_SECRET", None, "signs the tokens, at least 32 bytes; required with MONGO_URI"),
    setting("ADMIN_EMAIL", None, "the first admin, created if there is no such user"),
    setting("ADMIN_PASSWORD", None, "the first admin's password, 12 to 128 characters"),
    setting("DATA_DIR", Some(".data"), "where the server's own MongoDB keeps its data"),
    setting("CORS_ORIGINS", None, "origins whose pages may call the API, separated by commas, or *"),
    setting("WATCHERS_PER_ADDRESS_MAX", Some("1000"), "clients of one address that may watch live at once"),
    setting("METRICS_TOKEN", None, "what scrapers send to read /metrics; if not set, everybody may"),
    setting("LOG_FORMAT", Some("text"), "text or json"),
    setting("RUST_LOG", Some("info"), "the log level, also per module"),
    // Read by `embedded`.
    setting("MONGOD", None, "the mongod program to run; if not set, the one in PATH, or a downloaded one"),
];
