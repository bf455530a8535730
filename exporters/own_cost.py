"""What the exporter itself costs: memory and processor time of its processes, from ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from exporters import metric_names as names
from exporters.exposition import Sample

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process; None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


def cpu_seconds(pid: int) -> float | None:
    """Return user plus system time of a process; None when it is gone."""
    try:
        # The name in parentheses may hold spaces; the fields after it do not.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
    except (OSError, IndexError, ValueError):
        return None


class CpuAccount:
    """Processor time by role; goes on growing when a process is replaced."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._finished: dict[str, float] = {}
        self._present: dict[str, tuple[int, float]] = {}

    def update(self, role: str, pid: int, seconds: float) -> float:
        """Record the time of the process that now plays a role; return the role's total.

        Args:
            role: The role.
            pid: The process that plays it now.
            seconds: Its processor time so far.

        Returns:
            Seconds of all processes that have played the role.
        """
        before = self._present.get(role)
        if before is not None and before[0] != pid:
            self._finished[role] = self._finished.get(role, 0.0) + before[1]
        self._present[role] = (pid, seconds)
        return self._finished.get(role, 0.0) + seconds


def cost_samples(pids: Mapping[str, int], account: CpuAccount) -> Iterator[Sample]:
    """Yield memory and processor time of the processes by role."""
    for role, pid in pids.items():
        memory, seconds = resident_bytes(pid), cpu_seconds(pid)
        if memory is not None:
            yield Sample(family=names.EXPORTER_RESIDENT_MEMORY, labels=(role,), value=memory)
        if seconds is not None:
            total = round(account.update(role, pid, seconds), 3)
            yield Sample(family=names.EXPORTER_CPU_SECONDS, labels=(role,), value=total)
