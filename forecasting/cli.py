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
    from datetime import datetime

    from forecasting.backtest.rolling import BacktestResult
    from forecasting.capacity import CapacityModel
    from forecasting.charts import ForecastPanel
    from forecasting.demand.events import DemandEvent
    from forecasting.traces import TraceFormat
    from forecasting.types import DemandForecast, DemandSeries

_MAX_STEPS = 10_000
_MAX_FORECASTS = 100_000


class OutputFormat(StrEnum):
    """What a command writes to stdout."""

    TEXT = "text"
    JSON = "json"


class InputFormat(StrEnum):
    """What the file of ``--requests`` is: a table of counts or a published serving trace."""

    CSV = "csv"
    BURSTGPT = "burstgpt"
    AZURE = "azure"
    MOONCAKE = "mooncake"
    SERVEGEN = "servegen"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What to forecast."""

    levels: tuple[float, ...]
    seasons: tuple[float, ...]
    horizon_seconds: float
    events: tuple[DemandEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _BacktestWish:
    """What to backtest."""

    horizon_seconds: float
    warm_up_seconds: float | None
    max_origins: int
    baselines: tuple[str, ...]
    seasons: tuple[float, ...]


SignupsOption = Annotated[str | None, typer.Option("--signups", help="Sign-ups: FILE[:COLUMN], CSV or Parquet.")]
RequestsOption = Annotated[
    str | None, typer.Option("--requests", help="Requests: FILE[:COLUMN]; the target where given.")
]
FormatOption = Annotated[
    InputFormat, typer.Option("--format", help="Format of --requests: a table of counts or a public trace.")
]
HorizonOption = Annotated[str, typer.Option("--horizon", help="How far ahead, for example 60m.")]
StepOption = Annotated[
    str | None, typer.Option("--step", help="Interval to sum the counts to; default: the data's own.")
]
SeasonOption = Annotated[str, typer.Option("--season", help="Lengths of the seasons, comma separated.")]
CounterOption = Annotated[bool, typer.Option("--counter", help="The columns are cumulative; difference them.")]
TimeColumnOption = Annotated[
    str, typer.Option("--time-column", help="NAME[:end]: the time column, and whether it marks interval ends.")
]
OutputOption = Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")]
AsOfOption = Annotated[
    list[str] | None,
    typer.Option("--as-of", help="Forecast as if it were this time; may be repeated. Default: the end of the data."),
]
QuantilesOption = Annotated[str, typer.Option("--quantiles", help="Quantile levels, comma separated.")]
CapacityOption = Annotated[
    str | None, typer.Option("--capacity", help="File with the factors from requests to GPUs; adds gpus_needed.")
]
EventOption = Annotated[
    list[str] | None, typer.Option("--event", help="START,END,NAME,FACTOR: a known event; may be repeated.")
]
PrometheusOption = Annotated[
    str | None, typer.Option("--prometheus", help="Read from Prometheus at this address instead of files.")
]
SignupsQueryOption = Annotated[str | None, typer.Option("--signups-query", help="PromQL: sign-ups per step.")]
RequestsQueryOption = Annotated[str | None, typer.Option("--requests-query", help="PromQL: requests per step.")]
LookbackOption = Annotated[str, typer.Option("--lookback", help="How much history to ask Prometheus for.")]
PlotOption = Annotated[
    str | None, typer.Option("--plot", help="Write a picture: FILE.html, or .png or .svg with matplotlib.")
]


def forecast(
    signups: SignupsOption = None,
    requests: RequestsOption = None,
    horizon: HorizonOption = "60m",
    step: StepOption = None,
    as_of: AsOfOption = None,
    quantiles: QuantilesOption = "0.05,0.1,0.5,0.9,0.95,0.99",
    season: SeasonOption = "24h,168h",
    counter: CounterOption = False,
    time_column: TimeColumnOption = "timestamp",
    capacity: CapacityOption = None,
    event: EventOption = None,
    prometheus: PrometheusOption = None,
    signups_query: SignupsQueryOption = None,
    requests_query: RequestsQueryOption = None,
    lookback: LookbackOption = "14d",
    plot: PlotOption = None,
    input_format: FormatOption = InputFormat.CSV,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Forecast demand from files or Prometheus, without changing anything."""
    from forecasting.demand.events import parse_event
    from forecasting.io import read_capacity
    from forecasting.sources import DemandSource, read_pairs

    _check_plot(plot)
    source = DemandSource(
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
        trace_format=_trace_format(input_format),
    )
    model = read_capacity(capacity) if capacity is not None else None
    wish = _Wish(
        levels=_levels(quantiles),
        seasons=_seasons(season),
        horizon_seconds=_seconds(horizon, "--horizon"),
        events=tuple(parse_event(text) for text in event or ()),
    )
    panels = _with_capacity(_forecast_pairs(read_pairs(source, _say), source.as_of, wish), model)
    _print_forecasts([panel.forecast for panel in panels], output)
    if plot is not None:
        _write_plot(plot, panels)


def backtest(
    signups: SignupsOption = None,
    requests: RequestsOption = None,
    horizon: HorizonOption = "60m",
    step: StepOption = None,
    warm_up: Annotated[
        str | None, typer.Option("--warm-up", help="What to leave out of the judgement; default: the first fifth.")
    ] = None,
    max_origins: Annotated[int, typer.Option("--max-origins", min=20, help="Origins to judge, evenly spread.")] = 2000,
    baselines: Annotated[
        str, typer.Option("--baselines", help="Names, 'light' (numpy only) or 'all', comma separated.")
    ] = "light",
    season: SeasonOption = "24h,168h",
    counter: CounterOption = False,
    time_column: TimeColumnOption = "timestamp",
    waves: Annotated[
        str | None, typer.Option("--waves", help="Labelled surges, FILE.csv (start,end) or .json; judges the alarms.")
    ] = None,
    plot: Annotated[str | None, typer.Option("--plot", help="Write a page: FILE.html.")] = None,
    input_format: FormatOption = InputFormat.CSV,
    output: OutputOption = OutputFormat.TEXT,
) -> None:
    """Backtest our forecast and named baselines on a file, causally, origin by origin."""
    from forecasting.backtest.report import backtest_json, backtest_page, backtest_text, detection_of
    from forecasting.errors import InputError
    from forecasting.io import read_waves, write_bytes
    from forecasting.sources import DemandSource, read_pairs

    if plot is not None and not plot.endswith(".html"):
        raise InputError(f"--plot: '{plot}' must end in .html")
    wish = _BacktestWish(
        horizon_seconds=_seconds(horizon, "--horizon"),
        warm_up_seconds=_seconds(warm_up, "--warm-up") if warm_up is not None else None,
        max_origins=max_origins,
        baselines=_baseline_names(baselines),
        seasons=_seasons(season),
    )
    source = DemandSource(
        signups=signups,
        requests=requests,
        time_column=time_column,
        counter=counter,
        step=step,
        trace_format=_trace_format(input_format),
    )
    labelled = read_waves(waves, series_name=source.main_file) if waves is not None else None
    pages: list[str] = []
    for pair in read_pairs(source, _say):
        result, main = _backtest_pair(pair, wish)
        detection = None if labelled is None else detection_of(result, main, labelled)
        typer.echo((backtest_json if output is OutputFormat.JSON else backtest_text)(result, main, detection))
        pages.append(backtest_page(result, main, detection))
    if plot is not None:
        write_bytes(plot, "\n".join(pages).encode())
        _say(f"wrote {plot}")


def _backtest_pair(
    pair: tuple[DemandSeries | None, DemandSeries | None], wish: _BacktestWish
) -> tuple[BacktestResult, DemandSeries]:
    import time

    from forecasting.backtest.rolling import BacktestPlan, run_backtest
    from forecasting.demand import ForecastSettings, aligned_signups
    from forecasting.types import DemandTarget

    signups, requests = pair
    main = requests if requests is not None else signups
    assert main is not None
    step = main.step_seconds
    first = main.num_points // 5 if wish.warm_up_seconds is None else round(wish.warm_up_seconds / step)
    horizon_steps = max(1, round(wish.horizon_seconds / step))
    result = run_backtest(
        signups=aligned_signups(signups, main) if requests is not None else None,
        main=main,
        target=DemandTarget.REQUESTS if requests is not None else DemandTarget.SIGNUPS,
        plan=BacktestPlan(
            horizon_steps=horizon_steps,
            first_origin=first,
            stride=max(1, -(-(main.num_points - first - horizon_steps) // wish.max_origins)),
            baselines=wish.baselines,
            settings=ForecastSettings(season_seconds=wish.seasons),
        ),
        cpu_clock=time.process_time,
    )
    return result, main


def _baseline_names(text: str) -> tuple[str, ...]:
    from forecasting.backtest.baselines import ALL_BASELINES, LIGHT_BASELINES
    from forecasting.errors import InputError

    groups = {"light": LIGHT_BASELINES, "all": ALL_BASELINES}
    names = [name for part in text.split(",") for name in groups.get(part.strip(), (part.strip(),))]
    for name in names:
        if name not in ALL_BASELINES:
            raise InputError(f"--baselines: unknown '{name}'; known are light, all, {', '.join(ALL_BASELINES)}")
    return tuple(dict.fromkeys(names))


def _trace_format(input_format: InputFormat) -> TraceFormat | None:
    from forecasting.traces import TraceFormat

    if input_format is InputFormat.CSV:
        return None
    return TraceFormat.AZURE_LLM if input_format is InputFormat.AZURE else TraceFormat(input_format.value)


def _check_plot(plot: str | None) -> None:
    from forecasting.errors import InputError

    if plot is not None and not plot.endswith((".png", ".svg", ".html")):
        raise InputError(f"--plot: '{plot}' must end in .html, .png or .svg")


def _seconds(text: str, name: str) -> float:
    from forecasting.durations import parse_duration

    return parse_duration(text, name=name)


def _seasons(text: str) -> tuple[float, ...]:
    from forecasting.errors import InputError

    seasons = tuple(sorted({_seconds(part, "--season") for part in text.split(",")}))
    if len(seasons) > 2:
        raise InputError(f"--season: '{text}' names more than two seasons")
    return seasons


def _levels(text: str) -> tuple[float, ...]:
    from forecasting.errors import InputError

    try:
        levels = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise InputError(f"--quantiles: '{text}' must be numbers such as 0.05,0.5,0.95") from error
    if not all(0.0 < level < 1.0 for level in levels) or len(levels) > 99:
        raise InputError(f"--quantiles: '{text}' must be at most 99 numbers between 0 and 1")
    return levels


def _forecast_pairs(
    pairs: list[tuple[DemandSeries | None, DemandSeries | None]], as_of: tuple[str, ...], wish: _Wish
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
        num_steps = max(1, round(wish.horizon_seconds / main.step_seconds))
        if num_steps > _MAX_STEPS:
            raise InputError(f"--horizon spans {num_steps} steps of {main.step_seconds:g} s; at most {_MAX_STEPS}")
        forecasts = forecast_times(
            signups=signups,
            requests=requests,
            as_of=times or (main.end,),
            num_steps=num_steps,
            levels=wish.levels,
            settings=ForecastSettings(season_seconds=wish.seasons),
            events=wish.events,
        )
        columns.append([ForecastPanel(forecast=each, history=main) for each in forecasts])
    return [panel for row in zip(*columns, strict=True) for panel in row]


def _with_capacity(panels: list[ForecastPanel], model: CapacityModel | None) -> list[ForecastPanel]:
    from forecasting.capacity import with_gpus
    from forecasting.charts import ForecastPanel

    if model is None:
        return panels
    return [ForecastPanel(forecast=with_gpus(panel.forecast, model), history=panel.history) for panel in panels]


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
