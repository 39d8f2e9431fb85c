"""A share of a core for one process: a database on the same machine that is as limited as one on a machine of its own."""

import os
from contextlib import contextmanager
from pathlib import Path

from .processes import Failed

CGROUPS = Path("/sys/fs/cgroup")
# Short, so that a process which has used its share waits for some milliseconds, not for a tenth of a second.
PERIOD_US = 10_000


@contextmanager
def share_of_a_core(pid, share):
    """Lets the process with all its threads, and what it starts from now on, run for `share` of one core's time."""
    quota_us = int(share * PERIOD_US)
    group = None
    try:
        group = make_group(f"flash-sale-benches-{os.getpid()}-{pid}", quota_us)
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        if group:
            group.rmdir()
        raise Failed(f"the database cannot be given a share of a core: {error}. It takes root, and control groups "
                     f"that may be written to at {CGROUPS}") from error
    try:
        yield
    finally:
        # The process has ended, or goes on without a limit.
        for left in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(left)
        group.rmdir()


def make_group(name, quota_us):
    """A control group with that quota, by version 2 or version 1 of them."""
    unified = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if unified else CGROUPS / "cpu") / name
    group.mkdir()
    try:
        if unified:
            (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    except OSError:
        group.rmdir()
        raise
    return group
