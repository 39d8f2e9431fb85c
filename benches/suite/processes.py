"""Processes: each is started here, named by what it is, and ended here by its own id."""

import json
import os
import resource
import signal
import socket
import subprocess
import threading

START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 30
# More than one address has ports.
FILES_WANTED = 40_000


class Failed(Exception):
    """A measurement is not possible; the text says why."""


def raise_file_limit():
    """Raises the limit on open files, because each connection is one; children inherit it. Returns the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # Only root may raise the hard limit.
        hard = max(hard, FILES_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def pinned(cores):
    """A `preexec_fn` that keeps a child, with all its threads, on these cores."""
    return (lambda: os.sched_setaffinity(0, cores)) if cores else None


class Process:
    """A program that runs until `stop`. Its standard error goes to a log."""

    def __init__(self, name, command, log_directory, environment=None, cores=None):
        self.name = name
        self.log = log_directory / f"{name}.log"
        settings = {key: os.environ[key] for key in ("PATH", "HOME", "MONGOD") if key in os.environ}
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env={**settings, **(environment or {})}, cwd=log_directory, text=True,
                preexec_fn=pinned(cores))

    @property
    def pid(self):
        return self.child.pid

    def wait_for_line(self, wanted):
        """Reads its output until `wanted` returns a value for a line; returns that value."""
        # Kills a program that hangs at its start, which also ends its output.
        watchdog = threading.Timer(START_SECONDS_MAX, self.child.kill)
        watchdog.start()
        try:
            for line in self.child.stdout:
                found = wanted(line)
                if found:
                    return found
        finally:
            watchdog.cancel()
        raise Failed(f"{self.name} did not start:\n{self.last_words()}")

    def last_words(self):
        return self.log.read_text(errors="replace")[-2000:]

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def rest_of_output(self):
        """Reads its output until it exits by itself."""
        output, _ = self.child.communicate()
        if self.child.returncode != 0:
            raise Failed(f"{self.name} failed:\n{self.last_words()}")
        return output

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.communicate(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def cpu_seconds(pid):
    """The processor time that a process has used so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def json_line(line):
    """Parses a line that is a JSON object; None for other lines."""
    return json.loads(line) if line.startswith("{") else None
