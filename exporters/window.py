"""Extremes inside the scrape window: what happened between two scrapes. Pure.

A scrape sees one sample; a burst between two scrapes is lost. The window holds the last readings of a GPU and gives
their minimum, maximum and mean over at least one interval of the slowest scraper, so that two Prometheus replicas both
see every extreme (a window that is reset by each scrape would show it to one of them only).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

MAX_SAMPLES = 640
"""Two minutes at the fastest period of 0.2 s."""
MIN_WINDOW_SECONDS = 5.0
MAX_WINDOW_SECONDS = 120.0
MAX_SCRAPERS = 16
FORGET_SCRAPER_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSample:
    """What a window keeps of one reading; None where it was not read."""

    at_seconds: float
    temperature_celsius: float | None
    margin_celsius: float | None
    power_watts: float | None
    utilization_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Minimum, maximum and mean of one quantity."""

    minimum: float
    maximum: float
    mean: float


def _statistics(values: list[float]) -> Statistics | None:
    if not values:
        return None
    return Statistics(minimum=min(values), maximum=max(values), mean=sum(values) / len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStatistics:
    """Statistics of one GPU's window; None where nothing was read."""

    temperature_celsius: Statistics | None
    margin_celsius: Statistics | None
    power_watts: Statistics | None
    utilization_ratio: Statistics | None


class Window:
    """The last readings of one GPU."""

    def __init__(self) -> None:
        """Begin empty."""
        self._samples: deque[WindowSample] = deque(maxlen=MAX_SAMPLES)

    def add(self, sample: WindowSample) -> None:
        """Keep ``sample``; the oldest goes when the window is full."""
        self._samples.append(sample)

    def statistics(self, now_seconds: float, length_seconds: float) -> WindowStatistics:
        """Return the statistics of the samples of the last ``length_seconds``."""
        since = now_seconds - length_seconds
        inside = list(self._newer_than(since))
        return WindowStatistics(
            temperature_celsius=_statistics(
                [s.temperature_celsius for s in inside if s.temperature_celsius is not None]
            ),
            margin_celsius=_statistics([s.margin_celsius for s in inside if s.margin_celsius is not None]),
            power_watts=_statistics([s.power_watts for s in inside if s.power_watts is not None]),
            utilization_ratio=_statistics([s.utilization_ratio for s in inside if s.utilization_ratio is not None]),
        )

    def _newer_than(self, since_seconds: float) -> Iterator[WindowSample]:
        for sample in reversed(self._samples):
            if sample.at_seconds < since_seconds:
                return
            yield sample


class ScrapeIntervals:
    """Learns how long the window must be from who scrapes how often."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._scrapers: dict[str, tuple[float, float]] = {}

    def note(self, scraper: str, now_seconds: float) -> None:
        """Record a scrape by ``scraper`` (its address)."""
        last = self._scrapers.pop(scraper, None)
        interval = 0.0 if last is None else now_seconds - last[0]
        self._scrapers[scraper] = (now_seconds, interval)
        if len(self._scrapers) > MAX_SCRAPERS:
            # Dictionaries keep order, and a scrape moves its scraper to the end: the first one is the longest silent.
            del self._scrapers[next(iter(self._scrapers))]

    def window_seconds(self, now_seconds: float) -> float:
        """Return the longest interval of those who still scrape, within the bounds."""
        longest = max(
            (interval for at, interval in self._scrapers.values() if now_seconds - at < FORGET_SCRAPER_SECONDS),
            default=0.0,
        )
        return min(max(longest, MIN_WINDOW_SECONDS), MAX_WINDOW_SECONDS)
