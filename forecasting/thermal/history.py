"""Runs the model over a recorded log and forecasts from moments in it.

Called by the command line and by benchmarks. Pure. A forecast from a moment sees no temperature later than it; power
later than it is read only where the caller says that it is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from forecasting.errors import NotEnoughDataError
from forecasting.thermal.derived import headroom_at_limit_celsius, sustainable_power_watts
from forecasting.thermal.fleet import FleetThermalModel
from forecasting.thermal.health import SampleState
from forecasting.thermal.log_replay import SMALLEST_PERIOD_SECONDS, LogReplay, LogRequest, PowerMode, power_limit_of
from forecasting.thermal.margin import MARGIN_REFERENCE_CELSIUS
from forecasting.thermal.persistence import persisting_power_watts, power_spread_watts
from forecasting.thermal.priors import share_gains
from forecasting.thermal.telemetry import GpuTelemetry
from forecasting.types import FloatArray, ThermalConfidence, ThermalForecast, ThermalModelInfo, utc_from_timestamp

MAXIMUM_PATH_STEPS = 1200
"""Steps of a power path; two for every second of a ten minute forecast."""

STALE_SECONDS = 60.0
"""A last reading older than this (and than three periods) is called stale."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogForecast:
    """A forecast from a moment of a log, and what goes with it.

    Attributes:
        forecast: Core temperature.
        memory: Memory temperature, where the log has it.
        margin_celsius: Quantiles of the degrees left to the first intervention, shape ``(num_levels, num_horizons)``,
            ascending along the levels; None where the log has no margin, or a limit was asked for.
        maximum_celsius: Highest reading of the last 15 minutes (the simple rule); None without one.
        alarmed: Whether this forecast and those before it agree that the limit will be crossed (``CrossingAlarm``);
            None if the limit is unknown.
        headroom_at_limit_celsius: Limit minus the plateau at full power; None if the limit is unknown.
        sustainable_power_watts: Power that keeps the guard for ever; None if the limit is unknown.
    """

    forecast: ThermalForecast
    memory: ThermalForecast | None
    margin_celsius: FloatArray | None
    maximum_celsius: float | None
    alarmed: bool | None
    headroom_at_limit_celsius: float | None
    sustainable_power_watts: float | None


def forecast_log(
    gpus: tuple[GpuTelemetry, ...], at_seconds: tuple[float, ...], request: LogRequest
) -> list[LogForecast]:
    """Forecast every GPU from every moment.

    Args:
        gpus: Logs of the GPUs of one kind.
        at_seconds: Unix times, any order.
        request: What is asked.

    Returns:
        One forecast per moment and GPU, moments ascending.

    Raises:
        NotEnoughDataError: If a moment lies before the first two readings of every GPU.
    """
    replays: dict[str, LogReplay] = {}
    results: list[LogForecast] = []
    reach = float(request.horizons_seconds[-1]) if request.mode is PowerMode.KNOWN else 0.0
    for moment in sorted(at_seconds):
        present = [series for series in gpus if np.count_nonzero(series.seconds <= moment) >= 2]
        if not present:
            first = utc_from_timestamp(min(float(series.seconds[0]) for series in gpus)).isoformat()
            raise NotEnoughDataError(
                f"--at {utc_from_timestamp(moment).isoformat()}: fewer than two readings before it; "
                f"the log starts at {first}"
            )
        for series in present:
            watts = power_limit_of(series, request, known_until_seconds=moment + reach)
            replay = replays.get(series.gpu)
            if replay is None or replay.power_limit_watts != watts:
                replay = replays[series.gpu] = LogReplay(series=series, power_limit_watts=watts, request=request)
            replay.advance(moment)
        chosen = [replays[series.gpu] for series in present]
        share_gains(tuple(replay.model for replay in chosen))
        share_gains(tuple(replay.margin_model for replay in chosen if replay.margin_model is not None))
        results.extend(_forecast_one(replay, moment, request) for replay in chosen)
    return results


def _forecast_one(replay: LogReplay, moment: float, request: LogRequest) -> LogForecast:
    """Forecast one GPU from one moment."""
    edges, path, warnings = _power_path(replay.source, moment, request)
    limit = replay.limit_at(moment)
    if limit is None:
        warnings.append("slowdown limit unknown; give --limit for the time to slowdown")
    age = moment - float(replay.source.seconds[replay.source.seconds <= moment][-1])
    if age > max(STALE_SECONDS, 3.0 * replay.source.period_seconds):
        warnings.append(f"last reading is {age:.0f} s old; intervals are widened")
    if replay.model.confidence[0] is ThermalConfidence.NONE:
        warnings.append("load has not varied enough to learn from; keep a wider guard")
    if replay.model.sample_state[0] == SampleState.FROZEN:
        warnings.append("power has been identical for too long while busy; the exporter may be frozen")
    spread = np.zeros(request.horizons_seconds.shape)
    if request.mode is PowerMode.PERSIST:
        past = replay.source.seconds <= moment
        spread = power_spread_watts(
            replay.source.seconds[past], replay.source.power_watts[past], request.horizons_seconds
        )
    forecast = _typed(replay.model, limit, moment, (edges, path), request, tuple(warnings))
    forecast = _widened(forecast, replay.model, spread)
    memory = None
    if replay.memory_model is not None:
        memory = _typed(replay.memory_model, None, moment, (edges, path), request, ())
        memory = _widened(memory, replay.memory_model, spread)
    margin = None
    if replay.margin_model is not None:
        forecast, margin = _by_margin(forecast, replay.margin_model, (edges, path), request, spread)
    maximum = float(replay.rule.maximum_celsius[0])
    headroom = float(headroom_at_limit_celsius(replay.limiting_model)[0])
    sustainable = float(sustainable_power_watts(replay.limiting_model)[0])
    return LogForecast(
        forecast=forecast,
        memory=memory,
        margin_celsius=margin,
        maximum_celsius=maximum if np.isfinite(maximum) else None,
        alarmed=None if limit is None else replay.alarmed(forecast),
        headroom_at_limit_celsius=headroom if np.isfinite(headroom) else None,
        sustainable_power_watts=sustainable if np.isfinite(sustainable) else None,
    )


def _by_margin(
    forecast: ThermalForecast,
    model: FleetThermalModel,
    path: tuple[FloatArray, FloatArray],
    request: LogRequest,
    spread_watts: FloatArray,
) -> tuple[ThermalForecast, FloatArray]:
    """Return the forecast with the time to slowdown of the margin, and the margin's quantiles.

    A low margin is a high temperature, so the margin at a level is taken from the temperature at one minus the level.
    """
    turned = tuple(sorted(1.0 - level for level in request.levels))
    moment = forecast.issued_at.timestamp()
    hot = _typed(model, None, moment, path, replace(request, levels=turned), ())
    hot = _widened(hot, model, spread_watts)
    seconds = _typed(model, None, moment, path, request, ()).seconds_to_slowdown
    margin: FloatArray = MARGIN_REFERENCE_CELSIUS - hot.temperature_celsius[::-1]
    return replace(forecast, seconds_to_slowdown=seconds), margin


def _power_path(series: GpuTelemetry, moment: float, request: LogRequest) -> tuple[FloatArray, FloatArray, list[str]]:
    """Return the ends of the path's steps (seconds after the moment), mean power of each, and warnings."""
    last = float(request.horizons_seconds[-1])
    step = max(min(series.period_seconds, 60.0), SMALLEST_PERIOD_SECONDS, last / MAXIMUM_PATH_STEPS)
    regular = np.arange(1, int(np.floor(last / step)) + 1) * step
    edges = np.unique(np.round(np.concatenate([regular, request.horizons_seconds]), 6))
    if request.mode is PowerMode.KNOWN:
        path, covered = series.mean_power_watts(start_seconds=moment, edges_seconds=edges)
        return edges, path, [] if covered else ["the log's power ends before the last horizon; its last power goes on"]
    if request.mode is PowerMode.CONSTANT:
        return edges, np.full(edges.shape, request.watts), []
    past = series.seconds <= moment
    persisting = persisting_power_watts(series.seconds[past], series.power_watts[past])
    warning = "power is assumed to persist; intervals cover load changes only as far as the log has shown them"
    return edges, np.full(edges.shape, persisting), [warning]


def _typed(
    model: FleetThermalModel,
    limit: float | None,
    moment: float,
    path: tuple[FloatArray, FloatArray],
    request: LogRequest,
    warnings: tuple[str, ...],
) -> ThermalForecast:
    """Return the shared forecast type of a batch of one, at the horizons that were asked for."""
    edges, watts = path
    fleet = model.forecast(horizons_seconds=edges, power_watts=watts[None, :], levels=request.levels)
    chosen = np.searchsorted(edges, np.round(request.horizons_seconds, 6))
    seconds = fleet.seconds_to_slowdown[:, 0]
    return ThermalForecast(
        gpu=model.gpus[0],
        issued_at=utc_from_timestamp(moment),
        horizons_seconds=request.horizons_seconds,
        levels=request.levels,
        temperature_celsius=fleet.temperature_celsius[:, 0, chosen],
        limit_celsius=limit,
        seconds_to_slowdown={
            level: float(value) if np.isfinite(value) else None
            for level, value in zip(request.levels, seconds, strict=True)
        },
        model=ThermalModelInfo(
            thermal_resistance_celsius_per_watt=float(model.thermal_resistance_celsius_per_watt[0]),
            time_constant_seconds=tuple(float(value) for value in model.time_constants_seconds),
            ambient_celsius=float(model.ambient_celsius[0]),
            confidence=ThermalConfidence(model.confidence[0]),
        ),
        warnings=warnings,
    )


def _widened(forecast: ThermalForecast, model: FleetThermalModel, spread_watts: FloatArray) -> ThermalForecast:
    """Return a forecast whose quantiles also cover power that is off by ``spread_watts`` (standard deviation).

    Independent deviations add in squares; the time to slowdown stays that of the power that was assumed.
    """
    if not spread_watts.any():
        return forecast
    reach = -np.expm1(-forecast.horizons_seconds[:, None] / model.time_constants_seconds)
    response = reach @ (model.plateau_gains_celsius[0] / model.power_limit_watts[0])
    scores = np.array([NormalDist().inv_cdf(level) for level in forecast.levels])[:, None]
    levels, quantiles = np.asarray(forecast.levels), forecast.temperature_celsius
    median = np.array([np.interp(0.5, levels, column) for column in quantiles.T])
    away = np.hypot(quantiles - median, scores * response * spread_watts)
    return replace(forecast, temperature_celsius=median + np.sign(scores) * away)
