"""Keeps account of driver calls: which one is in flight, for how long, and what calls cost.

The sources wrap every driver call in ``CallTracker.call``; the collector's main thread reads the account while reader
threads hang. One slot per reader thread, so that no lock is held during a call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from exporters.messages import CallInFlight, CallStatistics

P = ParamSpec("P")
T = TypeVar("T")


class CallTracker:
    """The account of one reader thread.

    Attributes:
        uuid: The GPU that the thread reads; empty for calls that concern no single GPU.
    """

    def __init__(self, uuid: str = "") -> None:
        """Start an empty account for ``uuid``."""
        self.uuid = uuid
        self._in_flight: tuple[str, float] | None = None
        self._costs: dict[str, tuple[int, float, float]] = {}

    def call(self, name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` and account for it under ``name``; exceptions pass through."""
        began = time.monotonic()
        self._in_flight = (name, began)
        try:
            return function(*args, **kwargs)
        finally:
            self._in_flight = None
            seconds = time.monotonic() - began
            count, total, slowest = self._costs.get(name, (0, 0.0, 0.0))
            self._costs[name] = (count + 1, total + seconds, max(slowest, seconds))

    def in_flight(self, now_monotonic: float, longer_than_seconds: float) -> CallInFlight | None:
        """Return the call that has been running for longer than ``longer_than_seconds``, if there is one."""
        present = self._in_flight
        if present is None or now_monotonic - present[1] < longer_than_seconds:
            return None
        return CallInFlight(uuid=self.uuid, call=present[0], since_monotonic=present[1])

    def take_statistics(self) -> dict[str, tuple[int, float, float]]:
        """Return count, total and slowest seconds per call name, and forget the slowest ones."""
        taken = dict(self._costs)
        for name, (count, total, _) in taken.items():
            self._costs[name] = (count, total, 0.0)
        return taken


def merge_statistics(trackers: list[CallTracker]) -> tuple[CallStatistics, ...]:
    """Return the costs of all threads by call name."""
    merged: dict[str, tuple[int, float, float]] = {}
    for tracker in trackers:
        for name, (count, total, slowest) in tracker.take_statistics().items():
            have = merged.get(name, (0, 0.0, 0.0))
            merged[name] = (have[0] + count, have[1] + total, max(have[2], slowest))
    return tuple(
        CallStatistics(call=name, num_calls=count, total_seconds=total, max_seconds=slowest)
        for name, (count, total, slowest) in sorted(merged.items())
    )
