"""From the answers to batched queries to one value a pool, or a region and tier: typed, never made up. Pure.

The cases of a key in an answer: one series, a value; no series, nothing; NaN, nothing and a note; several series that
agree, their value (two scrapers of one fleet); several that differ, a contradiction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from controller.adapters.observation.signals import RULE_PREFIX, Signal
from controller.adapters.prometheus import Answer, Reading
from controller.types import Freshness, Sample
from forecasting.types import utc_from_timestamp

Value = TypeVar("Value")
Key = tuple[str, ...]

AGREEMENT_RATIO = 0.01
AGREEMENT = 0.5
"""Two series of one key agree within this ratio or this distance, whichever is wider: degrees, watts, requests."""
MAX_AHEAD_SECONDS = 5.0
"""A clock that runs ahead by less is taken for the present; by more, for a contradiction."""

KEYS: dict[Signal, tuple[str, ...]] = {
    Signal.HOTTEST: ("pool", "node"),
    Signal.FIRST_RATE: ("region", "tier"),
    Signal.FIRST_AT: ("region", "tier"),
    Signal.SERVED_RATE: ("region", "tier"),
    Signal.QUEUE: ("region", "tier"),
    Signal.QUEUE_AT: ("region",),
    Signal.WAIT: ("region",),
}
"""Labels that name the values of a signal; those that are not listed are by pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All answers of one look at the metrics.

    Attributes:
        values: By signal and key.
        contradictions: Signal and key of what had several values.
        problems: Signals without an answer, and what is wrong with answers, in sentences.
    """

    values: Mapping[Signal, Mapping[Key, float]] = field(default_factory=dict)
    contradictions: frozenset[tuple[Signal, Key]] = frozenset()
    problems: tuple[str, ...] = ()

    def get(self, signal: Signal, *key: str) -> float | None:
        """Return a value; None where there is none."""
        return self.values.get(signal, {}).get(key)

    def keys(self, signal: Signal) -> tuple[Key, ...]:
        """Return the keys that a signal has values for."""
        return tuple(self.values.get(signal, {}))

    def contradicts(self, key: Key, *signals: Signal) -> bool:
        """Return whether one of some signals had several values for a key."""
        return any((signal, key) in self.contradictions for signal in signals)


def split_recorded(answer: Answer) -> Mapping[Signal, Answer]:
    """Return the answer to the one query for all recorded signals, signal by signal.

    Args:
        answer: The answer; a problem of it is a problem of every signal.

    Returns:
        One answer a signal; one without series where a rule has recorded nothing.
    """
    if answer.problem is not None:
        return dict.fromkeys(Signal, answer)
    rows: dict[str, list[Reading]] = {f"{RULE_PREFIX}{signal.value}": [] for signal in Signal}
    for row in answer.readings:
        if (named := rows.get(row.labels.get("__name__", ""))) is not None:
            named.append(row)
    return {signal: Answer(readings=tuple(rows[f"{RULE_PREFIX}{signal.value}"])) for signal in Signal}


def tabulate(answers: Mapping[Signal, Answer]) -> Table:
    """Return the answers as one table.

    Args:
        answers: One a signal; what was not asked is missing.

    Returns:
        The table.
    """
    values: dict[Signal, dict[Key, float]] = {}
    contradictions: set[tuple[Signal, Key]] = set()
    problems: list[str] = []
    for signal, answer in answers.items():
        if answer.problem is not None:
            problems.append(f"{signal.value}: {answer.problem}")
            continue
        if answer.num_not_a_number:
            problems.append(f"{signal.value}: {answer.num_not_a_number} series are not a number and count as absent")
        names = KEYS.get(signal, ("pool",))
        found = values.setdefault(signal, {})
        num_unnamed = 0
        for row in answer.readings:
            key = tuple([row.labels.get(name, "") for name in names])
            if not key[0]:
                num_unnamed += 1
            elif key in found and not _agree(found[key], row.value):
                contradictions.add((signal, key))
            else:
                found.setdefault(key, row.value)
        if num_unnamed:
            problems.append(f"{signal.value}: {num_unnamed} series carry no label {names[0]}; add it by relabelling")
    problems += [f"{signal.value}: several values for {'/'.join(key)}" for signal, key in sorted(contradictions)]
    return Table(values=values, contradictions=frozenset(contradictions), problems=tuple(problems))


def sample(
    value: Value | None,
    seconds: float | None,
    now: datetime,
    *,
    stale_after_seconds: float,
    contradictory: bool = False,
) -> Sample[Value]:
    """Return a value with its age.

    Args:
        value: The value; None is absent.
        seconds: Unix time at which it was scraped; without it the value cannot be aged and is absent.
        now: The present.
        stale_after_seconds: Older is stale.
        contradictory: Whether other evidence speaks against it.

    Returns:
        The sample.
    """
    if value is None or seconds is None or not math.isfinite(seconds):
        return Sample.absent()
    as_of = utc_from_timestamp(seconds)
    ahead = as_of - now
    if contradictory or ahead > timedelta(seconds=MAX_AHEAD_SECONDS):
        return Sample(value=value, as_of=min(as_of, now), freshness=Freshness.CONTRADICTORY)
    return Sample.fresh(value, min(as_of, now)).aged(now, stale_after_seconds=stale_after_seconds)


def _agree(first: float, second: float) -> bool:
    """Return whether two values of one key may be the same thing seen twice."""
    if first == second:
        return True
    if not (math.isfinite(first) and math.isfinite(second)):
        return False
    return abs(first - second) <= max(AGREEMENT, AGREEMENT_RATIO * max(abs(first), abs(second)))
