"""Who may act: one replica at a time holds a Lease, and knows by its own clock when it no longer does.

Safety rests on three things. A leader counts its term from before it sent the renewal, on a clock that nobody sets and
that runs through a suspended machine. It asks :meth:`LeaseElector.fence` before every write, which compares clocks and
waits for nobody, so that a hung renewal cannot prolong a term; a watchdog thread tells the rest of the process. And
each term has an epoch (``leaseTransitions``, which only grows) that every write carries, so that the API refuses what
a former leader sends late. A follower never compares wall clocks: it waits until the record has not changed for the
duration that the record states.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from controller.errors import ControllerError
from controller.operator.kubernetes.client import KubernetesClient
from controller.operator.kubernetes.errors import ConflictError, KubernetesError, MissingError
from controller.operator.kubernetes.resources import JsonObject, Resource

LEASE_API = "coordination.k8s.io/v1"
MIN_DURATION_SECONDS = 1


class NotLeadingError(ControllerError):
    """This replica does not lead, or not any more: it must not write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """How a lease is held; the defaults are those of kube-controller-manager.

    Attributes:
        namespace: Where the Lease lies.
        name: Its name.
        identity: Who we are, unique for each process.
        duration_seconds: Silence of a leader after which others may take over, whole seconds.
        renew_deadline_seconds: A leader that could not renew for this long stops; below the duration, and the
            difference is what its last write may still take.
        retry_seconds: Time between tries.
    """

    namespace: str
    name: str
    identity: str
    duration_seconds: int = 15
    renew_deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __post_init__(self) -> None:
        """Refuse times that cannot be safe.

        Raises:
            ValueError: If they are not in order.
        """
        if not 0.0 < self.retry_seconds < self.renew_deadline_seconds < self.duration_seconds:
            raise ValueError("a lease needs retry < renew deadline < duration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One stretch of leading: its epoch, and until when it lasts unless renewed, by the elector's clock."""

    epoch: int
    ends_at: float


def steady_seconds() -> float:
    """Return a clock that only grows and that counts the time that the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class LeaseElector:
    """Takes, renews and gives back a Lease.

    Args:
        client: Connections of its own, so that no other traffic can delay a renewal.
        settings: How.
        clock: Seconds that only grow.
        on_change: Told when leading begins (True) and ends (False), from a thread of the elector.
    """

    def __init__(
        self,
        client: KubernetesClient,
        settings: LeaseSettings,
        *,
        clock: Callable[[], float] = steady_seconds,
        on_change: Callable[[bool], None] = lambda leading: None,
    ) -> None:
        """Hold nothing yet."""
        self._client = client
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._resource = Resource(api_version=LEASE_API, plural="leases", namespace=settings.namespace)
        self._lock = threading.Lock()
        self._term: Term | None = None
        self._telling = threading.Lock()
        self._told_leading = False
        self._least_epoch = 0
        self._seen: JsonObject | None = None
        self._record: tuple[str, int, str] | None = None
        self._seen_at = 0.0
        self._log = structlog.get_logger().bind(lease=settings.name, identity=settings.identity)
        self.problem = ""

    # -- what the rest of the process asks ---------------------------------------------------------------------------

    @property
    def is_leading(self) -> bool:
        """Whether this replica may write now."""
        term = self._term
        return term is not None and self._clock() < term.ends_at

    def fence(self) -> int:
        """Return the epoch to write with.

        Raises:
            NotLeadingError: If the term is over; nothing may be written then.
        """
        term = self._term
        if term is None or self._clock() >= term.ends_at:
            raise NotLeadingError("this replica does not lead; the leader acts")
        return term.epoch

    def outrank(self, epoch: int) -> None:
        """Step down and lead again only with a higher epoch than one that was found (the Lease was deleted)."""
        with self._lock:
            self._least_epoch = max(self._least_epoch, epoch)
            self._term = None
        self._log.warning("lease.outranked", epoch=epoch)

    def pause_seconds(self) -> float:
        """Return how long to wait for the next try: at most the retry time, less when the lease runs out before."""
        # Jitter, so that followers do not fight for a free lease in step. They look a little more often than the retry
        # time says, so that what they see late and the requests of a takeover fit into one retry together.
        share = random.uniform(0.8, 1.0) if self.is_leading else random.uniform(0.6, 0.9)
        pause_seconds, seen = self._settings.retry_seconds * share, self._seen
        if seen is None or self.is_leading:
            return pause_seconds
        left_seconds = self._free_at(seen) - self._clock()
        return min(pause_seconds, left_seconds) if left_seconds > 0.0 else pause_seconds

    # -- threads -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Try for the lease until told to stop, then give it back.

        Args:
            stop: Set when the process ends.
        """
        while not stop.is_set():
            self.attempt()
            stop.wait(self.pause_seconds())
        self.release()

    def watch_deadline(self, stop: threading.Event) -> None:
        """Tell the process when leading begins and ends, however long a renewal hangs. Runs in a thread of its own.

        Args:
            stop: Set when the process ends.
        """
        while not stop.wait(self._settings.retry_seconds / 10.0):
            self._tell()

    def _tell(self) -> None:
        """Call ``on_change`` when the answer to "do we lead" has changed since the last call."""
        with self._telling:
            leading, term = self.is_leading, self._term
            if leading == self._told_leading:
                return
            self._told_leading = leading
            self._log.info("lease.acquired" if leading else "lease.lost", epoch=term.epoch if term else None)
            self._on_change(leading)

    # -- the protocol ------------------------------------------------------------------------------------------------

    def attempt(self) -> bool:
        """Renew, or take the lease if it is free; one try, bounded by the client's time limits.

        Returns:
            Whether this replica leads now.
        """
        asked_at = self._clock()
        try:
            self._attempt(asked_at)
            self.problem = ""
        except ConflictError:
            self._seen = None  # somebody wrote in between: look again at the next try
        except KubernetesError as error:
            self._seen = None
            self.problem = str(error)
            self._log.warning("lease.attempt_failed", error=str(error), leading=self.is_leading)
        return self.is_leading

    def release(self) -> None:
        """Give the lease back, so that another replica need not wait; without an answer it runs out by itself."""
        with self._lock:
            term, self._term = self._term, None
        if term is None:
            return
        try:
            lease = self._client.get(self._resource, self._settings.name)
            if _holder(lease) == self._settings.identity and _epoch(lease) == term.epoch:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": MIN_DURATION_SECONDS}
                self._client.replace(self._resource, self._settings.name, lease)
                self._log.info("lease.released", epoch=term.epoch)
        except KubernetesError as error:
            self._log.warning("lease.release_failed", error=str(error))

    def _attempt(self, asked_at: float) -> None:
        """Do one try; raises what the API answers."""
        name, identity = self._settings.name, self._settings.identity
        term = self._term
        if term is not None and asked_at >= term.ends_at:
            term = None  # too late to renew: this would be another term, and needs another epoch
        lease = self._seen if term is not None and self._seen is not None else self._read()
        if lease is None:
            epoch = self._least_epoch + 1
            body: JsonObject = {
                "apiVersion": LEASE_API,
                "kind": "Lease",
                "metadata": {"name": name},
                "spec": self._spec(epoch, None),
            }
            self._take(self._client.create(self._resource, body), epoch, asked_at)
            return
        if term is not None and _holder(lease) == identity and _epoch(lease) == term.epoch:
            body = {**lease, "spec": self._spec(term.epoch, lease["spec"])}
            self._take(self._client.replace(self._resource, name, body), term.epoch, asked_at)
            return
        self._term = None  # what we held is not ours any more
        if not self._is_free(lease):
            return
        epoch = max(_epoch(lease), self._least_epoch) + 1
        body = {**lease, "spec": self._spec(epoch, None)}
        self._take(self._client.replace(self._resource, name, body), epoch, asked_at)

    def _read(self) -> JsonObject | None:
        """Return the lease as it is now; None when there is none. Remembers since when it looks like this."""
        try:
            lease = self._client.get(self._resource, self._settings.name)
        except MissingError:
            return None
        if self._record != _record(lease):
            self._record = _record(lease)
            self._seen_at = self._clock()
        self._seen = lease
        return lease

    def _is_free(self, lease: JsonObject) -> bool:
        """Return whether nobody holds the lease: given back, ours from before, or silent for as long as it states."""
        if _holder(lease) in ("", self._settings.identity):
            return True
        return self._clock() >= self._free_at(lease)

    def _free_at(self, lease: JsonObject) -> float:
        """Return when a lease that nobody renews runs out, by our clock: counted from when we first saw it so."""
        stated = lease["spec"].get("leaseDurationSeconds") or self._settings.duration_seconds
        return self._seen_at + max(int(stated), MIN_DURATION_SECONDS)

    def _take(self, lease: JsonObject, epoch: int, asked_at: float) -> None:
        """Take note that the API has accepted us, unless we were told to outrank this epoch meanwhile."""
        self._seen = lease
        with self._lock:
            if epoch > self._least_epoch:
                self._term = Term(epoch=epoch, ends_at=asked_at + self._settings.renew_deadline_seconds)
        self._tell()

    def _spec(self, epoch: int, before: JsonObject | None) -> JsonObject:
        """Return the lease's content; a renewal keeps the time at which it was acquired."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": self._settings.duration_seconds,
            "acquireTime": now if before is None else before.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": epoch,
        }


def _holder(lease: JsonObject) -> str:
    """Return who holds the lease; empty for nobody."""
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def _epoch(lease: JsonObject) -> int:
    """Return the lease's epoch."""
    return int(lease.get("spec", {}).get("leaseTransitions") or 0)


def _record(lease: JsonObject) -> tuple[str, int, str]:
    """Return what changes when a holder renews; labels that somebody adds do not prolong its term."""
    return _holder(lease), _epoch(lease), str(lease.get("spec", {}).get("renewTime") or "")
