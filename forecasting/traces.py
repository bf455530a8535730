"""Public serving traces as demand series: BurstGPT, Azure LLM 2023 and 2024, Mooncake, ServeGen.

Each loader takes lines and returns requests per step; ``io.read_trace`` opens the file. The formats, as published:

=========== ============================================================================================== ==========
name        file                                                                                           time
=========== ============================================================================================== ==========
burstgpt    CSV ``Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type``                   s from start
azure-llm   CSV ``TIMESTAMP,ContextTokens,GeneratedTokens`` (2023 conv and code, 2024 week)                wall clock
mooncake    JSON lines with ``timestamp``, ``input_length``, ``output_length``                             ms from start
servegen    CSV without header ``seconds, requests per second, ...`` (``chunk-*-trace.csv``, one client)   s from start
=========== ============================================================================================== ==========

Traces without a calendar start at the epoch that the caller names. Pure.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from forecasting.durations import parse_time
from forecasting.errors import InputError, NotEnoughDataError
from forecasting.types import DemandSeries, FloatArray, SeriesKey

MAX_ROWS = 50_000_000
"""Rows of one trace; BurstGPT, the largest known, has about ten million."""

MAX_INTERVALS = 10_000_000
"""Steps between the first and the last request."""


class TraceFormat(StrEnum):
    """A published trace format."""

    BURSTGPT = "burstgpt"
    AZURE_LLM = "azure-llm"
    MOONCAKE = "mooncake"
    SERVEGEN = "servegen"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """What to read.

    Attributes:
        source: What to call the trace in messages, usually the file's path.
        trace_format: Its format.
        step_seconds: Length of the intervals wanted, > 0.
        epoch: When a trace without a calendar begins, aware.
    """

    source: str
    trace_format: TraceFormat
    step_seconds: float
    epoch: datetime = datetime(2025, 1, 6, tzinfo=UTC)


def parse_trace(lines: Iterable[str], request: TraceRequest) -> DemandSeries:
    """Count the requests of a trace per step.

    Args:
        lines: The lines of the file.
        request: What to read.

    Returns:
        Requests per step; the last interval, which the trace may end within, is left out.

    Raises:
        InputError: If a line is not of the format; the message names file and line.
        NotEnoughDataError: If the trace is shorter than three steps.
    """
    if request.trace_format is TraceFormat.SERVEGEN:
        return _rates(lines, request)
    times = np.fromiter(_READERS[request.trace_format](lines, request), dtype=np.float64)
    if times.size == 0:
        raise NotEnoughDataError(f"{request.source}: no request in the trace")
    has_calendar = request.trace_format is TraceFormat.AZURE_LLM
    # A calendar's intervals lie on the clock; the others' begin with the trace.
    origin = np.floor(times.min() / request.step_seconds) * request.step_seconds if has_calendar else 0.0
    slots = np.floor((times - origin) / request.step_seconds).astype(np.int64)
    if slots.min() < 0 or slots.max() >= MAX_INTERVALS:
        raise InputError(f"{request.source}: the times span {slots.max() - slots.min()} steps; choose a longer step")
    counts = np.bincount(slots).astype(np.float64)[:-1]
    return _series(counts, request, origin if has_calendar else request.epoch.timestamp())


def _series(counts: FloatArray, request: TraceRequest, start: float) -> DemandSeries:
    if counts.size < 3:
        raise NotEnoughDataError(f"{request.source}: shorter than three steps of {request.step_seconds:g} s")
    return DemandSeries(
        key=SeriesKey(),
        start=datetime.fromtimestamp(start, tz=UTC),
        step_seconds=request.step_seconds,
        values=counts,
    )


def _bounded(lines: Iterable[str], request: TraceRequest) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        if number > MAX_ROWS:
            raise InputError(f"{request.source}:{number}: more than {MAX_ROWS} rows; split the trace")
        if line.strip():
            yield number, line


def _columns(lines: Iterable[str], request: TraceRequest, wanted: str) -> Iterator[tuple[int, str]]:
    """Yield the cells of one named column."""
    position = -1
    for number, line in _bounded(lines, request):
        try:
            cells = next(csv.reader([line]))
        except (csv.Error, StopIteration) as error:
            raise InputError(f"{request.source}:{number}: not a line of CSV") from error
        if position < 0:
            names = [cell.strip().lower().lstrip("\ufeff") for cell in cells]
            if wanted not in names:
                raise InputError(f"{request.source}:{number}: no column '{wanted}'; is this {request.trace_format}?")
            position = names.index(wanted)
        elif len(cells) <= position:
            raise InputError(f"{request.source}:{number}: too few cells")
        else:
            yield number, cells[position]


def _burstgpt(lines: Iterable[str], request: TraceRequest) -> Iterator[float]:
    for number, cell in _columns(lines, request, "timestamp"):
        yield _seconds(cell, number, request)


def _azure_llm(lines: Iterable[str], request: TraceRequest) -> Iterator[float]:
    for number, cell in _columns(lines, request, "timestamp"):
        # Seven decimals of a second, one more than the calendar reads.
        head, dot, fraction = cell.strip().partition(".")
        digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
        text = f"{head}.{digits[:6]}{fraction[len(digits) :]}" if dot else head
        try:
            yield parse_time(text)[0].timestamp()
        except ValueError as error:
            raise InputError(f"{request.source}:{number}: '{cell[:40]}' is no time") from error


def _mooncake(lines: Iterable[str], request: TraceRequest) -> Iterator[float]:
    for number, line in _bounded(lines, request):
        try:
            milliseconds = json.loads(line)["timestamp"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{request.source}:{number}: not a JSON object with 'timestamp'") from error
        yield _seconds(str(milliseconds), number, request) / 1000.0


_READERS: dict[TraceFormat, Callable[[Iterable[str], TraceRequest], Iterator[float]]] = {
    TraceFormat.BURSTGPT: _burstgpt,
    TraceFormat.AZURE_LLM: _azure_llm,
    TraceFormat.MOONCAKE: _mooncake,
}


def _rates(lines: Iterable[str], request: TraceRequest) -> DemandSeries:
    """Turn one client's rates into counts; a row holds from its time to the next row's."""
    times: list[float] = []
    rates: list[float] = []
    for number, line in _bounded(lines, request):
        cells = line.split(",")
        if len(cells) < 2:
            raise InputError(f"{request.source}:{number}: expected 'seconds, requests per second, ...'")
        times.append(_seconds(cells[0], number, request))
        rates.append(_seconds(cells[1], number, request))
        if len(times) > 1 and times[-1] <= times[-2]:
            raise InputError(f"{request.source}:{number}: the times must ascend")
    if len(times) < 2:
        raise NotEnoughDataError(f"{request.source}: a trace of rates needs two rows")
    edges = np.array([*times, times[-1] + times[-1] - times[-2]])
    cumulated = np.concatenate([[0.0], np.cumsum(np.array(rates) * np.diff(edges))])
    num_steps = int((edges[-1] - edges[0]) // request.step_seconds)
    if num_steps > MAX_INTERVALS:
        raise InputError(f"{request.source}: the times span {num_steps} steps; choose a longer step")
    grid = edges[0] + np.arange(num_steps + 1, dtype=np.float64) * request.step_seconds
    counts: FloatArray = np.diff(np.interp(grid, edges, cumulated))
    return _series(counts, request, request.epoch.timestamp() + float(edges[0]))


def _seconds(text: str, number: int, request: TraceRequest) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{request.source}:{number}: '{text.strip()[:40]}' is no number") from error
    if not 0.0 <= value < 1e15:
        raise InputError(f"{request.source}:{number}: {text.strip()[:40]} is out of range")
    return value
