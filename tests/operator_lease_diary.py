"""A watch on the operator's Lease: when each term began and was renewed last, as the API saw it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.operator.kubernetes import errors
from tests.operator_cluster import Cluster


@dataclass(slots=True, kw_only=True)
class TermEntry:
    """One term in the diary, by the clock of this machine.

    Attributes:
        began_at: When the API took its first renewal.
        renewed_at: When the API took its last one so far.
        stamped_at: What that one says of itself: when the leader had sent it.
    """

    began_at: datetime
    renewed_at: datetime
    stamped_at: datetime


class LeaseDiary:
    """Watches the Lease: when the API took each term's first renewal and its last.

    A follower can only count from when the API shows a renewal. One that was held up on its way says that it is older,
    so the diary keeps both times.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Begin to watch."""
        self._cluster = cluster
        self._stop = threading.Event()
        self.terms: dict[int, TermEntry] = {}
        threading.Thread(target=self._run, name="lease-diary", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def takeovers(self) -> dict[int, tuple[float, float]]:
        """Return, by the epoch that ended, the seconds from its last renewal, as taken and as sent, to the next."""
        found = {}
        for epoch, term in self.terms.items():
            after = self.terms.get(epoch + 1)
            if after is not None:
                seconds = (after.began_at - term.renewed_at).total_seconds()
                found[epoch] = seconds, (after.began_at - term.stamped_at).total_seconds()
        return found

    def _run(self) -> None:
        client = self._cluster.client_at(self._cluster.control_plane.url, read_seconds=5.0)
        while not self._stop.is_set():
            try:
                listed = client.list(self._cluster.leases)
                version = listed["metadata"]["resourceVersion"]
                for entry in listed["items"]:
                    self._take(entry["spec"], None)
                events = client.watch(
                    self._cluster.leases, resource_version=version, timeout_seconds=60.0, silence_seconds=5.0
                )
                try:
                    for event in events:
                        self._take(event["object"]["spec"], datetime.now(UTC))
                finally:
                    events.close()
            except errors.KubernetesError:
                continue

    def _take(self, spec: dict[str, Any], at: datetime | None) -> None:
        """Enter a renewal; one that was listed and not watched counts from its stamp, which is never too late."""
        epoch = int(spec.get("leaseTransitions") or 0)
        if not spec.get("holderIdentity"):
            return
        stamped_at = datetime.fromisoformat(spec["renewTime"])
        at = at or stamped_at
        term = self.terms.setdefault(epoch, TermEntry(began_at=at, renewed_at=at, stamped_at=stamped_at))
        if stamped_at > term.stamped_at:
            term.renewed_at, term.stamped_at = at, stamped_at
