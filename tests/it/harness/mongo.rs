//! The MongoDB of the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use flash_sale::embedded::EmbeddedMongo;
use tokio::sync::OnceCell;

/// Started by the first test that needs it; ends with the process (on Linux by its parent-death signal).
static MONGO: OnceCell<EmbeddedMongo> = OnceCell::const_new();

/// The connection string of a database of its own.
pub async fn database_uri() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let uri = match std::env::var("TEST_MONGO_URI") {
        Ok(uri) => uri,
        Err(_) => MONGO.get_or_init(|| own_mongo("shared")).await.uri(),
    };
    with_database(&uri, &name)
}

/// A mongod that belongs to one test, which may stop, kill or starve it.
pub async fn own_mongo(name: &str) -> EmbeddedMongo {
    EmbeddedMongo::start(&process_directory(name)).await.expect("an embedded MongoDB")
}

/// A directory of this process and test; those of processes that are gone are removed.
pub fn process_directory(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let owner =
            entry.file_name().to_string_lossy().split('-').next().and_then(|owner| owner.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            // Another process of the run may be faster.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    root.join(format!("{}-{name}", std::process::id()))
}

/// The URI with `name` as its path.
pub fn with_database(uri: &str, name: &str) -> String {
    let (base, options) =
        uri.split_once('?').map_or((uri, String::new()), |(base, options)| (base, format!("?{options}")));
    let host = match base
        .find("://")
        .and_then(|scheme| base[scheme + 3..].find('/').map(|slash| scheme + 3 + slash))
    {
        Some(slash) => &base[..slash],
        None => base,
    };
    format!("{host}/{name}{options}")
}
