"""A share of a core for one process, so that a database on this machine is as limited as one on its own machine."""

import os
from contextlib import contextmanager
from pathlib import Path

from .processes import Failed

CGROUPS = Path("/sys/fs/cgroup")
# Short, so that a process that has used its share waits for some milliseconds, not for a tenth of a second.
PERIOD_US = 10_000


@contextmanager
def share_of_a_core(pid, share):
    """Limits the process, its threads and its future children to `share` of one core's time."""
    quota_us = int(share * PERIOD_US)
    group = None
    try:
        group = make_group(f"flash-sale-benches-{os.getpid()}-{pid}", quota_us)
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        if group:
            group.rmdir()
        raise Failed(f"the database cannot be given a share of a core: {error}. It needs root and writable "
                     f"control groups at {CGROUPS}") from error
    try:
        yield
    finally:
        # If the process still runs, it goes on without a limit.
        for left in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(left)
        group.rmdir()


def make_group(name, quota_us):
    """Creates a control group (version 2 or 1) with this quota."""
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
