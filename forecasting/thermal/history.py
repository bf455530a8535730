"""Runs the model over a recorded log and forecasts from moments in it.

Called by the command line and by benchmarks. Pure. A forecast from a moment sees no temperature later than it; power
later than it is read only where the caller says that it is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from forecasting.errors import NotEnoughDataError
from forecasting.thermal.derived import headroom_at_limit_celsius, sustainable_power_watts
from forecasting.thermal.fleet import FleetThermalModel
from forecasting.thermal.health import SampleState
from forecasting.thermal.margin import MARGIN_REFERENCE_CELSIUS, temperature_from_margin
from forecasting.thermal.persistence import persisting_power_watts, power_spread_watts
from forecasting.thermal.priors import share_gains
from forecasting.thermal.rules import MaximumOverTime
from forecasting.thermal.settings import ThermalSettings
from forecasting.thermal.telemetry import GpuTelemetry
from forecasting.types import FloatArray, ThermalConfidence, ThermalForecast, ThermalModelInfo, utc_from_timestamp

SMALLEST_PERIOD_SECONDS = 1.0
"""Logs finer than this are joined: phases below a second move the die, but no forecast can use them."""

MAXIMUM_REPLAYED_SAMPLES = 20_000
"""Longer histories are joined into longer steps, so that a day of a log takes seconds."""

MAXIMUM_PATH_STEPS = 1200
"""Steps of a power path; two for every second of a ten minute forecast."""

STALE_SECONDS = 60.0
"""A last reading older than this (and than three periods) is called stale."""

LIMIT_READINGS = 15
"""The limit behind a margin is the median over so many readings: both are whole degrees."""

POWER_CLASSES_WATTS = (
    *(75, 115, 130, 150, 175, 200, 230, 250, 285, 300, 320, 350, 400, 450),
    *(500, 575, 600, 700, 750, 1000, 1200, 1400, 2000),
)
"""Usual power limits; a log without one is taken to be of the lowest class that its power fits."""


class PowerMode(StrEnum):
    """Which power the future is forecast under."""

    PERSIST = "persist"
    KNOWN = "known"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogRequest:
    """What is asked of a log.

    Attributes:
        horizons_seconds: Ascending, > 0, shape ``(num_horizons,)``.
        levels: Quantile levels.
        mode: Which power.
        watts: The power of ``PowerMode.CONSTANT``.
        limit_celsius: Slowdown limit; None takes the log's own.
        power_limit_watts: None takes the log's own, or the class that its power fits.
        prior_gains_celsius: By GPU name, plateau gains of an earlier fit, shape ``(num_tc,)``.
        settings: Constants.
    """

    horizons_seconds: FloatArray
    levels: tuple[float, ...] = (0.05, 0.5, 0.95)
    mode: PowerMode = PowerMode.PERSIST
    watts: float = 0.0
    limit_celsius: float | None = None
    power_limit_watts: float | None = None
    prior_gains_celsius: dict[str, FloatArray] = field(default_factory=dict)
    settings: ThermalSettings = field(default_factory=ThermalSettings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogForecast:
    """A forecast from a moment of a log, and what goes with it.

    Attributes:
        forecast: Core temperature.
        memory: Memory temperature, where the log has it.
        margin_celsius: Quantiles of the degrees left to the first intervention, shape ``(num_levels, num_horizons)``,
            ascending along the levels; None where the log has no margin, or a limit was asked for.
        maximum_celsius: Highest reading of the last 15 minutes (the simple rule); None without one.
        headroom_at_limit_celsius: Limit minus the plateau at full power; None if the limit is unknown.
        sustainable_power_watts: Power that keeps the guard for ever; None if the limit is unknown.
    """

    forecast: ThermalForecast
    memory: ThermalForecast | None
    margin_celsius: FloatArray | None
    maximum_celsius: float | None
    headroom_at_limit_celsius: float | None
    sustainable_power_watts: float | None


class LogReplay:
    """One GPU's log, fed to a model of its own up to a moment.

    Args:
        series: The log.
        power_limit_watts: Limit of the model.
        request: Limits, priors and constants.
    """

    def __init__(self, *, series: GpuTelemetry, power_limit_watts: float, request: LogRequest) -> None:
        """Prepare the log; nothing is read yet."""
        span = float(series.seconds[-1] - series.seconds[0])
        period = max(SMALLEST_PERIOD_SECONDS, span / MAXIMUM_REPLAYED_SAMPLES)
        self.source = series
        self.samples = series.resampled(period)
        self.power_limit_watts = power_limit_watts
        limit = request.limit_celsius if request.limit_celsius is not None else series.limit_celsius
        self.limit_celsius = limit
        self.model = _model(series.gpu, power_limit_watts, limit, request)
        has_memory = bool(np.isfinite(series.memory_temperature_celsius).any())
        self.memory_model = _model(series.gpu, power_limit_watts, None, request) if has_memory else None
        has_margin = series.has_margin and request.limit_celsius is None
        self.margin_model = (
            _model(series.gpu, power_limit_watts, MARGIN_REFERENCE_CELSIUS, request) if has_margin else None
        )
        self.rule = MaximumOverTime(num_gpus=1)
        self._next = 0

    @property
    def limiting_model(self) -> FleetThermalModel:
        """The model whose limit counts: of the margin where there is one, else of the core temperature."""
        return self.model if self.margin_model is None else self.margin_model

    def limit_at(self, moment: float) -> float | None:
        """Return the core temperature at which the hardware intervenes, as of ``moment`` (unix time); None unknown.

        Margin and temperature do not add up to a constant, so the sum of the latest readings speaks for the present.
        """
        if self.margin_model is None:
            return self.limit_celsius
        source = self.source
        assert source.margin_celsius is not None
        total = (source.temperature_celsius + source.margin_celsius)[source.seconds <= moment]
        known = total[np.isfinite(total)]
        return float(np.median(known[-LIMIT_READINGS:])) if known.size else None

    def advance(self, until_seconds: float) -> None:
        """Feed the readings up to and including ``until_seconds`` (unix time)."""
        samples = self.samples
        stop = int(np.searchsorted(samples.seconds, until_seconds, side="right"))
        for index in range(self._next, stop):
            now, chosen = float(samples.seconds[index]), slice(index, index + 1)
            power, utilization = samples.power_watts[chosen], samples.utilization_ratio[chosen]
            throttled = samples.throttled[chosen] > 0.5
            temperature = samples.temperature_celsius[chosen]
            self.rule.observe(now_seconds=now, temperature_celsius=temperature)
            self.model.observe(
                now_seconds=now,
                temperature_celsius=temperature,
                power_watts=power,
                utilization_ratio=utilization,
                throttled=throttled,
            )
            others = [(self.memory_model, samples.memory_temperature_celsius[chosen])]
            if samples.margin_celsius is not None:
                margin = samples.margin_celsius[chosen]
                others.append((self.margin_model, temperature_from_margin(margin, np.array(MARGIN_REFERENCE_CELSIUS))))
            for model, celsius in others:
                if model is not None:
                    model.observe(
                        now_seconds=now,
                        temperature_celsius=celsius,
                        power_watts=power,
                        utilization_ratio=utilization,
                        throttled=throttled,
                    )
        self._next = max(self._next, stop)
        # A model whose last reading is older goes on to the moment at its last power.
        nothing = np.full(1, np.nan)
        for model in (self.model, self.memory_model, self.margin_model):
            if model is not None and until_seconds > float(samples.seconds[stop - 1]) + SMALLEST_PERIOD_SECONDS:
                model.observe(now_seconds=until_seconds, temperature_celsius=nothing, power_watts=nothing)


def _model(gpu: str, power_limit_watts: float, limit: float | None, request: LogRequest) -> FleetThermalModel:
    """Return a model of one GPU, started from its stored gains where there are any."""
    model = FleetThermalModel(
        gpus=(gpu,),
        power_limit_watts=np.array([power_limit_watts]),
        limit_celsius=np.array([np.nan if limit is None else limit]),
        settings=request.settings,
    )
    stored = request.prior_gains_celsius.get(gpu)
    if stored is not None:
        model.adopt_prior(chosen=np.array([True]), plateau_gains_celsius=stored[None, :])
    return model


def power_limit_of(series: GpuTelemetry, request: LogRequest, *, known_until_seconds: float) -> float:
    """Return the power limit: asked for, logged, or the lowest usual class that the power seen so far fits.

    Args:
        series: The log.
        request: May state a limit.
        known_until_seconds: Unix time up to which power may be read.

    Returns:
        Watts, > 0.
    """
    stated = request.power_limit_watts if request.power_limit_watts is not None else series.power_limit_watts
    if stated is not None:
        return stated
    seen = series.power_watts[(series.seconds <= known_until_seconds) & np.isfinite(series.power_watts)]
    # A spike is a sensor fault, not a class; one reading in a hundred may be one.
    highest = float(np.quantile(seen, 0.99)) if seen.size else 0.0
    if request.mode is PowerMode.CONSTANT:
        highest = max(highest, request.watts)
    return float(next((watts for watts in POWER_CLASSES_WATTS if highest <= 1.02 * watts), highest))


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
