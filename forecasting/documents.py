"""A demand forecast as JSON (``meltguard.forecast/v1``) and as a table for people; pure.

The JSON is a contract: names and shapes change only with the schema's version. Numbers carry six significant digits,
so that equal forecasts give equal bytes on every platform.
"""

from __future__ import annotations

import json

from forecasting.durations import describe_duration, describe_time
from forecasting.types import DemandForecast, FloatArray, SurgePhase

SCHEMA = "meltguard.forecast/v1"


def forecast_json(forecast: DemandForecast) -> str:
    """Return the forecast as one line of JSON."""
    return json.dumps(forecast_document(forecast), allow_nan=False)


def forecast_document(forecast: DemandForecast) -> dict[str, object]:
    """Return the forecast as the contract's JSON object."""
    surge = forecast.surge
    document: dict[str, object] = {
        "schema": SCHEMA,
        "issued_at": describe_time(forecast.issued_at),
        "target": forecast.target.value,
        "unit": "count per step",
        "step_seconds": _number(forecast.step_seconds),
        "series": {"region": forecast.key.region, "tier": forecast.key.tier},
        "surge": {
            "state": surge.phase.value,
            "probability": _number(surge.probability),
            "since": None if surge.since is None else describe_time(surge.since),
            "growth_per_hour": _number(surge.growth_per_hour),
            "doubling_seconds": None if surge.doubling_seconds is None else _number(surge.doubling_seconds),
        },
        "points": [
            {
                "timestamp": describe_time(forecast.start_of(step)),
                "mean": _number(float(forecast.mean[step])),
                "quantiles": _quantiles(forecast, forecast.quantiles, step),
            }
            for step in range(forecast.num_steps)
        ],
    }
    if forecast.gpus_needed is not None:
        document["gpus_needed"] = [
            {
                "timestamp": describe_time(forecast.start_of(step)),
                "quantiles": _quantiles(forecast, forecast.gpus_needed, step),
            }
            for step in range(forecast.num_steps)
        ]
    calibration = forecast.calibration
    document["model"] = {
        "name": forecast.model.name,
        "fitted_seconds": _number(forecast.model.fitted_seconds),
        "num_points": forecast.model.num_points,
    }
    document["calibration"] = {
        "nominal": _number(calibration.nominal),
        "observed": None if calibration.observed is None else _number(calibration.observed),
        "num_scored": calibration.num_scored,
    }
    document["reasons"] = list(forecast.reasons)
    document["warnings"] = list(forecast.warnings)
    return document


def _quantiles(forecast: DemandForecast, values: FloatArray, step: int) -> dict[str, float | int]:
    return {f"{level:g}": _number(float(values[row, step])) for row, level in enumerate(forecast.levels)}


def _number(value: float) -> float | int:
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def forecast_text(forecast: DemandForecast) -> str:
    """Return the forecast as lines for a terminal, without a final newline."""
    name = " ".join(
        part
        for part in (
            forecast.key.region and f"region {forecast.key.region}",
            forecast.key.tier and f"tier {forecast.key.tier}",
        )
        if part
    )
    lines = [
        f"{forecast.target.value} per {describe_duration(forecast.step_seconds)}"
        f"{', ' + name if name else ''}, as of {describe_time(forecast.issued_at)}",
        _surge_line(forecast),
    ]
    header = ["interval starts", "mean", *(f"P{level * 100:g}" for level in forecast.levels)]
    if forecast.gpus_needed is not None:
        header += [f"GPUs P{forecast.levels[row] * 100:g}" for row in _upper_rows(forecast)]
    rows = [header]
    for step in range(forecast.num_steps):
        cells = [describe_time(forecast.start_of(step)), _cell(float(forecast.mean[step]))]
        cells += [_cell(float(value)) for value in forecast.quantiles[:, step]]
        if forecast.gpus_needed is not None:
            cells += [_cell(float(forecast.gpus_needed[row, step])) for row in _upper_rows(forecast)]
        rows.append(cells)
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(padded))
    calibration = forecast.calibration
    if calibration.observed is not None:
        lines.append(
            f"calibration: {calibration.observed:.1%} of {calibration.num_scored} past forecasts"
            f" at or below their P{calibration.nominal * 100:g}"
        )
    lines += [f"because: {reason}" for reason in forecast.reasons]
    lines += [f"warning: {warning}" for warning in forecast.warnings]
    return "\n".join(lines)


def _upper_rows(forecast: DemandForecast) -> list[int]:
    return [row for row, level in enumerate(forecast.levels) if level >= 0.5]


def _surge_line(forecast: DemandForecast) -> str:
    surge = forecast.surge
    if surge.phase is SurgePhase.CALM:
        return f"surge: calm (probability {surge.probability:.2f})"
    since = "" if surge.since is None else f" since {describe_time(surge.since)}"
    doubling = "" if surge.doubling_seconds is None else f", doubling every {describe_duration(surge.doubling_seconds)}"
    return f"surge: {surge.phase.value}{since} (probability {surge.probability:.2f}{doubling})"


def _cell(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"
