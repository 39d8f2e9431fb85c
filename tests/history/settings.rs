//! What the environment says about the run.

use std::env;
use std::path::PathBuf;

use crate::scenes::{self, Scene};

/// How long the short run of `cargo test` breaks things.
const SECONDS_DEFAULT: u64 = 28;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Decides what breaks when, and what everybody does.
    pub seed: u64,
    pub seconds: u64,
    pub server: PathBuf,
    pub server_log: String,
    pub sabotage: Option<String>,
    /// Only faults with this in their name.
    pub faults: String,
}

impl Settings {
    /// `HISTORY_SEED`, `HISTORY_SECONDS`, `HISTORY_SERVER`, `HISTORY_SERVER_LOG`, `HISTORY_SABOTAGE`.
    pub fn from_environment() -> Self {
        let number = |name: &str| {
            env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
        };
        Self {
            seed: number("HISTORY_SEED").unwrap_or_else(any_seed),
            seconds: number("HISTORY_SECONDS").unwrap_or(SECONDS_DEFAULT),
            server: env::var_os("HISTORY_SERVER")
                .map_or_else(|| env!("CARGO_BIN_EXE_flash-sale").into(), PathBuf::from),
            server_log: env::var("HISTORY_SERVER_LOG").unwrap_or_else(|_| "flash_sale=info".into()),
            sabotage: env::var("HISTORY_SABOTAGE").ok(),
            faults: env::var("HISTORY_FAULTS").unwrap_or_default(),
        }
    }

    /// All scenes, or those that `HISTORY_SCENE` names.
    pub fn scenes(&self) -> impl Iterator<Item = &'static Scene> {
        let wanted = env::var("HISTORY_SCENE").unwrap_or_default();
        scenes::ALL.iter().filter(move |scene| scene.name.contains(&wanted))
    }

    /// The command that does the same once more.
    pub fn repeat(&self) -> String {
        let mut settings = format!("HISTORY_SEED={} HISTORY_SECONDS={}", self.seed, self.seconds);
        if !self.faults.is_empty() {
            settings.push_str(&format!(" HISTORY_FAULTS='{}'", self.faults));
        }
        if let Some(sabotage) = &self.sabotage {
            settings.push_str(&format!(" HISTORY_SABOTAGE={sabotage}"));
        }
        format!("{settings} cargo test --test history -- --nocapture the_history")
    }
}

/// Another one each time: the short runs of many days see more than one run many times.
fn any_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() % 1_000_000
}
