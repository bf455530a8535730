"""From a process on a GPU to its pod: ``/proc/PID/cgroup`` names the pod's UID, the kubelet's log folder its name.

PodResources v1 has no UIDs, hence the second step: the folder ``/var/log/pods`` holds one directory
``NAMESPACE_POD_UID`` per pod. Needs both mounted read-only; without them shares of shared GPUs stay unattributed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_CGROUP_BYTES = 16 * 1024
MAX_PODS = 2_000
_POD_UID = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})")


def pod_uid_of_cgroup(text: str) -> str | None:
    """Return the pod UID in a cgroup path, with dashes; None when the process is in no pod."""
    match = _POD_UID.search(text)
    return match[1].replace("_", "-") if match is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPods:
    """Looks up pods of processes.

    Attributes:
        proc: The host's ``/proc``.
        pod_logs: The host's ``/var/log/pods``.
    """

    proc: Path = Path("/proc")
    pod_logs: Path = Path("/var/log/pods")

    def pods_by_uid(self) -> dict[str, tuple[str, str]]:
        """Return namespace and name by pod UID."""
        try:
            with os.scandir(self.pod_logs) as entries:
                names = [entry.name for entry, _ in zip(entries, range(MAX_PODS), strict=False)]
        except OSError:
            return {}
        found: dict[str, tuple[str, str]] = {}
        for name in names:
            namespace, _, rest = name.partition("_")
            pod, _, uid = rest.rpartition("_")
            if namespace and pod and uid:
                found[uid] = (namespace, pod)
        return found

    def pods_of(self, pids: set[int]) -> dict[int, tuple[str, str]]:
        """Return namespace and name by process id, for the processes that are in a known pod."""
        by_uid = self.pods_by_uid() if pids else {}
        found: dict[int, tuple[str, str]] = {}
        for pid in pids:
            try:
                with (self.proc / str(pid) / "cgroup").open(encoding="ascii", errors="replace") as file:
                    uid = pod_uid_of_cgroup(file.read(MAX_CGROUP_BYTES))
            except OSError:
                continue
            if uid is not None and uid in by_uid:
                found[pid] = by_uid[uid]
        return found
