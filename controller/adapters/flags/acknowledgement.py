"""Who holds which flags: read back from the consumers' own metrics, and how long that took.

Nothing else in the chain acknowledges: a ConfigMap and a FeatureFlag have no status, and a stream that was written to
may end in a consumer that hangs. The time from write to acknowledgement is learned, because limits must live several
times as long as it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from controller.adapters.ports import Acknowledgement
from controller.adapters.prometheus import PrometheusClient, Reading
from controller.types import Sample
from exporters.metric_names import FLAGS_AGE, FLAGS_REVISION

MAX_OPEN_WRITES = 32
"""Writes whose acknowledgement is waited for; older ones were overtaken."""
MAX_LEARNED = 64
MIN_LEARNED = 5
"""Propagation times that must be seen before they replace the prior."""
UPPER_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgementSettings:
    """How consumers are asked.

    Attributes:
        selector: PromQL label matchers of the consumers, such as ``namespace="serving"``; empty asks all.
        recent_seconds: A consumer that was not scraped for this long is gone, not behind.
        prior_seconds: Propagation time until enough was seen.
    """

    selector: str = ""
    recent_seconds: float = 60.0
    prior_seconds: float = 5.0


class Acknowledgements:
    """Asks consumers and learns how long they take.

    Args:
        prometheus: Where their metrics are.
        settings: How to ask.
        learned_seconds: Propagation times from before a restart, oldest first.
    """

    def __init__(
        self,
        prometheus: PrometheusClient,
        settings: AcknowledgementSettings,
        learned_seconds: tuple[float, ...] = (),
    ) -> None:
        """Wait for nothing yet."""
        self._prometheus = prometheus
        self._settings = settings
        self._learned: deque[float] = deque(learned_seconds, maxlen=MAX_LEARNED)
        self._open: dict[int, datetime] = {}
        self._noted_revision = 0

    @property
    def learned_seconds(self) -> tuple[float, ...]:
        """Propagation times that were seen, oldest first."""
        return tuple(self._learned)

    @property
    def propagation_seconds(self) -> float:
        """Propagation time at 95 %; the prior until enough was seen."""
        if len(self._learned) < MIN_LEARNED:
            return max([self._settings.prior_seconds, *self._learned])
        ranked = sorted(self._learned)
        return ranked[min(math.ceil(UPPER_LEVEL * len(ranked)), len(ranked)) - 1]

    def note_write(self, revision: int, now: datetime) -> None:
        """Begin to wait for a revision that was written at ``now``; one that was noted before is not new."""
        if revision <= self._noted_revision:
            return
        self._noted_revision = revision
        self._open[revision] = now
        for overtaken in sorted(self._open)[:-MAX_OPEN_WRITES]:
            del self._open[overtaken]

    def ask(self, revision: int, now: datetime) -> Sample[Acknowledgement]:
        """Ask who holds a revision or a later one.

        Args:
            revision: The revision.
            now: Time of the question.

        Returns:
            The acknowledgement; absent when the metrics do not answer, and without consumers when they name none.
        """
        consumers = self._consumers(now)
        if consumers is None:
            return Sample.absent()
        self._learn(consumers)
        ages = self._prometheus.instant(f"max({FLAGS_AGE.name}{{{self._settings.selector}}})", now)
        revisions = [held for held, _ in consumers]
        return Sample.fresh(
            Acknowledgement(
                revision=revision,
                num_consumers=len(revisions),
                num_holding=sum(1 for held in revisions if held >= revision),
                oldest_revision=min(revisions, default=None),
                oldest_age_seconds=ages.readings[0].value if ages.readings else None,
                propagation_seconds=self.propagation_seconds,
            ),
            now,
        )

    def _consumers(self, now: datetime) -> list[tuple[int, float]] | None:
        """Return revision and scrape time of every consumer that is still scraped; None without an answer."""
        series = f"{FLAGS_REVISION.name}{{{self._settings.selector}}}"
        held, scraped = self._prometheus.instant(series, now), self._prometheus.instant(f"timestamp({series})", now)
        if held.problem is not None or scraped.problem is not None:
            return None
        times = {_identity(row): row.value for row in scraped.readings}
        recent_seconds = now.timestamp() - self._settings.recent_seconds
        return [
            (int(row.value), times[_identity(row)])
            for row in held.readings
            if math.isfinite(row.value) and times.get(_identity(row), -math.inf) >= recent_seconds
        ]

    def _learn(self, consumers: list[tuple[int, float]]) -> None:
        """Close every write that all consumers hold; it took until the latest of the scrapes that show it.

        A scrape shows a flag late by up to its period, so what is learned errs on the long side.
        """
        for revision, written_at in sorted(self._open.items()):
            if not consumers or any(held < revision for held, _ in consumers):
                continue
            del self._open[revision]
            seconds = max(at for _, at in consumers) - written_at.timestamp()
            if seconds >= 0.0:
                self._learned.append(seconds)


def _identity(row: Reading) -> frozenset[tuple[str, str]]:
    """Return what tells one consumer's series from another's; ``timestamp()`` drops the metric's name."""
    return frozenset((key, value) for key, value in row.labels.items() if key != "__name__")
