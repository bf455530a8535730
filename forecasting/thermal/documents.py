"""Thermal forecasts and fits as text and as the contract's JSON; pure, used by the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from forecasting.thermal.history import LogForecast
from forecasting.types import FloatArray, ThermalForecast

FORECAST_SCHEMA = "meltguard.thermal/v1"
FIT_SCHEMA = "meltguard.thermal-fit/v1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GpuFit:
    """What a fit says about one GPU.

    Attributes:
        gpu: Name.
        num_samples: Readings that were replayed.
        power_limit_watts: Limit that gains refer to.
        thermal_resistance_celsius_per_watt: Plateau rise per watt.
        resistance_deviation_ratio: Its relative standard deviation.
        time_constants_seconds: Of the bank, shape ``(num_tc,)``.
        plateau_gains_celsius: Kelvin at the power limit, shape ``(num_tc,)``.
        ambient_celsius: Temperature at zero power.
        confidence: Where the gains come from.
        plateau_celsius: Temperature after a long time at the power limit.
        headroom_at_limit_celsius: None if the limit is unknown.
        sustainable_power_watts: None if the limit is unknown.
        against_siblings_ratio: Resistance over that of its siblings, minus 1; None without siblings.
        coverage: Observed coverage of 90 % intervals per calibrated horizon; None where nothing was scored.
    """

    gpu: str
    num_samples: int
    power_limit_watts: float
    thermal_resistance_celsius_per_watt: float
    resistance_deviation_ratio: float
    time_constants_seconds: FloatArray
    plateau_gains_celsius: FloatArray
    ambient_celsius: float
    confidence: str
    plateau_celsius: float
    headroom_at_limit_celsius: float | None
    sustainable_power_watts: float | None
    against_siblings_ratio: float | None
    coverage: dict[float, float | None]


def forecast_document(result: LogForecast) -> dict[str, object]:
    """Return the contract's document ``meltguard.thermal/v1`` of one forecast, with what goes beyond it at the end."""
    forecast = result.forecast
    limit = forecast.limit_celsius
    margin = None if limit is None or result.maximum_celsius is None else limit - result.maximum_celsius
    document: dict[str, object] = {
        "schema": FORECAST_SCHEMA,
        "issued_at": _time(forecast),
        "gpu": forecast.gpu,
        "points": _points(forecast, forecast.temperature_celsius),
        "seconds_to_slowdown": {
            f"{level:g}": _rounded(seconds) for level, seconds in forecast.seconds_to_slowdown.items()
        },
        "limit_celsius": limit,
        "model": {
            "thermal_resistance_celsius_per_watt": _rounded(forecast.model.thermal_resistance_celsius_per_watt, 6),
            "time_constant_seconds": list(forecast.model.time_constant_seconds),
            "ambient_celsius": _rounded(forecast.model.ambient_celsius),
            "confidence": forecast.model.confidence.value,
        },
        "warnings": list(forecast.warnings),
        "simple_rule": {
            "maximum_celsius": _rounded(result.maximum_celsius),
            "window_seconds": 900,
            "margin_celsius": _rounded(margin),
        },
        "alarm": {"raised": result.alarmed, "forecasts_in_a_row": 3},
        "headroom_at_limit_celsius": _rounded(result.headroom_at_limit_celsius),
        "sustainable_power_watts": _rounded(result.sustainable_power_watts),
    }
    if result.margin_celsius is not None:
        document["margin"] = {"points": _points(forecast, result.margin_celsius)}
    if result.memory is not None:
        document["memory"] = {"points": _points(result.memory, result.memory.temperature_celsius)}
    return document


def forecast_json(result: LogForecast) -> str:
    """Return the document as one line."""
    return json.dumps(forecast_document(result), allow_nan=False)


def forecast_text(results: list[LogForecast]) -> str:
    """Return a table of forecasts, one line per moment and GPU."""
    if not results:
        return ""
    first = results[0].forecast
    names = [f"{horizon:g}s" for horizon in first.horizons_seconds]
    lines = [
        f"{'issued at':26} {'gpu':>10} " + " ".join(f"{name:>17}" for name in names) + "  slowdown in  model",
    ]
    for result in results:
        forecast = result.forecast
        low, high = forecast.temperature_celsius[0], forecast.temperature_celsius[-1]
        median = np.array([np.interp(0.5, forecast.levels, column) for column in forecast.temperature_celsius.T])
        cells = " ".join(f"{m:6.1f} ({a:.1f}..{b:.1f})".rjust(17) for m, a, b in zip(median, low, high, strict=True))
        soonest = min((value for value in forecast.seconds_to_slowdown.values() if value is not None), default=None)
        nothing = "unknown" if forecast.limit_celsius is None else "-"
        slowdown = nothing if soonest is None else f"{soonest:.0f} s"
        lines.append(
            f"{_time(forecast):26} {forecast.gpu[:10]:>10} {cells}  {slowdown:>11}  {forecast.model.confidence.value}"
        )
    lines.append(f"degrees celsius: median ({first.levels[0]:g}..{first.levels[-1]:g}); slowdown: earliest quantile")
    return "\n".join(lines)


def fit_document(fit: GpuFit) -> dict[str, object]:
    """Return the document ``meltguard.thermal-fit/v1`` of one GPU."""
    return {
        "schema": FIT_SCHEMA,
        "gpu": fit.gpu,
        "num_samples": fit.num_samples,
        "power_limit_watts": fit.power_limit_watts,
        "thermal_resistance_celsius_per_watt": _rounded(fit.thermal_resistance_celsius_per_watt, 6),
        "resistance_deviation_ratio": _rounded(fit.resistance_deviation_ratio, 4),
        "time_constant_seconds": [float(value) for value in fit.time_constants_seconds],
        "plateau_gains_celsius": [round(float(value), 4) for value in fit.plateau_gains_celsius],
        "ambient_celsius": _rounded(fit.ambient_celsius),
        "confidence": fit.confidence,
        "plateau_celsius": _rounded(fit.plateau_celsius),
        "headroom_at_limit_celsius": _rounded(fit.headroom_at_limit_celsius),
        "sustainable_power_watts": _rounded(fit.sustainable_power_watts),
        "against_siblings_ratio": _rounded(fit.against_siblings_ratio, 4),
        "interval_coverage": {f"{horizon:g}": _rounded(value, 4) for horizon, value in fit.coverage.items()},
    }


def fit_json(fit: GpuFit) -> str:
    """Return the document as one line."""
    return json.dumps(fit_document(fit), allow_nan=False)


def fit_text(fits: list[GpuFit]) -> str:
    """Return a table of fits, one line per GPU."""
    lines = [
        f"{'gpu':>12} {'readings':>8} {'K/W':>7} {'+-':>5} {'ambient':>8} {'plateau':>8} {'headroom':>8} "
        f"{'hold W':>7}  model"
    ]
    for fit in fits:
        lines.append(
            f"{fit.gpu[:12]:>12} {fit.num_samples:8d} {fit.thermal_resistance_celsius_per_watt:7.4f} "
            f"{fit.resistance_deviation_ratio:5.0%} {fit.ambient_celsius:8.1f} {fit.plateau_celsius:8.1f} "
            f"{_cell(fit.headroom_at_limit_celsius):>8} {_cell(fit.sustainable_power_watts):>7}  {fit.confidence}"
        )
    lines.append("plateau: celsius at the power limit; hold W: watts that keep the guard for ever")
    return "\n".join(lines)


def _points(forecast: ThermalForecast, quantiles_celsius: FloatArray) -> list[dict[str, object]]:
    """Return quantiles, shape ``(num_levels, num_horizons)``, as points at the forecast's horizons."""
    return [
        {
            "horizon_seconds": _whole(float(horizon)),
            "quantiles": {
                f"{level:g}": _rounded(float(quantiles_celsius[row, column]))
                for row, level in enumerate(forecast.levels)
            },
        }
        for column, horizon in enumerate(forecast.horizons_seconds)
    ]


def _time(forecast: ThermalForecast) -> str:
    """Return the moment of issue as ISO-8601 with ``Z``, milliseconds only where it has any."""
    moment = forecast.issued_at
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def _rounded(value: float | None, digits: int = 3) -> float | None:
    """Return a finite value rounded; None for None and for what is not finite."""
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def _whole(value: float) -> int | float:
    """Return 60 for 60.0."""
    return int(value) if value.is_integer() else value


def _cell(value: float | None) -> str:
    """Return a number with one decimal, or a dash."""
    return "-" if value is None else f"{value:.1f}"
