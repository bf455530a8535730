"""Tables of counts into regular series, with every fault named by file, line and cure.

``io`` hands over rows of text from a CSV or Parquet file; this module checks them one by one, so that a file of two
gigabytes of garbage ends at its first bad line. Pure: it opens nothing.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from forecasting.durations import parse_time
from forecasting.errors import InputError, NotEnoughDataError
from forecasting.types import DemandSeries, FloatArray, SeriesKey

_MISSING = frozenset({"", "na", "nan", "null", "none", "n/a"})
_KEY_COLUMNS = ("region", "tier")
_MIN_POINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLimits:
    """Bounds on what is read.

    Attributes:
        max_rows: Rows of one file, blank ones included; ten million are nineteen years of minutes.
        max_intervals: Intervals of one series after gaps are filled in.
        max_series: Series in one file.
    """

    max_rows: int = 10_000_000
    max_intervals: int = 10_000_000
    max_series: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """What to read from a table.

    Attributes:
        source: What to call the table in messages, usually the file's path.
        column: Name of the count column; None takes ``role``, or the only column that is left.
        role: ``signups`` or ``requests``: the column's name when none was given.
        time_column: Name of the time column.
        marks_end: Whether the time marks the end of its interval.
        counter: Whether the column is cumulative and has to be differenced.
        step_seconds: Length of the intervals wanted; None keeps the file's own.
        limits: Bounds.
    """

    source: str
    column: str | None = None
    role: str = "requests"
    time_column: str = "timestamp"
    marks_end: bool = False
    counter: bool = False
    step_seconds: float | None = None
    limits: TableLimits = TableLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesTable:
    """What a table held.

    Attributes:
        series: One per region and tier, sorted by them.
        notes: What a reader should know, in words.
    """

    series: tuple[DemandSeries, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Column:
    """The readings of one region and tier, in the order of the file."""

    seconds: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)


def csv_rows(lines: Iterable[str], *, source: str) -> Iterator[tuple[int, list[str]]]:
    """Split lines into cells.

    Args:
        lines: The lines of a CSV file.
        source: What to call it in messages.

    Yields:
        The line number, from 1, and the cells.

    Raises:
        InputError: If a line is no CSV.
    """
    reader = csv.reader(lines, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{source}:{reader.line_num}: {error}; is this a CSV file?") from error


def parse_table(rows: Iterable[tuple[int, list[str]]], request: TableRequest) -> SeriesTable:
    """Read series from the rows of a table.

    Args:
        rows: Line numbers and cells, the header first.
        request: What to read.

    Returns:
        The series, on regular grids, gaps as NaN.

    Raises:
        InputError: If the header or a row is wrong; the message names file, line and cure.
        NotEnoughDataError: If a series has fewer than three counts.
    """
    iterator = iter(rows)
    _, header = next(iterator, (0, []))
    names = [cell.strip().lstrip("\ufeff") for cell in header]
    if not any(names):
        raise InputError(
            f"{request.source}:1: the file is empty or starts with a blank line; the first line must name the columns"
        )
    time_position = _time_position(names, request)
    count_position = _count_position(names, request)
    key_positions = tuple(names.index(name) if name in names else -1 for name in _KEY_COLUMNS)
    columns: dict[tuple[str, ...], _Column] = {}
    num_rows = 0
    num_without_zone = 0
    for line, cells in iterator:
        num_rows += 1
        if num_rows > request.limits.max_rows:
            raise InputError(f"{request.source}:{line}: more than {request.limits.max_rows} rows; split the file")
        if not any(map(str.strip, cells)):
            continue
        if len(cells) != len(names):
            raise InputError(
                f"{request.source}:{line}: {len(cells)} cells where the header names {len(names)};"
                " remove or repair the line"
            )
        seconds, has_zone = _seconds(cells[time_position], line, request)
        num_without_zone += not has_zone
        key = tuple(cells[position].strip() if position >= 0 else "" for position in key_positions)
        column = columns.get(key)
        if column is None:
            column = columns[key] = _Column()
            if len(columns) > request.limits.max_series:
                limit = request.limits.max_series
                raise InputError(f"{request.source}:{line}: more than {limit} series; split the file")
        _append(column, seconds, _count(cells[count_position], names[count_position], line, request), line, request)
    if not columns:
        raise InputError(f"{request.source}:1: there are no rows below the header; add at least {_MIN_POINTS}")
    series = tuple(
        _regular(SeriesKey(region=region or None, tier=tier or None), column, request)
        for (region, tier), column in sorted(columns.items(), key=lambda item: item[0])
    )
    notes = []
    if num_without_zone:
        notes.append(f"{request.source}: {num_without_zone} times carry no zone and were read as UTC")
    return SeriesTable(series=series, notes=tuple(notes))


def _time_position(names: list[str], request: TableRequest) -> int:
    if request.time_column not in names:
        raise InputError(
            f"{request.source}:1: no column '{request.time_column}' among {_listed(names)};"
            " name the time column with --time-column NAME[:end]"
        )
    return names.index(request.time_column)


def _count_position(names: list[str], request: TableRequest) -> int:
    free = [name for name in names if name and name != request.time_column and name not in _KEY_COLUMNS]
    if request.column is not None:
        if request.column not in names:
            raise InputError(f"{request.source}:1: no column '{request.column}' among {_listed(names)}")
        return names.index(request.column)
    if request.role in free:
        return names.index(request.role)
    if len(free) == 1:
        return names.index(free[0])
    raise InputError(f"{request.source}:1: cannot tell which of {_listed(free)} to read; write {request.source}:COLUMN")


def _shown(text: str) -> str:
    """Return the beginning of a cell as it may stand in a message of one line; line breaks and controls become '?'."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:40])


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{_shown(name)}'" for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "no columns"


def _seconds(text: str, line: int, request: TableRequest) -> tuple[float, bool]:
    try:
        time, has_zone = parse_time(text)
    except ValueError as error:
        raise InputError(
            f"{request.source}:{line}: column '{_shown(request.time_column)}' holds '{_shown(text)}', not a time;"
            " write ISO-8601 with a zone or unix seconds"
        ) from error
    return time.timestamp(), has_zone


def _count(text: str, name: str, line: int, request: TableRequest) -> float:
    compact = text.strip()
    if compact.lower() in _MISSING:
        return math.nan
    try:
        count = float(compact)
    except ValueError as error:
        raise InputError(
            f"{request.source}:{line}: column '{_shown(name)}' holds '{_shown(compact)}', not a number;"
            " leave the cell empty where the count is unknown"
        ) from error
    if not count < math.inf:
        raise InputError(
            f"{request.source}:{line}: column '{_shown(name)}' holds '{_shown(compact)}'; counts are finite"
        )
    if count < 0.0:
        raise InputError(
            f"{request.source}:{line}: column '{_shown(name)}' holds {_shown(compact)}; counts are not negative"
            " (leave the cell empty, or pass --counter for a cumulative column)"
        )
    return count


def _append(column: _Column, seconds: float, count: float, line: int, request: TableRequest) -> None:
    if column.seconds and seconds <= column.seconds[-1]:
        fault = "repeats the time of" if seconds == column.seconds[-1] else "is earlier than"
        raise InputError(
            f"{request.source}:{line}: this row {fault} the row before it;"
            " sort the file by time and keep one row per time, region and tier"
        )
    column.seconds.append(seconds)
    column.counts.append(count)


def _regular(key: SeriesKey, column: _Column, request: TableRequest) -> DemandSeries:
    """Put readings on a grid of the file's own step, then sum them to the step that is wanted."""
    label = (
        request.source
        if key == SeriesKey()
        else f"{request.source} ({_shown(key.region or '-')}/{_shown(key.tier or '-')})"
    )
    times = np.asarray(column.seconds)
    counts = np.asarray(column.counts)
    if int(np.sum(np.isfinite(counts))) < _MIN_POINTS + request.counter:
        raise NotEnoughDataError(
            f"{label}: only {int(np.sum(np.isfinite(counts)))} counts; a forecast needs at least"
            f" {_MIN_POINTS + request.counter}"
        )
    own_step = _own_step(times)
    slots = np.rint((times - times[0]) / own_step).astype(np.int64)
    if int(slots[-1]) + 1 > request.limits.max_intervals:
        raise InputError(f"{label}: {int(slots[-1]) + 1} intervals of {own_step:g} s; are the times right?")
    if np.any(np.diff(slots) < 1):
        row = int(np.flatnonzero(np.diff(slots) < 1)[0])
        raise InputError(
            f"{label}: two rows fall into one interval of {own_step:g} s near"
            f" {datetime.fromtimestamp(times[row + 1], tz=UTC).isoformat()}; the times must be regular"
        )
    values = np.full(int(slots[-1]) + 1, np.nan)
    values[slots] = counts
    start = float(times[0])
    if request.counter:
        # A reading closes the interval since the reading before it; a reset gives a gap, not a negative count.
        values = np.diff(values)
        values[values < 0.0] = np.nan
    elif request.marks_end:
        start -= own_step
    start, values, step = _resample(start, values, own_step, request.step_seconds, label)
    return DemandSeries(key=key, start=datetime.fromtimestamp(start, tz=UTC), step_seconds=step, values=values)


def _own_step(times: FloatArray) -> float:
    """Return the most frequent distance between readings, in seconds; the least of equally frequent ones."""
    gaps, frequency = np.unique(np.round(np.diff(times), 3), return_counts=True)
    return float(gaps[int(np.argmax(frequency))])


def _resample(
    start: float, values: FloatArray, own_step: float, wanted: float | None, label: str
) -> tuple[float, FloatArray, float]:
    if wanted is None or math.isclose(wanted, own_step, rel_tol=1e-6):
        return start, values, own_step
    ratio = wanted / own_step
    if wanted < own_step or not math.isclose(ratio, round(ratio), rel_tol=1e-6):
        raise InputError(f"{label}: --step {wanted:g} s is no multiple of the data's {own_step:g} s")
    size = round(ratio)
    # Whole intervals only, aligned to the clock; one missing part makes the sum missing.
    lead = round((math.ceil(start / wanted - 1e-9) * wanted - start) / own_step)
    num = (values.size - lead) // size
    if num < _MIN_POINTS:
        raise NotEnoughDataError(f"{label}: only {max(num, 0)} whole intervals of {wanted:g} s")
    summed: FloatArray = values[lead : lead + num * size].reshape(num, size).sum(axis=1)
    return start + lead * own_step, summed, wanted
