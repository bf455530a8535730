"""Which of the events of ``tests.injected_faults`` the shipped rules call, and how soon; promtool evaluates them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.injected_faults import HARDWARE_FAULTS, TELEMETRY_FAULTS, Fault
from tests.injected_faults_service import CONTROLLER_FAULTS, RULES_FAULTS, SERVICE_FAULTS
from tests.replayed_rules import Answer, Series, ask, files_of, in_cluster

FAULTS: tuple[Fault, ...] = (
    *HARDWARE_FAULTS,
    *TELEMETRY_FAULTS,
    *CONTROLLER_FAULTS,
    *SERVICE_FAULTS,
    *RULES_FAULTS,
)
MAX_SAMPLES = 5000
"""Samples of alerts in one question; promtool answers none of more than 10,000."""
_BY = "cluster, alertname, severity, scope, long, rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the events of one kind.

    Attributes:
        fault: The kind.
        delays_seconds: From the beginning of each event that was called in time to the alert.
        num_late: Events that were called later than they should have been.
        num_missed: Events that were never called.
        num_early: Events before which the alert fired already, a false alarm.
    """

    fault: Fault
    delays_seconds: tuple[float, ...]
    num_late: int
    num_missed: int
    num_early: int

    @property
    def num_events(self) -> int:
        """All events of the kind."""
        return len(self.delays_seconds) + self.num_late + self.num_missed + self.num_early


def call_faults(
    faults: Sequence[Fault], *, num_events: int, seed: int, promtool: str, directory: Path
) -> Iterator[Outcome]:
    """Replay events of every kind and yield what became of them.

    Args:
        faults: The kinds.
        num_events: How many of each.
        seed: Of the random draws; each kind has a generator of its own.
        promtool: Path of the program.
        directory: Where its input is written.

    Yields:
        One outcome a kind, in order.
    """
    for fault in faults:
        rng = np.random.default_rng([seed, zlib.crc32("/".join(fault.key).encode())])
        times = np.arange(round(fault.hours * 3600.0 / fault.step_seconds)) * float(fault.step_seconds)
        courses = [fault.draw(rng, times) for _ in range(num_events)]
        fleets = [[number] for number in range(num_events)] if fault.alone else [list(range(num_events))]
        firsts: dict[int, float] = {}
        for fleet in fleets:
            series: Series = {}
            for number in fleet:
                for name, values in courses[number].series.items():
                    series[in_cluster(name, f"fleet-{number}")] = values
            for answer in _first_firings(fault, series, len(times), promtool, directory):
                number = fleet[0] if fault.alone else int(answer.labels["cluster"].removeprefix("fleet-"))
                firsts[number] = min(answer.value, firsts.get(number, np.inf))
        yield _outcome(
            fault, [firsts.get(number, np.inf) - courses[number].start_seconds for number in range(num_events)]
        )


def _first_firings(fault: Fault, series: Series, num_samples: int, promtool: str, directory: Path) -> list[Answer]:
    where = "".join(f',{name}="{value}"' for name, value in fault.labels.items())
    firing = f'timestamp(ALERTS{{alertname="{fault.alert}",alertstate="firing"{where}}})'
    # Looked at piece by piece: promtool's engine holds few samples at a time.
    num_fleets = len({name.partition('cluster="')[2].partition('"')[0] for name in series})
    piece = fault.step_seconds * max(1, MAX_SAMPLES // num_fleets)
    question = f"min by ({_BY}) (min_over_time({firing}[{piece}s:{fault.step_seconds}s]))"
    last = (num_samples - 1) * fault.step_seconds
    return ask(
        series,
        [(question, min(at, last)) for at in range(piece, last + piece, piece)],
        step_seconds=fault.step_seconds,
        promtool=promtool,
        directory=directory,
        files=fault.files or files_of(fault.alert),
    )


def _outcome(fault: Fault, delays: list[float]) -> Outcome:
    return Outcome(
        fault=fault,
        delays_seconds=tuple(delay for delay in delays if 0.0 <= delay <= fault.within_seconds),
        num_late=sum(fault.within_seconds < delay < np.inf for delay in delays),
        num_missed=sum(delay == np.inf for delay in delays),
        num_early=sum(delay < 0.0 for delay in delays),
    )
