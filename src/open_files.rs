//! How many files this process may have open at once. Each connection counts as one.

use std::io;

/// Raises the soft limit of open files to the hard limit: the usual soft limit of 1,024 is for programs that use
/// `select`. Returns the new limit; `None` if there is none.
///
/// # Errors
/// Those of the operating system; then the limit is unchanged.
pub fn raise_limit() -> io::Result<Option<u64>> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        Ok(limit.maximum)
    }
    #[cfg(not(unix))]
    Ok(None)
}
