"""Reads a recording for ``meltguard replay``: the same files and options as ``meltguard forecast`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import UsageError

if TYPE_CHECKING:
    from controller.simulator.scenario import Scenario
    from forecasting.types import DemandSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where recorded users come from.

    Attributes:
        signups: ``FILE[:COLUMN]``.
        requests: ``FILE[:COLUMN]`` of recorded load; None lets requests follow from sign-ups.
        time_column: ``NAME[:end]``.
        counter: Whether the columns are cumulative.
        start: Begin of the replay, ISO-8601 with zone; None is the begin of the recording.
    """

    signups: str
    requests: str | None
    time_column: str
    counter: bool
    start: str | None

    def put_into(self, scenario: Scenario) -> Scenario:
        """Return the scenario with these users.

        Raises:
            UsageError: If the recording does not fit.
            InputError: If a file cannot be used.
        """
        from controller.simulator.recorded import with_recording
        from forecasting.durations import parse_option_time

        begin = None if self.start is None else parse_option_time(self.start, name="--start")
        return with_recording(
            scenario,
            signups=self._read(self.signups, "signups"),
            requests=None if self.requests is None else self._read(self.requests, "requests"),
            start=begin,
            source=Path(self.signups.rsplit(":", 1)[0]).name,
        )

    def _read(self, text: str, role: str) -> DemandSeries:
        """Return the one series of a file."""
        from forecasting.io import file_exists, read_series
        from forecasting.tables import TableRequest

        path, column = text, None
        if not file_exists(text) and ":" in text:
            path, column = text.rsplit(":", 1)
        request = TableRequest(
            source=path,
            column=column,
            role=role,
            time_column=self.time_column.removesuffix(":end"),
            marks_end=self.time_column.endswith(":end"),
            counter=self.counter,
        )
        series = read_series(path, request).series
        if len(series) != 1:
            raise UsageError(f"{path}: holds {len(series)} series; a replay takes one, without region and tier columns")
        return series[0]


def with_duration(scenario: Scenario, text: str | None) -> Scenario:
    """Return the scenario with another length; None keeps its own.

    Raises:
        UsageError: If the run would be longer than the simulator allows.
        InputError: If the text is not a duration.
    """
    import msgspec

    from controller.simulator.scenario import MAX_STEPS
    from forecasting.durations import parse_duration

    if text is None:
        return scenario
    changed = msgspec.structs.replace(scenario, duration_seconds=parse_duration(text, name="--duration"))
    if not 1 <= changed.num_steps <= MAX_STEPS:
        longest_hours = MAX_STEPS * scenario.step_seconds / 3600.0
        raise UsageError(f"--duration: {text!r} is out of range; this scenario runs for at most {longest_hours:.0f}h")
    return changed
