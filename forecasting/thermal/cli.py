"""``meltguard thermal fit`` and ``meltguard thermal forecast``: plain functions that the root command mounts by name.

Heavy imports stay inside the bodies, so that ``meltguard --help`` is quick. Data goes to stdout, messages to stderr.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forecasting.thermal.history import LogForecast
    from forecasting.thermal.log_replay import LogRequest
    from forecasting.thermal.telemetry import TelemetryLog

app = typer.Typer(name="thermal", no_args_is_help=True, help="Thermal model from a telemetry log or Prometheus.")

_MAXIMUM_MOMENTS = 100_000
_PAST_SECONDS = 900.0


class OutputFormat(StrEnum):
    """What a command writes to stdout."""

    TEXT = "text"
    JSON = "json"


_TEMPERATURE = "meltguard_gpu_temperature_celsius"
_POWER = "meltguard_gpu_power_watts"


@app.command()
def fit(
    log: Annotated[
        Path | None, typer.Argument(metavar="[LOG]", help="CSV, nvidia-smi CSV log or nvidia-smi table log; .gz too.")
    ] = None,
    limit: Annotated[float | None, typer.Option("--limit", help="Slowdown celsius; default: the margin's.")] = None,
    power_limit: Annotated[
        float | None,
        typer.Option("--power-limit", help="Power limit, watts. Default: the log's, else the class it fits."),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", help="Read from this Prometheus URL, not a log.")
    ] = None,
    lookback: Annotated[str, typer.Option("--lookback", help="How far back to query Prometheus.")] = "6h",
    step: Annotated[str, typer.Option("--step", help="Distance between the points queried.")] = "15s",
    temperature_query: Annotated[
        str, typer.Option("--temperature-query", help="PromQL of the core temperature.")
    ] = _TEMPERATURE,
    power_query: Annotated[str, typer.Option("--power-query", help="PromQL of the power, watts.")] = _POWER,
    state: Annotated[
        Path | None, typer.Option("--state", help="File with gains of an earlier fit, by GPU name.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the gains to this state file.")] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Fit the thermal model of every GPU in a log and say what it learned."""
    from forecasting.thermal import documents
    from forecasting.thermal.fitting import fit_log, state_of
    from forecasting.thermal.storage import save_state

    telemetry = _read(log, prometheus, lookback, step, (temperature_query, power_query), end_seconds=None)
    request = _request(horizons="600s", power="persist", limit=limit, power_limit=power_limit, state=state)
    _warn(telemetry.warnings)
    fits = fit_log(telemetry.gpus, request)
    if output is OutputFormat.JSON:
        for one in fits:
            print(documents.fit_json(one))
    else:
        print(documents.fit_text(fits))
    if save is not None:
        newest = max(float(series.seconds[-1]) for series in telemetry.gpus)
        save_state(save, state_of(fits, saved_at_seconds=newest))


@app.command()
def forecast(
    log: Annotated[
        Path | None, typer.Argument(metavar="[LOG]", help="CSV, nvidia-smi CSV log or nvidia-smi table log; .gz too.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="Moment to forecast from, ISO-8601 or unix seconds; repeatable. Default: the end."),
    ] = None,
    horizons: Annotated[str, typer.Option("--horizons", help="Comma separated.")] = "30s,60s,120s,300s,600s",
    power: Annotated[
        str, typer.Option("--power", help="persist, known (the log's own later power) or WATTS.")
    ] = "persist",
    limit: Annotated[float | None, typer.Option("--limit", help="Slowdown celsius; default: the margin's.")] = None,
    power_limit: Annotated[
        float | None,
        typer.Option("--power-limit", help="Power limit, watts. Default: the log's, else the class it fits."),
    ] = None,
    quantiles: Annotated[str, typer.Option("--quantiles", help="Levels, comma separated.")] = "0.05,0.5,0.95",
    gpu: Annotated[list[str] | None, typer.Option("--gpu", help="Only this GPU; repeatable.")] = None,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", help="Read from this Prometheus URL, not a log.")
    ] = None,
    lookback: Annotated[str, typer.Option("--lookback", help="How far back to query Prometheus.")] = "6h",
    step: Annotated[str, typer.Option("--step", help="Distance between the points queried.")] = "15s",
    temperature_query: Annotated[
        str, typer.Option("--temperature-query", help="PromQL of the core temperature.")
    ] = _TEMPERATURE,
    power_query: Annotated[str, typer.Option("--power-query", help="PromQL of the power, watts.")] = _POWER,
    state: Annotated[
        Path | None, typer.Option("--state", help="File with gains of an earlier fit, by GPU name.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write a picture: .html, .svg or .png.")] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="Format on stdout.")] = OutputFormat.TEXT,
) -> None:
    """Forecast temperature and the time to slowdown from moments of a log; no later temperature is read."""
    from forecasting.thermal import documents
    from forecasting.thermal.history import forecast_log

    _check_plot(plot)
    moments = _moments(at)
    request = _request(
        horizons=horizons, power=power, limit=limit, power_limit=power_limit, state=state, quantiles=quantiles
    )
    reach = float(request.horizons_seconds[-1]) if power == "known" else 0.0
    newest = max(moments) + reach if moments else None
    telemetry = _read(log, prometheus, lookback, step, (temperature_query, power_query), end_seconds=newest)
    telemetry = _selected(telemetry, gpu)
    _warn(telemetry.warnings)
    if not moments:
        moments = (max(float(series.seconds[-1]) for series in telemetry.gpus),)
    results = forecast_log(telemetry.gpus, moments, request)
    if output is OutputFormat.JSON:
        for result in results:
            print(documents.forecast_json(result))
    else:
        print(documents.forecast_text(results))
        _warn(tuple(dict.fromkeys(w for result in results for w in result.forecast.warnings)))
    if plot is not None:
        _write_plot(plot, results, telemetry)


def _read(
    log: Path | None,
    prometheus: str | None,
    lookback: str,
    step: str,
    queries: tuple[str, str],
    *,
    end_seconds: float | None,
) -> TelemetryLog:
    """Read the log or query Prometheus; exactly one of them must be given."""
    import time

    from forecasting.durations import parse_duration
    from forecasting.errors import InputError
    from forecasting.thermal.io import read_log
    from forecasting.thermal.prometheus import PrometheusSource, read_prometheus

    if (log is None) == (prometheus is None):
        raise InputError("give either a LOG or --prometheus URL")
    if log is not None:
        return read_log(log)
    assert prometheus is not None
    source = PrometheusSource(
        url=prometheus,
        temperature_query=queries[0],
        power_query=queries[1],
        step_seconds=parse_duration(step, name="--step"),
    )
    end = min(time.time(), end_seconds if end_seconds is not None else time.time())
    return read_prometheus(source, start_seconds=end - parse_duration(lookback, name="--lookback"), end_seconds=end)


def _request(
    *,
    horizons: str,
    power: str,
    limit: float | None,
    power_limit: float | None,
    state: Path | None,
    quantiles: str = "0.05,0.5,0.95",
) -> LogRequest:
    """Turn options into a request, or say which option is wrong and how to write it."""
    import numpy as np

    from forecasting.durations import parse_duration
    from forecasting.errors import InputError
    from forecasting.thermal.log_replay import LogRequest, PowerMode

    seconds = sorted({parse_duration(part, name="--horizons") for part in horizons.split(",")})
    if len(seconds) > 1000 or seconds[-1] > 86400.0:
        raise InputError("--horizons: at most 1000 horizons of at most 24h")
    mode, watts = PowerMode.CONSTANT, 0.0
    if power in {"persist", "known"}:
        mode = PowerMode(power)
    else:
        watts = _positive(power, "--power", "persist, known or watts such as 650")
    for name, value in (("--limit", limit), ("--power-limit", power_limit)):
        if value is not None and not 0.0 < value < 1e5:
            raise InputError(f"{name}: {value:g} must be positive")
    return LogRequest(
        horizons_seconds=np.array(seconds),
        levels=_levels(quantiles),
        mode=mode,
        watts=watts,
        limit_celsius=limit,
        power_limit_watts=power_limit,
        prior_gains_celsius=_stored_gains(state),
    )


def _stored_gains(state: Path | None) -> dict[str, NDArray[np.float64]]:
    """Return stored gains by GPU name; a file that cannot be used is reported and ignored."""
    if state is None:
        return {}
    from forecasting.thermal.settings import ThermalSettings
    from forecasting.thermal.storage import load_state

    loaded, problem = load_state(state, time_constants_seconds=ThermalSettings().time_constants_seconds)
    _warn((problem,) if problem else ())
    return {stored.record.uuid: stored.record.plateau_gains_celsius for stored in loaded.gpus} if loaded else {}


def _levels(text: str) -> tuple[float, ...]:
    """Return quantile levels, ascending."""
    from forecasting.errors import InputError

    try:
        levels = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise InputError(f"--quantiles: {text!r} must be numbers such as 0.05,0.5,0.95") from error
    if not all(0.0 < level < 1.0 for level in levels) or len(levels) > 99:
        raise InputError(f"--quantiles: {text!r} must be at most 99 numbers between 0 and 1")
    return levels


def _positive(text: str, name: str, example: str) -> float:
    """Return a number >= 0, with or without a W."""
    from forecasting.errors import InputError

    try:
        value = float(text.removesuffix("W").removesuffix("w"))
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e5:
        raise InputError(f"{name}: {text!r} is not understood; write {example}")
    return value


def _moments(at: list[str] | None) -> tuple[float, ...]:
    """Return the moments as unix seconds."""
    from forecasting.errors import InputError
    from forecasting.thermal.io import parse_time

    if at is not None and len(at) > _MAXIMUM_MOMENTS:
        raise InputError(f"--at: at most {_MAXIMUM_MOMENTS} moments")
    return tuple(parse_time(text, "--at") for text in at or ())


def _selected(telemetry: TelemetryLog, names: list[str] | None) -> TelemetryLog:
    """Return only the GPUs that were asked for."""
    from dataclasses import replace

    from forecasting.errors import InputError

    if not names:
        return telemetry
    known = {series.gpu for series in telemetry.gpus}
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"--gpu: {missing[0]!r} is not in the log; it has {', '.join(sorted(known))}")
    return replace(telemetry, gpus=tuple(series for series in telemetry.gpus if series.gpu in names))


def _check_plot(plot: Path | None) -> None:
    """Refuse a picture format, or one that nothing installed can draw, before any work is done."""
    import importlib

    from forecasting.errors import ForecastingError, InputError

    if plot is None:
        return
    if plot.suffix not in {".html", ".svg", ".png"}:
        raise InputError(f"--plot: '{plot}' must end in .html, .svg or .png")
    if plot.suffix == ".png":
        try:
            importlib.import_module("matplotlib.figure")
        except ImportError as error:
            raise ForecastingError(
                f"--plot: '{plot}' needs matplotlib: pip install 'meltguard[plot]', or name an .html or .svg file"
            ) from error


def _write_plot(plot: Path, results: list[LogForecast], telemetry: TelemetryLog) -> None:
    """Write one page of all pictures, or the first as SVG or PNG."""
    from forecasting.errors import ForecastingError
    from forecasting.thermal.charts import ThermalPanel, thermal_figure, thermal_page, thermal_svg

    by_name = {series.gpu: series for series in telemetry.gpus}
    panels = []
    for result in results:
        series, now = by_name[result.forecast.gpu], result.forecast.issued_at.timestamp()
        shown = (series.seconds <= now) & (series.seconds >= now - _PAST_SECONDS)
        panels.append(
            ThermalPanel(
                result=result,
                past_seconds=series.seconds[shown] - now,
                past_celsius=series.temperature_celsius[shown],
            )
        )
    try:
        if plot.suffix == ".png":
            thermal_figure(panels[0]).savefig(str(plot))
        else:
            text = thermal_page(panels) if plot.suffix == ".html" else thermal_svg(panels[0])
            plot.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ForecastingError(f"{plot}: picture cannot be written ({error}); check the folder") from error
    print(f"wrote {plot}", file=sys.stderr)


def _warn(messages: tuple[str, ...]) -> None:
    """Write warnings to stderr, one line each."""
    for message in messages:
        print(f"warning: {message}", file=sys.stderr)
