"""Detection judged against waves that people have labelled: how late each was called, and how often none was there.

The command line hands over the text of a file and the alarms of a backtest. Two formats are read: CSV with columns
``start`` and ``end``, and JSON, either a list of ``[start, end]`` or the Numenta benchmark's ``combined_windows.json``,
an object of such lists by file name. Pure: it opens nothing.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from forecasting.durations import parse_time
from forecasting.errors import InputError

MAX_WAVES = 10_000
"""Windows in one file."""

_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """A labelled window.

    Attributes:
        start: When demand began to rise, aware.
        end: When the wave was over, aware, after ``start``.
    """

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How the alarms met the waves.

    Attributes:
        waves: The waves that begin within the judged span, by start.
        delays_seconds: From a wave's start to the first alarm within it; None where there was none.
        false_alarms: Times of the alarms outside every window. An alarm that came before its window is one of them.
        quiet_days: Judged days outside every window.
    """

    waves: tuple[Wave, ...]
    delays_seconds: tuple[float | None, ...]
    false_alarms: tuple[datetime, ...]
    quiet_days: float

    @property
    def num_detected(self) -> int:
        """Waves with an alarm inside."""
        return sum(delay is not None for delay in self.delays_seconds)

    @property
    def median_delay_seconds(self) -> float | None:
        """Median over all waves, one that was missed counted as the latest; None where the median was missed."""
        if not self.waves:
            return None
        known = sorted(float("inf") if delay is None else delay for delay in self.delays_seconds)
        middle = statistics.median_high(known)
        return None if middle == float("inf") else middle

    @property
    def false_alarms_per_30_days(self) -> float | None:
        """Rate of the false alarms in quiet time; None without quiet time."""
        return 30.0 * len(self.false_alarms) / self.quiet_days if self.quiet_days > 0.0 else None


def judge_alarms(waves: Sequence[Wave], alarms: Sequence[datetime], *, start: datetime, end: datetime) -> Detection:
    """Compare alarms with labelled windows.

    Args:
        waves: The windows, in any order.
        alarms: When a surge was called, ascending.
        start: Begin of the judged span; waves that begin earlier only cover their alarms.
        end: End of the judged span.

    Returns:
        Delays, false alarms and quiet time.
    """
    ordered = sorted(waves, key=lambda wave: wave.start)
    judged = tuple(wave for wave in ordered if start <= wave.start < end)
    delays = tuple(
        next(((alarm - wave.start).total_seconds() for alarm in alarms if wave.start <= alarm <= wave.end), None)
        for wave in judged
    )
    false_alarms = tuple(alarm for alarm in alarms if not any(wave.start <= alarm <= wave.end for wave in ordered))
    busy_seconds, reached = 0.0, start
    for wave in ordered:  # Windows may overlap, so that time already counted is left out.
        low, high = max(wave.start, reached), min(wave.end, end)
        if high > low:
            busy_seconds += (high - low).total_seconds()
            reached = high
    return Detection(
        waves=judged,
        delays_seconds=delays,
        false_alarms=false_alarms,
        quiet_days=((end - start).total_seconds() - busy_seconds) / 86400.0,
    )


def parse_waves(text: str, *, source: str, series_name: str) -> tuple[Wave, ...]:
    """Read labelled windows.

    Args:
        text: The content of a file, CSV or JSON.
        source: What to call it in messages.
        series_name: File name of the series that is judged; chooses among the names of a JSON object.

    Returns:
        The windows, in the order of the file; times without a zone are UTC.

    Raises:
        InputError: If the text is of neither format.
    """
    is_json = text.lstrip("\ufeff \t\r\n").startswith(("{", "["))
    pairs = _json_pairs(text, source, series_name) if is_json else _csv_pairs(text, source)
    if len(pairs) > MAX_WAVES:
        raise InputError(f"{source}: more than {MAX_WAVES} windows; split the file")
    return tuple(_wave(start, end, f"{source}: window {number}") for number, (start, end) in enumerate(pairs, start=1))


def _json_pairs(text: str, source: str, series_name: str) -> list[tuple[object, object]]:
    try:
        document = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not valid JSON; write [[START, END], ...]") from error
    if isinstance(document, dict):
        wanted = series_name.rsplit("/", 1)[-1]
        names = [name for name in document if name.rsplit("/", 1)[-1] == wanted]
        if len(document) == 1 and not names:
            names = list(document)
        if len(names) != 1:
            raise InputError(
                f"{source}: {len(names)} of {len(document)} entries are called '{wanted}';"
                " name the series' file as the labels do, or keep one entry"
            )
        document = document[names[0]]
    if not isinstance(document, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in document):
        raise InputError(f"{source}: the windows must be a list of [START, END]")
    return [(pair[0], pair[1]) for pair in document]


def _csv_pairs(text: str, source: str) -> list[tuple[object, object]]:
    reader = csv.DictReader(text.lstrip("\ufeff").splitlines(), strict=True)
    try:
        if not {"start", "end"} <= set(reader.fieldnames or ()):
            raise InputError(f"{source}:1: the first line must name the columns start and end")
        return [(row["start"], row["end"]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{source}:{reader.line_num}: {error}; is this a CSV file?") from error


def _wave(start: object, end: object, place: str) -> Wave:
    try:
        first, last = parse_time(str(start))[0], parse_time(str(end))[0]
    except ValueError as error:
        shown = ascii([start, end])[:_SHOWN]
        raise InputError(f"{place}: {shown} are not two times; write ISO-8601 with a zone or unix seconds") from error
    if not first < last:
        raise InputError(f"{place}: it ends before it starts; swap the two times")
    return Wave(start=first, end=last)
