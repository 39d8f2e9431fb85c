//! A clock of its own for a member, which can be set: the library libfaketime answers in the place of the kernel.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::{fs, io};

/// The clock of one member. Only the time of day: what measures how much time has passed never jumps.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    /// How much it is ahead. The library reads it every second.
    file: PathBuf,
    /// What is in the file.
    ahead_seconds: AtomicI64,
}

impl Clock {
    /// One that is right, with its file in this directory.
    ///
    /// # Errors
    /// If the library is not where Debian's package `faketime` puts it.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
        if !Path::new(&library).exists() {
            return Err(io::Error::other(format!("there is no {library}")));
        }
        let clock =
            Self { library: library.into(), file: directory.join("clock"), ahead_seconds: AtomicI64::new(0) };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it this much ahead of the machine's clock. It takes a second until the member sees it.
    pub fn set(&self, ahead_seconds: i64) -> io::Result<()> {
        let whole = self.file.with_extension("new");
        fs::write(&whole, format!("{ahead_seconds:+}s\n"))?;
        fs::rename(whole, &self.file)?;
        self.ahead_seconds.store(ahead_seconds, Ordering::Relaxed);
        Ok(())
    }

    /// By how many milliseconds this, which it shows, is not what it was set to last.
    pub fn error_of(&self, shown_ms: i64) -> i64 {
        let here = mongodb::bson::DateTime::now().timestamp_millis();
        shown_ms - here - 1_000 * self.ahead_seconds.load(Ordering::Relaxed)
    }

    /// Has the program use it.
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // Otherwise each wait on the monotonic clock ends at once, and mongod spins.
            .env("FAKETIME_FORCE_MONOTONIC_FIX", "0")
            .env("NO_FAKE_STAT", "1");
    }

    /// Removes the names of the memory that the library would share with children of a program, which has none: a program
    /// that is killed leaves them.
    pub fn forget(process_id: u32) {
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            drop(fs::remove_file(format!("/dev/shm/{name}{process_id}")));
        }
    }
}
