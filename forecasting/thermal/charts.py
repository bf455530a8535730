"""A picture of a thermal forecast: the past, the fan of quantiles and the limit; pure.

``thermal_svg`` draws without any library; ``thermal_figure`` needs matplotlib (extra ``plot``) and serves PNG.

Called by the command line, which wraps it into a page or writes it as it is.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from html import escape
from typing import Protocol

import numpy as np

from forecasting.thermal.history import LogForecast
from forecasting.types import FloatArray

WIDTH, HEIGHT = 860, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 40, 40
MAXIMUM_PAST_POINTS = 1500
"""More points than pixels only make the file large."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThermalPanel:
    """One picture.

    Attributes:
        result: The forecast.
        past_seconds: Time before the forecast, <= 0, ascending, shape ``(num_past,)``.
        past_celsius: Readings there.
    """

    result: LogForecast
    past_seconds: FloatArray
    past_celsius: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Maps seconds and degrees to pixels."""

    first: float
    last: float
    low: float
    high: float

    def x(self, seconds: float) -> float:
        return LEFT + (seconds - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, celsius: float) -> float:
        return HEIGHT - BOTTOM - (celsius - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def path(self, seconds: FloatArray, celsius: FloatArray) -> str:
        return " ".join(f"{self.x(float(s)):.1f},{self.y(float(c)):.1f}" for s, c in zip(seconds, celsius, strict=True))


def thermal_svg(panel: ThermalPanel) -> str:
    """Return one forecast as an SVG picture."""
    forecast = panel.result.forecast
    past_seconds, past_celsius = _thinned(panel)
    frame = _frame(panel)
    start = past_celsius[-1:] if past_celsius.size else forecast.temperature_celsius[:1, 0]
    seconds = np.concatenate([[0.0], forecast.horizons_seconds])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">GPU {escape(forecast.gpu)}, '
        f"{escape(forecast.issued_at.isoformat(timespec='seconds'))}, {forecast.model.confidence.value}</text>",
    ]
    parts += _axes(frame)
    num_levels = len(forecast.levels)
    for lower in range(num_levels // 2):
        upper = num_levels - 1 - lower
        low = np.concatenate([start, forecast.temperature_celsius[lower]])
        high = np.concatenate([start, forecast.temperature_celsius[upper]])
        outline = frame.path(np.r_[seconds, seconds[::-1]], np.r_[high, low[::-1]])
        parts.append(f'<polygon points="{outline}" fill="#d95f02" opacity="0.25"/>')
    middle = np.array([np.interp(0.5, forecast.levels, column) for column in forecast.temperature_celsius.T])
    line = frame.path(seconds, np.concatenate([start, middle]))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#d95f02" stroke-width="2"/>')
    if past_celsius.size:
        past = frame.path(past_seconds, past_celsius)
        parts.append(f'<polyline points="{past}" fill="none" stroke="#1b3a57" stroke-width="1.5"/>')
    if forecast.limit_celsius is not None:
        level = frame.y(forecast.limit_celsius)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}" stroke="#b2182b" '
            f'stroke-dasharray="6 4"/><text x="{WIDTH - RIGHT}" y="{level - 4:.1f}" text-anchor="end" '
            f'fill="#b2182b">slowdown {forecast.limit_celsius:g} °C</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts)


class Picture(Protocol):
    """A matplotlib figure, as far as we use it."""

    def savefig(self, target: str) -> None:
        """Write the figure to a path, in the format of its ending."""


def thermal_figure(panel: ThermalPanel) -> Picture:
    """Return one forecast as a matplotlib figure, not yet written.

    Args:
        panel: The forecast and its past.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is not installed; the command line asks before it reads anything.
    """
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.add_subplot()
    forecast, (past_seconds, past_celsius) = panel.result.forecast, _thinned(panel)
    start = past_celsius[-1:] if past_celsius.size else forecast.temperature_celsius[:1, 0]
    seconds = np.concatenate([[0.0], forecast.horizons_seconds])
    for lower in range(len(forecast.levels) // 2):
        low, high = forecast.temperature_celsius[lower], forecast.temperature_celsius[-1 - lower]
        axes.fill_between(
            seconds,
            np.concatenate([start, low]),
            np.concatenate([start, high]),
            color="#d95f02",
            alpha=0.25,
            linewidth=0,
        )
    middle = np.array([np.interp(0.5, forecast.levels, column) for column in forecast.temperature_celsius.T])
    axes.plot(seconds, np.concatenate([start, middle]), color="#d95f02", linewidth=2)
    axes.plot(past_seconds, past_celsius, color="#1b3a57", linewidth=1.5)
    if forecast.limit_celsius is not None:
        axes.axhline(forecast.limit_celsius, color="#b2182b", linestyle="--")
    axes.axvline(0.0, color="#888888", linewidth=0.8)
    issued = forecast.issued_at.isoformat(timespec="seconds")
    axes.set_title(f"GPU {forecast.gpu}, {issued}, {forecast.model.confidence.value}", loc="left")
    axes.set_xlabel("seconds after the forecast")
    axes.set_ylabel("°C")
    picture: Picture = figure
    return picture


def thermal_page(panels: list[ThermalPanel]) -> str:
    """Return the pictures on one page that needs nothing from elsewhere."""
    body = "\n".join(f"<p>{thermal_svg(panel)}</p>" for panel in panels)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>meltguard thermal forecast</title>'
        f"<style>svg{{max-width:60em;width:100%}}</style></head><body>\n{body}\n</body></html>\n"
    )


def _thinned(panel: ThermalPanel) -> tuple[FloatArray, FloatArray]:
    """Return the past without missing readings and with a bounded number of points, the last always kept."""
    known = np.isfinite(panel.past_celsius)
    seconds, celsius = panel.past_seconds[known], panel.past_celsius[known]
    step = max(1, int(np.ceil(seconds.size / MAXIMUM_PAST_POINTS)))
    return seconds[::-1][::step][::-1], celsius[::-1][::step][::-1]


def _frame(panel: ThermalPanel) -> _Frame:
    """Return a frame that holds the past, the fan and the limit."""
    forecast = panel.result.forecast
    values = [forecast.temperature_celsius.min(), forecast.temperature_celsius.max()]
    known = panel.past_celsius[np.isfinite(panel.past_celsius)]
    values += [known.min(), known.max()] if known.size else []
    values += [forecast.limit_celsius] if forecast.limit_celsius is not None else []
    first = float(panel.past_seconds[0]) if panel.past_seconds.size else 0.0
    return _Frame(
        first=min(first, -1.0), last=float(forecast.horizons_seconds[-1]),
        low=float(min(values)) - 3.0, high=float(max(values)) + 3.0,
    )  # fmt: skip


def _axes(frame: _Frame) -> list[str]:
    """Return grid lines and labels: round degrees, and six round times."""
    parts = []
    step = 5.0 if frame.high - frame.low < 40.0 else 10.0
    for celsius in np.arange(np.ceil(frame.low / step) * step, frame.high, step):
        y = frame.y(float(celsius))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{celsius:g} °C</text>')
    for seconds in np.linspace(frame.first, frame.last, 7):
        x = frame.x(float(seconds))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{seconds:+.0f} s</text>')
    now = frame.x(0.0)
    parts.append(f'<line x1="{now:.1f}" x2="{now:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#888"/>')
    return parts
