//! Finds the `mongod` program.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::EmbeddedError;
use super::fetch::{self, MONGOD_VERSION};

/// The places to look for `mongod`, in this order. If none has it, it is downloaded into the last one.
#[derive(Debug, Clone)]
pub(super) struct BinarySearch {
    /// `$MONGOD`. If set, nothing else is tried.
    pub(super) mongod: Option<PathBuf>,
    /// `$PATH`: a list of directories.
    pub(super) path: Option<OsString>,
    /// The directory of this user's caches; `None` if the user has no home.
    pub(super) cache_directory: Option<PathBuf>,
}

impl BinarySearch {
    /// Reads `MONGOD`, `PATH`, `XDG_CACHE_HOME` and `HOME`.
    ///
    /// The only function outside `config` that reads the environment: these variables say where programs and caches
    /// are on this machine and do not configure the server. The integration tests, which start a database without a
    /// `Config`, find `mongod` in the same way.
    pub(super) fn from_environment() -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        // A relative path is to be ignored (XDG Base Directory Specification).
        let cache_home = set("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            mongod: set("MONGOD").map(PathBuf::from),
            path: set("PATH"),
            cache_directory: cache_home.or_else(|| env::home_dir().map(|home| home.join(".cache"))),
        }
    }

    /// The path of an executable `mongod`, downloaded into the cache if there is none.
    ///
    /// # Errors
    /// `$MONGOD` is not executable (nothing else is tried then), or the download failed.
    pub(super) async fn find(&self) -> Result<PathBuf, EmbeddedError> {
        if let Some(path) = &self.mongod {
            let named = || EmbeddedError::NotExecutable { path: path.clone() };
            return if is_executable(path) { Ok(path.clone()) } else { Err(named()) };
        }
        if let Some(found) = self.in_path() {
            return Ok(found);
        }
        let cache = self.cache_directory.as_deref().ok_or(EmbeddedError::NoCacheDirectory)?;
        let directory = cache.join("flash-sale").join(format!("mongod-{MONGOD_VERSION}"));
        let cached = directory.join("mongod");
        if !is_executable(&cached) {
            fetch::fetch_into(&directory, &cached).await?;
        }
        Ok(cached)
    }

    fn in_path(&self) -> Option<PathBuf> {
        let directories = env::split_paths(self.path.as_ref()?);
        directories.map(|directory| directory.join("mongod")).find(|candidate| is_executable(candidate))
    }
}

/// Whether this is a file with an execute permission for anybody.
pub(super) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::embedded::data_directory::tests::Scratch;

    fn place_program(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn the_named_program_comes_first_then_the_path_then_the_cache() {
        let root = Scratch::new("search");
        let named = root.path().join("named");
        let in_path = root.path().join("bin/mongod");
        let cached = root.path().join(format!("flash-sale/mongod-{MONGOD_VERSION}/mongod"));
        for program in [&named, &in_path, &cached] {
            place_program(program, 0o755);
        }
        place_program(&root.path().join("unusable/mongod"), 0o644);

        let directories = ["unusable", "bin"].map(|name| root.path().join(name));
        let mut search = BinarySearch {
            mongod: Some(named.clone()),
            path: Some(env::join_paths(directories).unwrap()),
            cache_directory: Some(root.path().to_owned()),
        };
        assert_eq!(search.find().await.unwrap(), named);
        search.mongod = None;
        assert_eq!(search.find().await.unwrap(), in_path);
        search.path = None;
        assert_eq!(search.find().await.unwrap(), cached);
    }

    #[tokio::test]
    async fn a_named_program_that_cannot_be_executed_is_an_error_that_names_it() {
        let root = Scratch::new("named");
        let plain_file = root.path().join("notes.txt");
        place_program(&plain_file, 0o644);
        for unusable in [plain_file, root.path().join("absent"), root.path().to_owned()] {
            let search = BinarySearch { mongod: Some(unusable.clone()), path: None, cache_directory: None };
            let message = search.find().await.unwrap_err().to_string();
            assert!(message.contains(unusable.to_str().unwrap()), "{message}");
        }
    }
}
