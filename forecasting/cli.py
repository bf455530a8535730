"""The demand commands of ``meltguard``: plain functions that the root command mounts by name.

Heavy imports stay inside the bodies, so that ``meltguard --help`` is quick. Data goes to stdout, messages to stderr.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from forecasting.charts import ForecastPanel
    from forecasting.demand.events import DemandEvent
    from forecasting.tables import SeriesTable
    from forecasting.types import DemandForecast, DemandSeries

_MAX_STEPS = 10_000
_MAX_FORECASTS = 100_000


class OutputFormat(StrEnum):
    """What a command writes to stdout."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """Where the counts come from and how to read them."""

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


def forecast(
    signups: Annotated[str | None, typer.Option("--signups", help="Sign-ups: FILE[:COLUMN], CSV or Parquet.")] = None,
    requests: Annotated[
        str | None, typer.Option("--requests", help="Requests: FILE[:COLUMN]; the target where given.")
    ] = None,
    horizon: Annotated[str, typer.Option("--horizon", help="How far to look ahead, for example 60m.")] = "60m",
    step: Annotated[
        str | None, typer.Option("--step", help="Interval to sum the counts to; default: the data's own.")
    ] = None,
    as_of: Annotated[
        list[str] | None,
        typer.Option(
            "--as-of", help="Forecast as if it were this time; may be repeated. Default: the end of the data."
        ),
    ] = None,
    quantiles: Annotated[
        str, typer.Option("--quantiles", help="Quantile levels, comma separated.")
    ] = "0.05,0.1,0.5,0.9,0.95,0.99",
    season: Annotated[str, typer.Option("--season", help="Lengths of the seasons, comma separated.")] = "24h,168h",
    counter: Annotated[bool, typer.Option("--counter", help="The columns are cumulative; difference them.")] = False,
    time_column: Annotated[
        str, typer.Option("--time-column", help="NAME[:end]: the time column, and whether it marks interval ends.")
    ] = "timestamp",
    capacity: Annotated[
        str | None, typer.Option("--capacity", help="File with the factors from requests to GPUs; adds gpus_needed.")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="START,END,NAME,FACTOR: a known event; may be repeated.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", help="Read from Prometheus at this address instead of files.")
    ] = None,
    signups_query: Annotated[str | None, typer.Option("--signups-query", help="PromQL: sign-ups per step.")] = None,
    requests_query: Annotated[str | None, typer.Option("--requests-query", help="PromQL: requests per step.")] = None,
    lookback: Annotated[str, typer.Option("--lookback", help="How much history to ask Prometheus for.")] = "14d",
    plot: Annotated[
        str | None, typer.Option("--plot", help="Write a picture: FILE.html, or .png or .svg with matplotlib.")
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Forecast demand from files or Prometheus, without changing anything."""
    from forecasting.demand.events import parse_event
    from forecasting.durations import parse_duration
    from forecasting.io import read_capacity

    _check_plot(plot)
    source = _Input(
        signups=signups,
        requests=requests,
        time_column=time_column,
        counter=counter,
        step=step,
        prometheus=prometheus,
        signups_query=signups_query,
        requests_query=requests_query,
        lookback=lookback,
        as_of=tuple(as_of or ()),
    )
    levels = _levels(quantiles)
    seasons = tuple(parse_duration(part, name="--season") for part in season.split(","))
    horizon_seconds = parse_duration(horizon, name="--horizon")
    events = tuple(parse_event(text) for text in event or ())
    model = read_capacity(capacity) if capacity is not None else None
    pairs = _read_pairs(source)
    panels = _forecast_pairs(
        pairs, horizon_seconds=horizon_seconds, as_of=tuple(as_of or ()), levels=levels, seasons=seasons, events=events
    )
    if model is not None:
        from forecasting.capacity import with_gpus
        from forecasting.charts import ForecastPanel

        panels = [ForecastPanel(forecast=with_gpus(panel.forecast, model), history=panel.history) for panel in panels]
    _print_forecasts([panel.forecast for panel in panels], output)
    if plot is not None:
        _write_plot(plot, panels)


def backtest(
    signups: Annotated[str | None, typer.Option("--signups", help="Sign-ups: FILE[:COLUMN], CSV or Parquet.")] = None,
    requests: Annotated[
        str | None, typer.Option("--requests", help="Requests: FILE[:COLUMN]; the target where given.")
    ] = None,
    horizon: Annotated[str, typer.Option("--horizon", help="How far ahead is judged, for example 30m.")] = "60m",
    step: Annotated[str | None, typer.Option("--step", help="Interval to sum the counts to.")] = None,
    warm_up: Annotated[
        str | None, typer.Option("--warm-up", help="What to leave out of the judgement; default: the first fifth.")
    ] = None,
    max_origins: Annotated[int, typer.Option("--max-origins", min=20, help="Origins to judge, evenly spread.")] = 2000,
    baselines: Annotated[
        str, typer.Option("--baselines", help="Names, 'light' (numpy only) or 'all', comma separated.")
    ] = "light",
    season: Annotated[str, typer.Option("--season", help="Lengths of the seasons, comma separated.")] = "24h,168h",
    counter: Annotated[bool, typer.Option("--counter", help="The columns are cumulative; difference them.")] = False,
    time_column: Annotated[
        str, typer.Option("--time-column", help="NAME[:end]: the time column, and whether it marks interval ends.")
    ] = "timestamp",
    plot: Annotated[str | None, typer.Option("--plot", help="Write a page: FILE.html.")] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Backtest our forecast and named baselines on a file, causally, origin by origin."""
    import time

    from forecasting.backtest.report import backtest_json, backtest_page, backtest_text
    from forecasting.backtest.rolling import BacktestPlan, run_backtest
    from forecasting.demand import ForecastSettings, aligned_signups
    from forecasting.durations import parse_duration
    from forecasting.errors import InputError
    from forecasting.io import write_bytes
    from forecasting.types import DemandTarget

    if plot is not None and not plot.endswith(".html"):
        raise InputError(f"--plot: '{plot}' must end in .html")
    seasons = tuple(parse_duration(part, name="--season") for part in season.split(","))
    horizon_seconds = parse_duration(horizon, name="--horizon")
    names = _baseline_names(baselines)
    pages: list[str] = []
    source = _Input(signups=signups, requests=requests, time_column=time_column, counter=counter, step=step)
    for signup_series, request_series in _read_pairs(source):
        main = request_series if request_series is not None else signup_series
        assert main is not None
        warm_seconds = parse_duration(warm_up, name="--warm-up") if warm_up is not None else None
        first = main.num_points // 5 if warm_seconds is None else round(warm_seconds / main.step_seconds)
        horizon_steps = max(1, round(horizon_seconds / main.step_seconds))
        plan = BacktestPlan(
            horizon_steps=horizon_steps,
            first_origin=first,
            stride=max(1, -(-(main.num_points - first - horizon_steps) // max_origins)),
            baselines=names,
            settings=ForecastSettings(season_seconds=seasons),
        )
        result = run_backtest(
            signups=aligned_signups(signup_series, main) if request_series is not None else None,
            main=main,
            target=DemandTarget.REQUESTS if request_series is not None else DemandTarget.SIGNUPS,
            plan=plan,
            cpu_clock=time.process_time,
        )
        typer.echo((backtest_json if output is OutputFormat.JSON else backtest_text)(result, main))
        pages.append(backtest_page(result, main))
    if plot is not None:
        write_bytes(plot, "\n".join(pages).encode())
        _say(f"wrote {plot}")


def _baseline_names(text: str) -> tuple[str, ...]:
    from forecasting.backtest.baselines import ALL_BASELINES, LIGHT_BASELINES
    from forecasting.errors import InputError

    groups = {"light": LIGHT_BASELINES, "all": ALL_BASELINES}
    names = [name for part in text.split(",") for name in groups.get(part.strip(), (part.strip(),))]
    for name in names:
        if name not in ALL_BASELINES:
            raise InputError(f"--baselines: unknown '{name}'; known are light, all, {', '.join(ALL_BASELINES)}")
    return tuple(dict.fromkeys(names))


def _check_plot(plot: str | None) -> None:
    from forecasting.errors import InputError

    if plot is not None and not plot.endswith((".png", ".svg", ".html")):
        raise InputError(f"--plot: '{plot}' must end in .html, .png or .svg")


def _levels(text: str) -> tuple[float, ...]:
    from forecasting.errors import InputError

    try:
        levels = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise InputError(f"--quantiles: '{text}' must be numbers such as 0.05,0.5,0.95") from error
    if not all(0.0 < level < 1.0 for level in levels) or len(levels) > 99:
        raise InputError(f"--quantiles: '{text}' must be at most 99 numbers between 0 and 1")
    return levels


def _read_pairs(source: _Input) -> list[tuple[DemandSeries | None, DemandSeries | None]]:
    """Return sign-ups and requests per region and tier; the target's keys decide."""
    from forecasting.errors import InputError

    if source.prometheus is not None:
        return _query_pairs(source)
    if source.signups is None and source.requests is None:
        raise InputError("nothing to forecast: name a file with --signups or --requests, or use --prometheus")
    signups = _read_table(source.signups, "signups", source, None) if source.signups is not None else None
    if source.requests is None:
        assert signups is not None
        return [(series, None) for series in signups.series]
    signup_step = None if signups is None else min(series.step_seconds for series in signups.series)
    requests = _read_table(source.requests, "requests", source, None)
    steps = {series.step_seconds for series in requests.series}
    if signups is not None and steps != {signup_step} and len(steps) == 1:
        signups = _read_table(source.signups or "", "signups", source, steps.pop())
    return _matched(signups.series if signups is not None else (), requests.series)


def _matched(
    signups: Sequence[DemandSeries], requests: Sequence[DemandSeries]
) -> list[tuple[DemandSeries | None, DemandSeries | None]]:
    """Pair requests with the sign-ups of their region and tier, else with sign-ups that are not split."""
    from forecasting.types import SeriesKey

    by_key = {series.key: series for series in signups}
    pairs: list[tuple[DemandSeries | None, DemandSeries | None]] = []
    for series in requests:
        match = by_key.get(series.key, by_key.get(SeriesKey()))
        if signups and match is None:
            _say(f"no sign-ups for region {series.key.region}, tier {series.key.tier}: its requests stand alone")
        pairs.append((match, series))
    return pairs


def _query_pairs(source: _Input) -> list[tuple[DemandSeries | None, DemandSeries | None]]:
    """Return sign-ups and requests from Prometheus, up to the latest of the times asked for."""
    from forecasting.durations import parse_duration, parse_option_time
    from forecasting.errors import InputError
    from forecasting.io import fetch_http, utc_now
    from forecasting.prometheus import aligned_request, read_range

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
            _say(note)
        answers.append(series)
    if source.requests_query is None:
        return [(series, None) for series in answers[0]]
    return _matched(answers[0], answers[1])


def _read_table(text: str, role: str, source: _Input, step_seconds: float | None) -> SeriesTable:
    from forecasting.durations import parse_duration
    from forecasting.io import file_exists, read_series
    from forecasting.tables import TableRequest

    path, column = text, None
    if not file_exists(text) and ":" in text:
        path, column = text.rsplit(":", 1)
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
        _say(note)
    return table


def _forecast_pairs(
    pairs: list[tuple[DemandSeries | None, DemandSeries | None]],
    *,
    horizon_seconds: float,
    as_of: tuple[str, ...],
    levels: tuple[float, ...],
    seasons: tuple[float, ...],
    events: tuple[DemandEvent, ...],
) -> list[ForecastPanel]:
    """Return the forecasts, time by time in the order given, series by series within."""
    from forecasting.charts import ForecastPanel
    from forecasting.demand import ForecastSettings, forecast_times
    from forecasting.durations import parse_option_time
    from forecasting.errors import InputError

    times: tuple[datetime, ...] = tuple(parse_option_time(text, name="--as-of") for text in as_of)
    if max(len(times), 1) * len(pairs) > _MAX_FORECASTS:
        raise InputError(f"more than {_MAX_FORECASTS} forecasts; give fewer --as-of or split the file")
    columns: list[list[ForecastPanel]] = []
    for signups, requests in pairs:
        main = requests if requests is not None else signups
        assert main is not None
        num_steps = max(1, round(horizon_seconds / main.step_seconds))
        if num_steps > _MAX_STEPS:
            raise InputError(f"--horizon spans {num_steps} steps of {main.step_seconds:g} s; at most {_MAX_STEPS}")
        forecasts = forecast_times(
            signups=signups,
            requests=requests,
            as_of=times or (main.end,),
            num_steps=num_steps,
            levels=levels,
            settings=ForecastSettings(season_seconds=seasons),
            events=events,
        )
        columns.append([ForecastPanel(forecast=each, history=main) for each in forecasts])
    return [panel for row in zip(*columns, strict=True) for panel in row]


def _print_forecasts(forecasts: list[DemandForecast], output: OutputFormat) -> None:
    from forecasting.documents import forecast_json, forecast_text

    if output is OutputFormat.JSON:
        for each in forecasts:
            typer.echo(forecast_json(each))
    else:
        typer.echo("\n\n".join(forecast_text(each) for each in forecasts))


def _write_plot(plot: str, panels: list[ForecastPanel]) -> None:
    from forecasting.charts import forecast_figure, forecast_page
    from forecasting.io import write_bytes, write_figure

    if plot.endswith(".html"):
        write_bytes(plot, forecast_page(panels).encode())
    else:
        write_figure(plot, forecast_figure(panels))
    _say(f"wrote {plot}")


def _say(message: str) -> None:
    sys.stderr.write(f"meltguard: {message}\n")
