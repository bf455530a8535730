"""One GPU's recorded log, fed to a model of its own up to a moment.

Called by ``history`` (forecasts) and ``fitting``. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from forecasting.thermal.fleet import FleetThermalModel
from forecasting.thermal.margin import MARGIN_REFERENCE_CELSIUS, temperature_from_margin
from forecasting.thermal.rules import CrossingAlarm, MaximumOverTime
from forecasting.thermal.settings import ThermalSettings
from forecasting.thermal.telemetry import GpuTelemetry
from forecasting.types import FloatArray, ThermalForecast

SMALLEST_PERIOD_SECONDS = 1.0
"""Logs finer than this are joined: phases below a second move the die, but no forecast can use them."""

MAXIMUM_REPLAYED_SAMPLES = 20_000
"""Longer histories are joined into longer steps, so that a day of a log takes seconds."""

LIMIT_READINGS = 15
"""The limit behind a margin is the median over so many readings: both are whole degrees."""

POWER_CLASSES_WATTS = (
    *(75, 115, 130, 150, 175, 200, 230, 250, 285, 300, 320, 350, 400, 450),
    *(500, 575, 600, 700, 750, 1000, 1200, 1400, 2000),
)
"""Usual power limits; a log without one is taken to be of the lowest class that its power fits."""

ALARM_LEVEL = 0.5
"""An alarm goes by the crossing that is as likely as not (decision 23)."""


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
        self._alarm = CrossingAlarm(num_gpus=1)
        self._next = 0
        self._next_at_alarm = 0

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

    def alarmed(self, forecast: ThermalForecast) -> bool:
        """Take the forecast of this moment and return whether it and those before it agree on a crossing."""
        nearest = min(forecast.seconds_to_slowdown, key=lambda level: abs(level - ALARM_LEVEL))
        seconds = forecast.seconds_to_slowdown[nearest]
        new_reading, self._next_at_alarm = self._next > self._next_at_alarm, self._next
        raised = self._alarm.observe(
            predicted=np.array([seconds is not None]),
            expected_seconds=np.array([np.inf if seconds is None else seconds]),
            new_reading=new_reading,
            period_seconds=self.samples.period_seconds,
        )
        return bool(raised[0])

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
