//! Programs that end with this one, however it ends.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How often a program that is to end is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

type Order = (Command, Sender<io::Result<Child>>);

/// The kernel ends the programs with the *thread* that has started them: so one that lives as long as the process does it.
static STARTER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (sender, orders) = channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in orders {
            drop(reply.send(command.spawn()));
        }
    });
    sender
});

/// A running program.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it; what it says goes to the end of the file `log`.
    pub fn start(mut command: Command, log: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        end_with_us(&mut command);
        let (reply, started) = channel();
        let gone = |_| io::Error::other("the thread that starts programs is gone");
        STARTER.send((command, reply)).map_err(|_| io::Error::other("no thread starts programs"))?;
        started.recv().map_err(gone)?.map(Self)
    }

    /// The operating system's number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal. As long as nobody has waited for it, its number is its own.
    pub fn signal(&self, signal: Signal) {
        _ = kill_process(Pid::from_child(&self.0), signal);
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until it has ended, or is killed after `patience`. Whether it has ended by itself.
    pub async fn end(mut self, patience: Duration) -> bool {
        let by_itself = async {
            while self.ended().is_none() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(patience, by_itself).await.is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the parent-death signal has to be set between fork and exec")]
fn end_with_us(command: &mut Command) {
    let us = rustix::process::getpid();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the line above: then there will be no signal.
        if rustix::process::getppid() == Some(us) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: in the child of a process with many threads only two system calls are made; nothing allocates or locks.
    unsafe {
        command.pre_exec(in_child);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command) {}
