//! How many files this process may have open at once; each connection is one.

use std::io;

/// Lets the process open as many files as the system allows it: the usual soft limit of 1,024 is for programs that use
/// `select`. Tells how many those are; none when there is no bound, or no such limit on this system.
///
/// # Errors
/// The system's; the limit is what it was.
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
