"""The panels of demand: sign-ups with the forecasts made at the time, and what became of each tier's requests. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from controller.reporting.markup import Html
from controller.reporting.plotting import (
    Plot,
    band_path,
    dot,
    extremes,
    labelled_mark,
    line_path,
    means,
    path,
    render_plot,
    stairs,
)
from controller.reporting.scales import TimeScale, ValueScale, count_scale, drawable, linear_scale
from controller.reporting.selection import Selection, track
from controller.reporting.wording import clock_text, count_text, ratio_text, tick_text, with_policy
from controller.simulator.record import FanRecord, RunRecord
from forecasting.types import FloatArray

MAX_FANS = 9
"""Fans drawn; more would hide one another. The JSON document has all."""
MAX_MARKS = 6
MAX_TIERS = 8
SIGNUPS_HEIGHT = 250.0
STRIP_HEIGHT = 92.0
LOG_FROM_RATIO = 30.0
"""Sign-ups that span more than this are drawn on a logarithmic scale, where equal steps are equal factors."""
_FAN_ROOM = 4.0
"""Fans may widen the scale by this factor beyond what happened; what lies beyond is cut at the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignupsPanel:
    """The drawing of sign-ups and the words that go with it."""

    drawing: Html
    scale_words: str
    fan_words: str


def signups_panel(selection: Selection) -> SignupsPanel:
    """Return sign-ups per hour with forecast fans and the marks of the surge."""
    run = selection.featured
    ratios, values = track(selection, run, run.signups_per_hour)
    fans = _chosen_fans(run.fans)
    scale = _signup_scale(values, fans)
    layers = [shape for fan in fans for shape in _fan_layers(fan, selection.time, scale)]
    thin_ratios, thin_values = extremes(ratios, values)
    layers += [path(line_path(thin_ratios, scale.position(thin_values)), "line actual")]
    marks = phase_changes(run.fans)[:MAX_MARKS]
    notes = [
        labelled_mark(
            selection.time.ratio_of(at),
            scale.height,
            f"{phase} {clock_text(at)}",
            "mark phase",
            y=12.0 + 15.0 * (index % 2),
        )
        for index, (at, phase) in enumerate(marks)
    ]
    notes += _issue_dots(fans, selection.time, scale)
    plot = Plot(
        identifier="plot-signups",
        title="Sign-ups per hour",
        description=_signup_words(selection, values),
        height=scale.height,
        time=selection.time,
        ticks=[(scale.at(tick), tick_text(tick)) for tick in scale.ticks()],
        layers=[layer for layer in layers if layer],
        notes=notes,
    )
    words = "Logarithmic scale: equal steps are equal factors." if scale.logarithmic else "Linear scale."
    return SignupsPanel(drawing=render_plot(plot), scale_words=words, fan_words=_fan_words(fans))


def phase_changes(fans: Sequence[FanRecord]) -> list[tuple[datetime, str]]:
    """Return when the forecaster changed its mind about the surge, and to what; calm at the start is no change."""
    changes: list[tuple[datetime, str]] = []
    phase = "calm"
    for fan in fans:
        if fan.phase != phase:
            phase = fan.phase
            changes.append((fan.issued_at, phase))
    return changes


def _chosen_fans(fans: Sequence[FanRecord]) -> list[FanRecord]:
    """Return fans that do not overlap, around the one that first saw the surge, at most ``MAX_FANS``."""
    usable = [fan for fan in fans if fan.quantiles and fan.quantiles[0] and len(fan.quantiles) == len(fan.levels)]
    if not usable:
        return []
    anchor = next((index for index, fan in enumerate(usable) if fan.phase != "calm"), 0)
    chosen = [usable[anchor]]
    for fan in usable[anchor + 1 :]:
        if fan.issued_at >= _fan_end(chosen[-1]):
            chosen.append(fan)
    for fan in reversed(usable[:anchor]):
        if _fan_end(fan) <= chosen[0].issued_at:
            chosen.insert(0, fan)
    thinning = -(-len(chosen) // MAX_FANS)
    first = chosen.index(usable[anchor]) % thinning
    return chosen[first::thinning]


def _fan_end(fan: FanRecord) -> datetime:
    """Return the end of a fan's last interval."""
    steps = min(len(row) for row in fan.quantiles)
    return fan.issued_at + timedelta(seconds=min(fan.step_seconds * steps, 3.2e9))


def _fan_points(fan: FanRecord, time: TimeScale) -> tuple[FloatArray, FloatArray]:
    """Return places of the interval ends inside the axis, and the quantiles there, ``(num_levels, num_inside)``."""
    steps = min(len(row) for row in fan.quantiles)
    issued = (fan.issued_at - time.start).total_seconds()
    seconds = [issued + fan.step_seconds * (index + 1) for index in range(steps)]
    inside = [index for index, second in enumerate(seconds) if 0.0 <= second <= time.duration_seconds]
    ratios = np.asarray([time.ratio(seconds[index]) for index in inside], dtype=np.float64)
    rows = [drawable(row[index] for index in inside) for row in fan.quantiles]
    return ratios, np.stack(rows)


def _median_row(fan: FanRecord) -> int:
    """Return the row whose level is nearest to one half."""
    return min(range(len(fan.levels)), key=lambda index: abs(fan.levels[index] - 0.5))


def _fan_layers(fan: FanRecord, time: TimeScale, scale: ValueScale) -> list[Html | None]:
    """Return the nested bands, widest first, and the median."""
    ratios, rows = _fan_points(fan, time)
    heights = scale.position(rows)
    order = sorted(range(len(fan.levels)), key=lambda index: fan.levels[index])
    bands = [
        path(band_path(ratios, heights[order[depth]], heights[order[-1 - depth]]), "fan")
        for depth in range(min(len(order) // 2, 3))
    ]
    return [*bands, path(line_path(ratios, heights[_median_row(fan)]), "line fan-median")]


def _issue_dots(fans: Sequence[FanRecord], time: TimeScale, scale: ValueScale) -> list[Html]:
    """Return a dot where each fan begins."""
    dots: list[Html] = []
    for fan in fans:
        ratios, rows = _fan_points(fan, time)
        if ratios.size and np.isfinite(rows[_median_row(fan), 0]):
            dots.append(dot(float(ratios[0]), scale.at(float(rows[_median_row(fan), 0])), "dot fan-median"))
    return dots


def _signup_scale(values: FloatArray, fans: Sequence[FanRecord]) -> ValueScale:
    """Return a scale for what happened, widened for the fans within bounds."""
    known = values[np.isfinite(values)]
    if not known.size:
        return linear_scale([], height=SIGNUPS_HEIGHT, floor=0.0)
    top = float(known.max())
    positive = known[known > 0.0]
    bottom = float(positive.min()) if positive.size else 0.0
    forecast = drawable(value for fan in fans for row in fan.quantiles for value in row)
    near = forecast[(forecast <= top * _FAN_ROOM) & (forecast >= bottom / _FAN_ROOM)]
    wide = [*known.tolist(), *near.tolist()]
    logarithmic = bottom > 0.0 and top / bottom >= LOG_FROM_RATIO
    return count_scale(wide, height=SIGNUPS_HEIGHT, log_from_ratio=LOG_FROM_RATIO if logarithmic else np.inf)


def _signup_words(selection: Selection, values: FloatArray) -> str:
    """Describe the curve for people who cannot see it."""
    if not np.isfinite(values).any():
        return "No sign-ups were recorded."
    peak = int(np.nanargmax(values))
    at = selection.time.time(selection.featured.seconds[peak])
    first = values[np.isfinite(values)][0]
    most = count_text(float(values[peak]))
    return f"From {count_text(float(first))} an hour at the start to {most} at {clock_text(at)}."


def _fan_words(fans: Sequence[FanRecord]) -> str:
    """Say what the bands mean."""
    if not fans:
        return "The run recorded no forecasts."
    levels = fans[0].levels
    covered = ratio_text(max(levels) - min(levels))
    return f"Bands are forecasts as they were issued at their dots: {covered} of outcomes should lie inside the widest."


def shown_tiers(selection: Selection) -> list[str]:
    """Return the tiers of the featured run that the panel shows."""
    return list(selection.featured.tiers)[:MAX_TIERS]


def requests_strip(selection: Selection, run: RunRecord, tier: str, index: int, *, shows_times: bool) -> Html:
    """Return one tier's requests under one policy: served, limited and dropped stacked, offered as the line above.

    Args:
        selection: Gives the axis and the scale that the tier's strips share.
        run: The policy's run.
        tier: The tier; a run without it draws an empty strip.
        index: Number of the strip in the page, for its identifier.
        shows_times: Whether times are written below.

    Returns:
        The panel, ``STRIP_HEIGHT`` pixels high without its times.
    """
    scale = linear_scale(_tier_values(selection, tier), height=STRIP_HEIGHT, floor=0.0)
    layers: list[Html | None] = []
    record = run.tiers.get(tier)
    if record is not None:
        tracks = [
            track(selection, run, part) for part in (record.served, record.limited, record.dropped, record.offered)
        ]
        length = min(part.size for _, part in tracks)
        ratios, rows = means(tracks[0][0][:length], np.stack([part[:length] for _, part in tracks]))
        layers = _request_layers(ratios, rows, scale) if ratios.size else []
    plot = Plot(
        identifier=f"plot-requests-{index}",
        title=f"Requests per second of {tier}, {with_policy(run.policy)}",
        description="Served, limited, dropped and unserved requests, stacked; the line is what was offered.",
        height=scale.height,
        time=selection.time,
        layers=[layer for layer in layers if layer],
        ticks=[(scale.at(tick), f"{tick_text(tick)}/s") for tick in scale.ticks(2)],
        shows_times=shows_times,
    )
    return render_plot(plot)


def _request_layers(ratios: FloatArray, rows: FloatArray, scale: ValueScale) -> list[Html | None]:
    """Return the stacked areas and the line of what was offered.

    Args:
        ratios: Places across, shape ``(num_points,)``.
        rows: Served, limited, dropped and offered, shape ``(4, num_points)``.
        scale: The tier's scale.
    """
    offered = rows[3]
    edges = np.vstack([np.zeros(ratios.size), np.cumsum(rows[:3], axis=0)])
    # What is offered beyond that waits or was abandoned; queues may serve more than arrives for a while.
    edges = np.vstack([edges, np.maximum(edges[3], offered)])
    layers = [
        path(_stair_band(ratios, edges[row], edges[row + 1], scale), f"area {outcome}")
        for row, outcome in enumerate(("served", "limited", "dropped", "unserved"))
        if (edges[row + 1] > edges[row]).any()
    ]
    return [*layers, path(line_path(*stairs(ratios, scale.position(offered))), "line offered")]


def _stair_band(ratios: FloatArray, lower: FloatArray, upper: FloatArray, scale: ValueScale) -> str:
    """Return the area between two staircases."""
    places, low = stairs(ratios, scale.position(lower))
    return band_path(places, low, stairs(ratios, scale.position(upper))[1])


def _tier_values(selection: Selection, tier: str) -> list[float]:
    """Return the offered rates of a tier under the featured and the reference policy, for their common scale."""
    runs = [selection.featured, *([selection.reference] if selection.reference else [])]
    values: list[float] = []
    for run in runs:
        record = run.tiers.get(tier)
        if record is not None:
            _, offered = track(selection, run, record.offered)
            values += offered.tolist()
            columns = zip(record.served, record.limited, record.dropped, strict=False)
            values += drawable(sum(column) for column in columns).tolist()
    return values
