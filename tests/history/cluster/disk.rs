//! A small file system for the data of one member, so that its disk can be full without that of the machine.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate};

/// What fits on it; the file behind it takes only what is written. A long run leaves much of it free.
const SIZE: u64 = 2 << 30;
/// The ballast grows by so much at first, and by half of it where that is too much, down to one block.
const BALLAST_STEP: u64 = 1 << 30;
const BLOCK: u64 = 4 << 10;

/// A file with a file system in it, mounted until this is dropped.
#[derive(Debug)]
pub struct Disk {
    mounted_at: PathBuf,
}

impl Disk {
    /// Mounts one at this directory, which has to be there.
    ///
    /// # Errors
    /// Why that does not work: mostly because it takes root and a loop device.
    pub fn mount(directory: &Path) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::other("only root may mount"));
        }
        let image = directory.with_extension("image");
        File::create(&image)?.set_len(SIZE)?;
        // Nothing is set aside for root, who runs the member.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(directory))?;
        Ok(Self { mounted_at: directory.into() })
    }

    /// Takes every block that is free.
    pub fn fill(&self) -> io::Result<()> {
        let ballast = OpenOptions::new().create(true).append(true).open(self.ballast())?;
        let (mut length, mut step) = (ballast.metadata()?.len(), BALLAST_STEP);
        while step >= BLOCK {
            match fallocate(&ballast, FallocateFlags::empty(), length, step) {
                Ok(()) => length += step,
                Err(_) => step /= 2,
            }
        }
        Ok(())
    }

    /// Frees them again.
    pub fn free(&self) {
        drop(fs::remove_file(self.ballast()));
    }

    fn ballast(&self) -> PathBuf {
        self.mounted_at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.mounted_at);
    }
}

/// Unmounts what a process that is gone has left mounted in its directory.
pub fn unmount_all_in(directory: &Path) {
    let Ok(directory) = directory.canonicalize() else { return };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    // Blanks in a path are written in octal.
    let places = places.map(|place| PathBuf::from(place.replace("\\040", " ")));
    places.filter(|place| place.starts_with(&directory)).for_each(|place| unmount(&place));
}

/// Lazily: whoever looks at it, a shell for example, does not keep it mounted.
fn unmount(place: &Path) {
    if let Err(error) = run(Command::new("umount").arg("--lazy").arg(place)) {
        eprintln!("{} stays mounted: {error}", place.display());
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
