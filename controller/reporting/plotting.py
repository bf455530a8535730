"""Draws one panel: paths from arrays, and a frame with axes that fits any width.

Data lies in an inner SVG that is stretched to the width of the page (strokes keep their thickness); text, ticks and
marks lie in the outer one at percentages of the width, so that letters are never stretched and stay readable on a
phone. Pure; called by the panel modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.reporting.markup import Attributes, Html, escape_text, joined, tag
from controller.reporting.scales import TimeScale
from forecasting.types import FloatArray

WIDTH = 1000.0
"""Width of the stretched drawing, in its own units."""
MAX_BUCKETS = 480
"""Points a drawn line keeps twice (lowest and highest); finer detail is below a pixel."""
MAX_STAIRS = 240
"""Steps that a stacked area keeps; about four pixels each on a wide screen."""
_AXIS_HEIGHT = 22.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One panel, ready to draw.

    Attributes:
        identifier: Unique in the page; ours, never from data.
        title: What a screen reader says first.
        description: What it says then: the picture in words.
        height: Height of the drawing without its time axis, pixels.
        time: The axis that all panels share.
        ticks: Pixels from the top and label of each horizontal line.
        layers: Stretched shapes, back to front.
        notes: Unstretched marks and text, back to front.
        shows_times: Whether times are written below.
    """

    identifier: str
    title: str
    description: str
    height: float
    time: TimeScale
    ticks: Sequence[tuple[float, str]] = ()
    layers: Sequence[Html] = ()
    notes: Sequence[Html] = ()
    shows_times: bool = True


def render_plot(plot: Plot) -> Html:
    """Return the panel as one SVG element of full width and fixed height."""
    total = plot.height + (_AXIS_HEIGHT if plot.shows_times else 0.0)
    title_id, description_id = f"{plot.identifier}-title", f"{plot.identifier}-description"
    inner: Attributes = {
        "x": 0,
        "y": 0,
        "width": "100%",
        "height": plot.height,
        "viewBox": f"0 0 {WIDTH:g} {plot.height:g}",
        "preserveAspectRatio": "none",
        "class": "data",
    }
    outer: Attributes = {
        "id": plot.identifier,
        "class": "plot",
        "role": "img",
        "width": "100%",
        "height": total,
        "aria-labelledby": f"{title_id} {description_id}",
    }
    return tag(
        "svg",
        outer,
        tag("title", {"id": title_id}, plot.title),
        tag("desc", {"id": description_id}, plot.description),
        _grid(plot),
        tag("svg", inner, *plot.layers),
        *plot.notes,
    )


def _grid(plot: Plot) -> Html:
    """Return horizontal lines with labels in the left margin and vertical ones with times below."""
    parts: list[Html] = []
    for y, label in plot.ticks:
        parts.append(tag("line", {"x1": 0, "x2": "100%", "y1": y, "y2": y, "class": "grid"}))
        parts.append(text_note(0.0, y + 4.0, label, "tick value", dx=-8))
    for index, (ratio, label) in enumerate(plot.time.ticks()):
        place = percent(ratio)
        parts.append(tag("line", {"x1": place, "x2": place, "y1": 0, "y2": plot.height, "class": "grid"}))
        if plot.shows_times:
            edge = " first" if ratio < 0.03 else (" last" if ratio > 0.97 else "")
            thin = " thin" if index % 2 else ""
            parts.append(text_note(ratio, plot.height + 16.0, label, f"tick time{edge}{thin}"))
    return joined(parts)


def percent(ratio: float) -> str:
    """Return a place across the panel as SVG writes it."""
    return f"{ratio * 100:.3f}%"


def text_note(ratio: float, y: float, text: Html | str, css_class: str, dx: float = 0.0) -> Html:
    """Return text at a place across the panel, never stretched.

    Args:
        ratio: Place across, 0..1.
        y: Base line, pixels from the top.
        text: What it says; a plain string is escaped.
        css_class: Its style.
        dx: Pixels to the right of the place; negative to the left.

    Returns:
        The text element.
    """
    return tag("text", {"x": percent(ratio), "y": y, "dx": dx or None, "class": css_class}, text)


def vertical_mark(ratio: float, height: float, css_class: str) -> Html:
    """Return a vertical line through the panel.

    Args:
        ratio: Place across, 0..1.
        height: Height of the panel in pixels.
        css_class: Its style.

    Returns:
        The line element.
    """
    place = percent(ratio)
    return tag("line", {"x1": place, "x2": place, "y1": 0, "y2": height, "class": css_class})


def labelled_mark(
    ratio: float, height: float, label: Html | str, css_class: str, y: float = 12.0, left_from: float = 0.75
) -> Html:
    """Return a vertical line with a label, to the left of it from the place ``left_from`` on.

    Args:
        ratio: Place across, 0..1.
        height: Height of the panel in pixels.
        label: What it says; a plain string is escaped.
        css_class: Style of the line.
        y: Base line of the label, pixels from the top.
        left_from: Place, 0..1, beyond which the label stands to the left, where there is still room.

    Returns:
        The line, then its label.
    """
    left = ratio > left_from
    side = "before" if left else "after"
    return joined(
        [
            vertical_mark(ratio, height, css_class),
            text_note(ratio, y, label, f"mark-label {side}", dx=-6 if left else 6),
        ]
    )


def horizontal_line(y: float, css_class: str) -> Html:
    """Return a line across the panel."""
    return tag("line", {"x1": 0, "x2": "100%", "y1": y, "y2": y, "class": css_class})


def dot(ratio: float, y: float, css_class: str) -> Html:
    """Return a round point.

    Args:
        ratio: Place across, 0..1.
        y: Its middle, pixels from the top.
        css_class: Its style.

    Returns:
        The circle element, eight pixels wide.
    """
    return tag("circle", {"cx": percent(ratio), "cy": y, "r": 4, "class": css_class})


def path(data: str, css_class: str) -> Html | None:
    """Return a path, or None when there is nothing to draw."""
    return Html(f'<path d="{data}" class="{escape_text(css_class)}"/>') if data else None


def line_path(ratios: FloatArray, heights: FloatArray) -> str:
    """Return path data through the points; a NaN ends one stroke and begins another.

    Args:
        ratios: Places across, 0..1, shape ``(num_points,)``.
        heights: Pixels from the top, same shape; NaN is a gap.

    Returns:
        The path data in units of ``WIDTH`` across; empty without a known point.
    """
    pieces: list[str] = []
    pen_down = False
    for x, y in zip((ratios * WIDTH).tolist(), heights.tolist(), strict=True):
        if np.isnan(y):
            pen_down = False
            continue
        pieces.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    if len(pieces) == 1:
        # A single sample is a stroke without length; a round cap makes it a visible point.
        pieces.append(f"L{pieces[0][1:]}")
    return "".join(pieces)


def band_path(ratios: FloatArray, lower: FloatArray, upper: FloatArray) -> str:
    """Return path data of the area between two lines; points where either is NaN are left out.

    Args:
        ratios: Places across, 0..1, ascending, shape ``(num_points,)``.
        lower: Pixels from the top of one edge, same shape.
        upper: Pixels from the top of the other, same shape.

    Returns:
        Data of one closed path in units of ``WIDTH`` across; empty without a known point.
    """
    known = ~(np.isnan(lower) | np.isnan(upper))
    if not known.any():
        return ""
    x, low, high = (ratios[known] * WIDTH).tolist(), lower[known].tolist(), upper[known].tolist()
    if len(x) == 1:
        # One sample still covers something: draw it a hair wide.
        x, low, high = [max(x[0] - 1.0, 0.0), x[0]], low * 2, high * 2
    there = [f"{a:.1f} {b:.1f}" for a, b in zip(x, high, strict=True)]
    back = [f"{a:.1f} {b:.1f}" for a, b in zip(reversed(x), reversed(low), strict=True)]
    return f"M{'L'.join(there)}L{'L'.join(back)}Z"


def extremes(ratios: FloatArray, values: FloatArray, num_buckets: int = MAX_BUCKETS) -> tuple[FloatArray, FloatArray]:
    """Thin a series and keep each bucket's lowest and highest value, so that no peak is lost.

    Args:
        ratios: Places across, ascending, shape ``(num_points,)``.
        values: Same shape; NaN is a gap.
        num_buckets: Buckets to keep, > 0.

    Returns:
        Places and values in their order, at most two a bucket; the input where it is short already.
    """
    if values.size <= 2 * num_buckets:
        return ratios, values
    kept: list[int] = []
    for bucket in np.array_split(np.arange(values.size), num_buckets):
        part = values[bucket]
        if np.isnan(part).all():
            kept.append(int(bucket[0]))
            continue
        kept += sorted({int(bucket[np.nanargmin(part)]), int(bucket[np.nanargmax(part)])})
    chosen = np.asarray(kept)
    return ratios[chosen], values[chosen]


def means(ratios: FloatArray, values: FloatArray, num_buckets: int = MAX_STAIRS) -> tuple[FloatArray, FloatArray]:
    """Thin a series to the means of its buckets, for stacked areas, whose size is a volume; NaN counts as nothing.

    Args:
        ratios: Places across, ascending, shape ``(num_points,)``.
        values: Shape ``(num_series, num_points)``.
        num_buckets: Buckets to keep, > 0.

    Returns:
        Places of the bucket ends and means, shape ``(num_series, num_kept)``.
    """
    known = np.nan_to_num(values, nan=0.0)
    if ratios.size <= num_buckets:
        return ratios, known
    buckets = np.array_split(np.arange(ratios.size), num_buckets)
    columns = [known[:, bucket].mean(axis=1) for bucket in buckets]
    return ratios[[int(bucket[-1]) for bucket in buckets]], np.stack(columns, axis=1)


def stairs(ratios: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Turn samples into a staircase: each value holds from the sample before to its own time."""
    if values.size < 2:
        return ratios, values
    starts = np.concatenate([[0.0], ratios[:-1]])
    return np.stack([starts, ratios], axis=1).ravel(), np.repeat(values, 2)


def spread(positions: Sequence[float], gap: float, height: float) -> tuple[float, ...]:
    """Move label positions apart to at least ``gap`` pixels, in the order they have, inside 0..height.

    Args:
        positions: Wanted pixels from the top, in any order.
        gap: Smallest distance of two neighbours, pixels, >= 0.
        height: Height of the panel in pixels; more labels than fit run over its top.

    Returns:
        The positions to draw at, one for each wanted, in the order of ``positions``.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = list(positions)
    lowest = 0.0
    for index in order:
        placed[index] = lowest = max(placed[index], lowest)
        lowest += gap
    limit = height
    for index in reversed(order):
        placed[index] = limit = min(placed[index], limit)
        limit -= gap
    return tuple(placed)
