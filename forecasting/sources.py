"""Where a command's counts come from: files or Prometheus, paired by region and tier.

The commands call :func:`read_pairs`. Reading itself is ``io``'s work; this module decides what to read and pairs the
answers. It prints nothing: what the user should know goes to ``say``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forecasting.durations import parse_duration, parse_option_time
from forecasting.errors import InputError
from forecasting.io import fetch_http, file_exists, read_series, read_trace, utc_now
from forecasting.prometheus import aligned_request, read_range
from forecasting.tables import SeriesTable, TableRequest
from forecasting.traces import TraceFormat, TraceRequest
from forecasting.types import DemandSeries, SeriesKey

_TRACE_STEP = "5m"
SeriesPair = tuple[DemandSeries | None, DemandSeries | None]
"""Sign-ups and requests of one region and tier; at least one of them is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSource:
    """Where the counts come from and how to read them.

    Attributes:
        signups: ``FILE[:COLUMN]`` of sign-ups; None where not given.
        requests: ``FILE[:COLUMN]`` of requests; None where not given.
        time_column: ``NAME[:end]`` of the time column.
        counter: Whether the columns are cumulative.
        step: Interval wanted, as text; None keeps the data's own, or five minutes from Prometheus.
        prometheus: Address of Prometheus; None reads files.
        signups_query: PromQL of sign-ups per step.
        requests_query: PromQL of requests per step.
        lookback: How much history to ask Prometheus for, as text.
        as_of: Times of the forecasts, as text; Prometheus is asked up to the latest.
        trace_format: Format of a public serving trace in ``requests``; None reads a table of counts.
    """

    signups: str | None
    requests: str | None
    time_column: str
    counter: bool
    step: str | None
    prometheus: str | None = None
    signups_query: str | None = None
    requests_query: str | None = None
    lookback: str = "14d"
    as_of: tuple[str, ...] = ()
    trace_format: TraceFormat | None = None

    @property
    def main_file(self) -> str:
        """Path of the target's file, without a column; empty where there is none."""
        text = self.requests or self.signups or ""
        return _path_and_column(text)[0]


def read_pairs(source: DemandSource, say: Callable[[str], None]) -> list[SeriesPair]:
    """Return sign-ups and requests per region and tier; the target's keys decide.

    Args:
        source: Where to read.
        say: Takes lines that the user should know.

    Returns:
        One pair per series of the target.

    Raises:
        InputError: If nothing was named, or what was named is wrong.
        NotEnoughDataError: If a series is too short.
    """
    if source.trace_format is not None:
        return [(None, _read_trace(source, source.trace_format))]
    if source.prometheus is not None:
        return _query_pairs(source, say)
    if source.signups is None and source.requests is None:
        raise InputError("nothing to forecast: name a file with --signups or --requests, or use --prometheus")
    signups = _read_table(source.signups, "signups", source, None, say) if source.signups is not None else None
    if source.requests is None:
        assert signups is not None
        return [(series, None) for series in signups.series]
    signup_step = None if signups is None else min(series.step_seconds for series in signups.series)
    requests = _read_table(source.requests, "requests", source, None, say)
    steps = {series.step_seconds for series in requests.series}
    if signups is not None and steps != {signup_step} and len(steps) == 1:
        signups = _read_table(source.signups or "", "signups", source, steps.pop(), say)
    return _matched(signups.series if signups is not None else (), requests.series, say)


def _read_trace(source: DemandSource, trace_format: TraceFormat) -> DemandSeries:
    """Count the requests of a public trace per step; it knows no sign-ups."""
    if source.prometheus is not None or source.signups is not None or source.requests is None:
        raise InputError(f"--format {trace_format}: a trace holds requests; give it alone, with --requests FILE")
    if source.counter:
        raise InputError(f"--format {trace_format}: a trace holds requests one by one; leave --counter out")
    step_seconds = parse_duration(source.step or _TRACE_STEP, name="--step")
    return read_trace(
        source.requests, TraceRequest(source=source.requests, trace_format=trace_format, step_seconds=step_seconds)
    )


def _matched(
    signups: Sequence[DemandSeries], requests: Sequence[DemandSeries], say: Callable[[str], None]
) -> list[SeriesPair]:
    """Pair requests with the sign-ups of their region and tier, else with sign-ups that are not split."""
    by_key = {series.key: series for series in signups}
    pairs: list[SeriesPair] = []
    for series in requests:
        match = by_key.get(series.key, by_key.get(SeriesKey()))
        if signups and match is None:
            say(f"no sign-ups for region {series.key.region}, tier {series.key.tier}: its requests stand alone")
        pairs.append((match, series))
    return pairs


def _query_pairs(source: DemandSource, say: Callable[[str], None]) -> list[SeriesPair]:
    """Return sign-ups and requests from Prometheus, up to the latest of the times asked for."""
    if source.signups is not None or source.requests is not None:
        raise InputError("--prometheus reads queries: give --signups-query and --requests-query, not files")
    if source.signups_query is None and source.requests_query is None:
        raise InputError("--prometheus needs --signups-query or --requests-query")
    times = [parse_option_time(text, name="--as-of") for text in source.as_of]
    span_seconds = (max(times) - min(times)).total_seconds() if times else 0.0
    answers: list[list[DemandSeries]] = []
    for query in (source.signups_query, source.requests_query):
        if query is None:
            answers.append([])
            continue
        request = aligned_request(
            url=source.prometheus or "",
            query=query,
            end=max(times) if times else utc_now(),
            lookback_seconds=parse_duration(source.lookback, name="--lookback") + span_seconds,
            step_seconds=parse_duration(source.step or "5m", name="--step"),
        )
        series, notes = read_range(request, fetch_http)
        for note in notes:
            say(note)
        answers.append(series)
    if source.requests_query is None:
        return [(series, None) for series in answers[0]]
    return _matched(answers[0], answers[1], say)


def _path_and_column(text: str) -> tuple[str, str | None]:
    if file_exists(text) or ":" not in text:
        return text, None
    path, _, column = text.rpartition(":")
    return path, column


def _read_table(
    text: str, role: str, source: DemandSource, step_seconds: float | None, say: Callable[[str], None]
) -> SeriesTable:
    path, column = _path_and_column(text)
    marks_end = source.time_column.endswith(":end")
    if source.step is not None:
        step_seconds = parse_duration(source.step, name="--step")
    table = read_series(
        path,
        TableRequest(
            source=path,
            column=column,
            role=role,
            time_column=source.time_column.removesuffix(":end"),
            marks_end=marks_end,
            counter=source.counter,
            step_seconds=step_seconds,
        ),
    )
    for note in table.notes:
        say(note)
    return table
