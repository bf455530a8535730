"""Pictures of a demand forecast: history, fan of quantiles, surge marks.

``figure_svg`` draws without any library, for the self-contained HTML page; ``forecast_figure`` draws with matplotlib
for PNG and SVG files. Pure: both return what they drew, ``io`` writes it.
"""

from __future__ import annotations

import html
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from forecasting.durations import describe_time
from forecasting.errors import ForecastingError
from forecasting.types import DemandForecast, DemandSeries, FloatArray, SurgePhase

MAX_PANELS = 24
"""Most forecasts in one picture; more would not be readable."""

_HISTORY_POINTS_PER_STEP = 12
_WIDTH, _HEIGHT = 960.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 72.0, 16.0, 30.0, 34.0
_INK, _FAN, _MEDIAN, _SURGE = "#1f2933", "#3b82c4", "#c2410c", "#d9480f"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastPanel:
    """One forecast with the counts that led to it.

    Attributes:
        forecast: The forecast.
        history: The target's counts; those after ``issued_at`` are drawn as what came, thin.
    """

    forecast: DemandForecast
    history: DemandSeries


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawn:
    past_seconds: FloatArray
    past: FloatArray
    later_seconds: FloatArray
    later: FloatArray
    fan_seconds: FloatArray
    top: float


def _drawn(panel: ForecastPanel) -> _Drawn:
    """Cut the history to the part worth seeing; times in seconds relative to ``issued_at``."""
    forecast, history = panel.forecast, panel.history
    step = history.step_seconds
    num_past = max(48, _HISTORY_POINTS_PER_STEP * forecast.num_steps)
    known = history.until(forecast.issued_at).num_points
    first = max(0, known - num_past)
    last = min(history.num_points, known + forecast.num_steps)
    offset = (history.start - forecast.issued_at).total_seconds()
    seconds: FloatArray = offset + (np.arange(history.num_points, dtype=np.float64) + 0.5) * step
    fan: FloatArray = (np.arange(forecast.num_steps, dtype=np.float64) + 0.5) * forecast.step_seconds
    values = [history.values[first:last], forecast.quantiles.ravel(), np.ones(1) * 1e-9]
    top = float(np.nanmax(np.concatenate(values)))
    return _Drawn(
        past_seconds=seconds[first:known],
        past=history.values[first:known],
        later_seconds=seconds[known:last],
        later=history.values[known:last],
        fan_seconds=fan,
        top=top * 1.06,
    )


def _title(forecast: DemandForecast) -> str:
    name = " / ".join(part for part in (forecast.key.region, forecast.key.tier) if part)
    return f"{forecast.target.value}{' ' + name if name else ''}, as of {describe_time(forecast.issued_at)}"


def _surge_title(forecast: DemandForecast) -> str:
    surge = forecast.surge
    since = "" if surge.since is None else f" since {describe_time(surge.since)}"
    return f"{surge.phase.value}{since}"


class _Canvas:
    """Collects SVG elements and maps seconds and counts onto the plot area."""

    def __init__(self, *, first_seconds: float, last_seconds: float, top: float) -> None:
        self._first = first_seconds
        self._span = max(last_seconds - first_seconds, 1e-9)
        self._top = top
        self.elements: list[str] = []

    def x(self, seconds: float) -> float:
        return _LEFT + (seconds - self._first) / self._span * (_WIDTH - _LEFT - _RIGHT)

    def y(self, count: float) -> float:
        return _HEIGHT - _BOTTOM - count / self._top * (_HEIGHT - _TOP - _BOTTOM)

    def line(self, seconds: FloatArray, counts: FloatArray, *, stroke: str, width: float, dash: str = "") -> None:
        """Add a line that breaks at gaps."""
        pieces: list[list[str]] = [[]]
        for at, count in zip(seconds, counts, strict=True):
            if np.isnan(count):
                pieces.append([])
            else:
                pieces[-1].append(f"{self.x(float(at)):.1f},{self.y(float(count)):.1f}")
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        for piece in pieces:
            if piece:
                style = f'fill="none" stroke="{stroke}" stroke-width="{width}"{dashed}'
                self.elements.append(f'<polyline points="{" ".join(piece)}" {style}/>')

    def band(self, seconds: FloatArray, lower: FloatArray, upper: FloatArray, *, opacity: float) -> None:
        forward = [f"{self.x(float(a)):.1f},{self.y(float(c)):.1f}" for a, c in zip(seconds, upper, strict=True)]
        back = [f"{self.x(float(a)):.1f},{self.y(float(c)):.1f}" for a, c in zip(seconds, lower, strict=True)]
        self.elements.append(
            f'<polygon points="{" ".join(forward + back[::-1])}" fill="{_FAN}" fill-opacity="{opacity:.2f}"/>'
        )

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, fill: str = _INK) -> None:
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">'
            f"{html.escape(text)}</text>"
        )

    def vertical(self, seconds: float, *, stroke: str, dash: str) -> None:
        at = self.x(seconds)
        self.elements.append(
            f'<line x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{_HEIGHT - _BOTTOM}" stroke="{stroke}"'
            f' stroke-dasharray="{dash}"/>'
        )


def figure_svg(panel: ForecastPanel) -> str:
    """Return one forecast as an SVG element."""
    forecast, drawn = panel.forecast, _drawn(panel)
    half_step = 0.5 * forecast.step_seconds
    first = float(drawn.past_seconds[0]) if drawn.past_seconds.size else 0.0
    canvas = _Canvas(first_seconds=first, last_seconds=float(drawn.fan_seconds[-1]) + half_step, top=drawn.top)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        count = share * drawn.top / 1.06
        at = canvas.y(count)
        canvas.elements.append(
            f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - _RIGHT}" y2="{at:.1f}" stroke="#d8dee6"/>'
        )
        canvas.text(_LEFT - 6, at + 4, f"{count:,.4g}" if count < 1000 else f"{count:,.0f}", anchor="end")
    num_bands = forecast.quantiles.shape[0] // 2
    for band in range(num_bands):
        opacity = 0.14 + 0.22 * band / max(num_bands, 1)
        canvas.band(drawn.fan_seconds, forecast.quantiles[band], forecast.quantiles[-1 - band], opacity=opacity)
    canvas.line(drawn.past_seconds, drawn.past, stroke=_INK, width=1.4)
    canvas.line(drawn.later_seconds, drawn.later, stroke=_INK, width=0.8, dash="2 3")
    canvas.line(drawn.fan_seconds, forecast.at_level(0.5), stroke=_MEDIAN, width=1.8)
    canvas.vertical(0.0, stroke="#7b8794", dash="4 3")
    canvas.text(_LEFT, 18, _title(forecast), size=14)
    calm = forecast.surge.phase is SurgePhase.CALM
    canvas.text(_WIDTH - _RIGHT, 18, _surge_title(forecast), anchor="end", size=13, fill=_INK if calm else _SURGE)
    if forecast.surge.since is not None and not calm:
        since = (forecast.surge.since - forecast.issued_at).total_seconds()
        if since >= first:
            canvas.vertical(since, stroke=_SURGE, dash="6 2")
    _time_axis(canvas, forecast.issued_at, drawn, first)
    body = "\n".join(canvas.elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img"'
        f' aria-label="{html.escape(_title(forecast), quote=True)}" font-family="system-ui, sans-serif">\n{body}</svg>'
    )


def _time_axis(canvas: _Canvas, issued_at: datetime, drawn: _Drawn, first: float) -> None:
    last = float(drawn.fan_seconds[-1])
    for share in np.linspace(0.0, 1.0, 5):
        seconds = first + float(share) * (last - first)
        moment = describe_time(issued_at.fromtimestamp(issued_at.timestamp() + seconds, tz=issued_at.tzinfo))
        anchor = "start" if share == 0.0 else "end" if share == 1.0 else "middle"
        canvas.text(canvas.x(seconds), _HEIGHT - 12, moment[5:16].replace("T", " "), anchor=anchor)


def forecast_page(panels: Sequence[ForecastPanel]) -> str:
    """Return a self-contained HTML page with one figure per forecast; it loads nothing."""
    figures = []
    for panel in panels[:MAX_PANELS]:
        forecast = panel.forecast
        notes = "".join(f"<li>{html.escape(reason)}</li>" for reason in forecast.reasons)
        notes += "".join(f'<li class="warning">{html.escape(warning)}</li>' for warning in forecast.warnings)
        figures.append(f"<figure>{figure_svg(panel)}<figcaption><ul>{notes}</ul></figcaption></figure>")
    left_out = len(panels) - MAX_PANELS
    more = f"<p>{left_out} more forecasts are not drawn.</p>" if left_out > 0 else ""
    style = (
        "body{margin:2rem auto;max-width:64rem;font:16px/1.5 system-ui,sans-serif;color:#1f2933;background:#fff}"
        "figure{margin:0 0 2rem}svg{width:100%;height:auto}.warning{color:#a61e4d}li{font-size:.9rem}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>meltguard forecast</title>'
        f"<style>{style}</style></head><body>\n<h1>Demand forecast</h1>\n"
        "<p>Solid: observed. Dotted: what came later, where known. Blue: quantiles. Orange: median and surge.</p>\n"
        f"{''.join(figures)}{more}\n</body></html>\n"
    )


class Picture(Protocol):
    """A matplotlib figure, as far as we use it."""

    def savefig(self, target: str, *, metadata: dict[str, str | None] | None) -> None:
        """Write the figure to a path, in the format of its ending."""


def forecast_figure(panels: Sequence[ForecastPanel]) -> Picture:
    """Return the forecasts as a picture drawn by matplotlib.

    Args:
        panels: The forecasts, at most :data:`MAX_PANELS` are drawn.

    Returns:
        The figure, not yet written.

    Raises:
        ForecastingError: If matplotlib is not installed.
    """
    try:
        figure_module = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ForecastingError(
            "drawing PNG or SVG needs matplotlib: pip install 'meltguard[plot]', or name a .html file"
        ) from error
    shown = panels[:MAX_PANELS]
    figure = figure_module.Figure(figsize=(11.0, 3.6 * len(shown)), layout="constrained")
    for row, panel in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, row + 1)
        forecast, drawn = panel.forecast, _drawn(panel)
        unit, divisor = ("hours", 3600.0) if drawn.fan_seconds[-1] >= 7200.0 else ("minutes", 60.0)
        for band in range(forecast.quantiles.shape[0] // 2):
            low, high = forecast.quantiles[band], forecast.quantiles[-1 - band]
            axes.fill_between(drawn.fan_seconds / divisor, low, high, color=_FAN, alpha=0.18, linewidth=0.0)
        axes.plot(drawn.past_seconds / divisor, drawn.past, color=_INK, linewidth=1.1)
        axes.plot(drawn.later_seconds / divisor, drawn.later, color=_INK, linewidth=0.8, linestyle=":")
        axes.plot(drawn.fan_seconds / divisor, forecast.at_level(0.5), color=_MEDIAN)
        axes.axvline(0.0, color="#7b8794", linestyle="--", linewidth=0.8)
        since = forecast.surge.since
        if since is not None and forecast.surge.phase is not SurgePhase.CALM and drawn.past_seconds.size:
            at = (since - forecast.issued_at).total_seconds()
            if at >= drawn.past_seconds[0]:
                axes.axvline(at / divisor, color=_SURGE)
        axes.set_title(f"{_title(forecast)}: {_surge_title(forecast)}", loc="left")
        axes.set_xlabel(f"{unit} after the forecast")
        axes.set_ylim(0.0, drawn.top)
    drawn_figure: Picture = figure
    return drawn_figure
