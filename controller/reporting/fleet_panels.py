"""The panels of the fleet: the hottest GPU against its slowdown line, nodes, and the rung of each region. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from controller.reporting.markup import Html, joined, tag
from controller.reporting.plotting import (
    WIDTH,
    Plot,
    band_path,
    dot,
    extremes,
    horizontal_line,
    labelled_mark,
    line_path,
    path,
    percent,
    render_plot,
    spread,
    stairs,
    text_note,
)
from controller.reporting.scales import ValueScale, linear_scale
from controller.reporting.selection import Selection, crossing_seconds, node_totals, track
from controller.reporting.wording import (
    celsius_text,
    clock_text,
    number_text,
    policy_name,
    policy_word,
    rung_name,
    short_name,
    tick_text,
    with_policy,
)
from controller.simulator.record import RunRecord

HEAT_HEIGHT = 280.0
NODES_HEIGHT = 150.0
MAX_LINES = 6
"""Policies drawn in one panel."""
MAX_REGIONS = 24
MAX_SEGMENTS = 400
"""Changes of rung drawn a region; a ladder that flaps more is a finding of its own."""
_ROW_HEIGHT = 46.0
_STRIP_TOP = 17.0
_STRIP_HEIGHT = 22.0
_LABEL_GAP = 17.0


def line_class(selection: Selection, run: RunRecord) -> str:
    """Return the style of a run's lines: featured, reference or other."""
    if run is selection.featured:
        return "featured"
    return "reference" if run is selection.reference else f"other other-{selection.others.index(run) % 2}"


def heat_panel(selection: Selection, *, slowdown_celsius: float, margin_celsius: float) -> Html:
    """Return the hottest GPU of each policy over time.

    Args:
        selection: The runs.
        slowdown_celsius: The line at which the hardware slows down.
        margin_celsius: Margin that the plan keeps below it; the guard band.

    Returns:
        The panel, ``HEAT_HEIGHT`` pixels high without its times; a slowdown that is not finite draws no line.
    """
    runs = selection.runs[:MAX_LINES]
    tracks = [track(selection, run, run.hottest_celsius) for run in runs]
    values = [value for _, part in tracks for value in part.tolist()]
    line = [slowdown_celsius] if np.isfinite(slowdown_celsius) else []
    scale = linear_scale([*values, *line], height=HEAT_HEIGHT)
    layers: list[Html | None] = []
    notes: list[Html] = []
    if line:
        notes += _slowdown_notes(selection, scale, slowdown_celsius, margin_celsius)
        layers.append(_guard_band(scale, slowdown_celsius, margin_celsius))
        layers.append(_excess(selection, scale, slowdown_celsius))
    for run, (ratios, part) in reversed(list(zip(runs, tracks, strict=True))):
        thin_ratios, thin = extremes(ratios, part)
        layers.append(path(line_path(thin_ratios, scale.position(thin)), f"line {line_class(selection, run)}"))
    notes += _peak_notes(selection, runs, scale)
    plot = Plot(
        identifier="plot-heat",
        title="Temperature of the hottest GPU, °C",
        description=_heat_words(runs, slowdown_celsius),
        height=scale.height,
        time=selection.time,
        ticks=[(scale.at(tick), f"{tick_text(tick)} °C") for tick in scale.ticks(5)],
        layers=[layer for layer in layers if layer],
        notes=notes,
    )
    return render_plot(plot)


def _guard_band(scale: ValueScale, slowdown_celsius: float, margin_celsius: float) -> Html | None:
    """Return the band between the plan's margin and the slowdown line."""
    top, bottom = scale.at(slowdown_celsius), scale.at(slowdown_celsius - margin_celsius)
    return path(f"M0 {top:.1f}H{WIDTH:g}V{bottom:.1f}H0Z", "guard") if bottom > top else None


def _excess(selection: Selection, scale: ValueScale, slowdown_celsius: float) -> Html | None:
    """Return the area by which the reference lies above the slowdown line."""
    if selection.reference is None:
        return None
    ratios, values = track(selection, selection.reference, selection.reference.hottest_celsius)
    limit = np.full(values.size, slowdown_celsius)
    ratios, values = extremes(ratios, np.maximum(values, limit))
    return path(band_path(ratios, scale.position(limit[: values.size]), scale.position(values)), "excess")


def _slowdown_notes(
    selection: Selection, scale: ValueScale, slowdown_celsius: float, margin_celsius: float
) -> list[Html]:
    """Return the slowdown line, its label and when the reference first crosses it."""
    y = scale.at(slowdown_celsius)
    notes = [
        horizontal_line(y, "slowdown"),
        text_note(0.0, y - 7.0, f"slowdown at {celsius_text(slowdown_celsius)}", "line-label slowdown-text", dx=6),
    ]
    if scale.at(slowdown_celsius - margin_celsius) - y > 16.0:
        words = f"margin that the plan keeps, {celsius_text(margin_celsius)}"
        notes.append(text_note(0.0, y + 14.0, words, "line-label guard-text", dx=6))
    # Holding back a scale-in changes nothing that runs; the figures do not count it as an action either.
    actions = [mark.at for mark in selection.featured.decisions if mark.kind == "limit" or mark.nodes_added > 0]
    if actions:
        words = f"first action {clock_text(min(actions))}"
        place = selection.time.ratio_of(min(actions))
        notes.append(labelled_mark(place, scale.height, words, "mark action", left_from=0.3))
    reference = selection.reference
    crossing = crossing_seconds(reference, slowdown_celsius) if reference else None
    if reference is not None and crossing is not None:
        whose = tag("tspan", {"class": "wide-only"}, f"{with_policy(reference.policy)} ")
        label = joined([whose, f"over the line {clock_text(selection.time.time(crossing))}"])
        ratio = selection.time.ratio(crossing)
        notes.append(labelled_mark(ratio, scale.height, label, "mark crossing", y=scale.height - 8.0))
    return notes


def _peak_notes(selection: Selection, runs: Sequence[RunRecord], scale: ValueScale) -> list[Html]:
    """Return each line's name at its end and a dot with the highest value at the peak of the compared two."""
    notes: list[Html] = []
    ends: list[tuple[RunRecord, float]] = []
    for run in runs:
        ratios, values = track(selection, run, run.hottest_celsius)
        if not np.isfinite(values).any():
            continue
        peak = int(np.nanargmax(values))
        y = scale.at(float(values[peak]))
        ends.append((run, scale.at(float(values[np.isfinite(values)][-1]))))
        if run in (selection.featured, selection.reference):
            style = line_class(selection, run)
            side = "before" if ratios[peak] > 0.6 else "after"
            below = y < 18.0
            notes.append(dot(float(ratios[peak]), y, f"dot {style}"))
            words = celsius_text(float(values[peak]))
            notes.append(
                text_note(
                    float(ratios[peak]),
                    y + (4.0 if below else -8.0),
                    words,
                    f"peak {style}-text {side}",
                    dx=(-9 if side == "before" else 9) if below else 0,
                )
            )
    heights = spread([y for _, y in ends], _LABEL_GAP, scale.height)
    for (run, _), y in zip(ends, heights, strict=True):
        words = policy_name(run.policy)
        notes.append(text_note(1.0, y + 4.0, words, f"end {line_class(selection, run)}-text", dx=8))
    return notes


def _heat_words(runs: Sequence[RunRecord], slowdown_celsius: float) -> str:
    """Describe the lines for people who cannot see them."""
    celsius = partial(celsius_text, against=slowdown_celsius)
    peaks = [f"{policy_name(run.policy)} at most {celsius(run.figures.max_temperature_celsius)}" for run in runs]
    return f"Slowdown at {celsius_text(slowdown_celsius)}; {'; '.join(peaks)}."


def nodes_panel(selection: Selection) -> Html:
    """Return serving and pending nodes of the featured policy, and the reference's serving nodes as a line."""
    run, reference = selection.featured, selection.reference
    serving_counts, pending_counts = node_totals(run)
    ratios, serving = track(selection, run, serving_counts)
    pending_ratios, pending = track(selection, run, pending_counts)
    length = min(serving.size, pending.size)
    ratios, serving, pending = pending_ratios[:length], serving[:length], pending[:length]
    total = serving + pending
    compared = track(selection, reference, node_totals(reference)[0]) if reference else (ratios[:0], serving[:0])
    scale = linear_scale([*total.tolist(), *compared[1].tolist()], height=NODES_HEIGHT, floor=0.0)
    zero = np.full(length, scale.height)
    places, low = stairs(ratios, zero)
    middle, high = stairs(ratios, scale.position(serving))[1], stairs(ratios, scale.position(total))[1]
    layers = [
        path(band_path(places, low, middle), "area nodes-serving"),
        path(band_path(places, middle, high), "area nodes-pending"),
        path(line_path(*stairs(compared[0], scale.position(compared[1]))), "line reference"),
    ]
    plot = Plot(
        identifier="plot-nodes",
        title="Nodes that serve and nodes on their way",
        description=_node_words(serving, total),
        height=scale.height,
        time=selection.time,
        layers=[layer for layer in layers if layer],
        ticks=[(scale.at(tick), tick_text(tick)) for tick in scale.ticks(3)],
        notes=_node_notes(selection, serving, total, compared[1], scale),
    )
    return render_plot(plot)


def _node_notes(
    selection: Selection, serving: np.ndarray, total: np.ndarray, compared: np.ndarray, scale: ValueScale
) -> list[Html]:
    """Return the names at the ends of the areas and of the reference's line."""
    ends: list[tuple[str, str, float]] = []
    if serving.size:
        ends.append((f"{number_text(float(serving[-1]))} serving", "featured-text", scale.at(float(serving[-1]))))
        if total[-1] > serving[-1]:
            ends.append(
                (f"{number_text(float(total[-1] - serving[-1]))} pending", "pending-text", scale.at(float(total[-1])))
            )
    if compared.size and selection.reference:
        words = f"{number_text(float(compared[-1]))} {policy_word(selection.reference.policy)}"
        ends.append((words, "reference-text", scale.at(float(compared[-1]))))
    heights = spread([y for _, _, y in ends], _LABEL_GAP, scale.height)
    return [
        text_note(1.0, y + 4.0, words, f"end {css_class}", dx=8)
        for (words, css_class, _), y in zip(ends, heights, strict=True)
    ]


def _node_words(serving: np.ndarray, total: np.ndarray) -> str:
    """Describe the areas for people who cannot see them."""
    if not serving.size:
        return "No nodes were recorded."
    return (
        f"From {number_text(float(serving[0]))} serving nodes to at most {number_text(float(serving.max()))}, "
        f"with at most {number_text(float((total - serving).max()))} on their way."
    )


def rung_panel(selection: Selection) -> Html:
    """Return one heat strip a region: the rung of the ladder over time."""
    run = selection.featured
    regions = list(run.regions.items())[:MAX_REGIONS]
    notes: list[Html] = []
    words: list[str] = []
    for index, (region, record) in enumerate(regions):
        top = index * _ROW_HEIGHT
        segments = _segments(selection, run, record.rung)
        notes.append(text_note(0.0, top + 12.0, short_name(region), "row-name"))
        notes += [_segment(selection, short_name(region), segment, top + _STRIP_TOP) for segment in segments]
        highest = max(record.rung, default=0)
        words.append(f"{short_name(region)} at most rung {highest}, {rung_name(highest)}")
    plot = Plot(
        identifier="plot-rungs",
        title=f"Rung of each region, {with_policy(run.policy)}",
        description="; ".join(words) + ".",
        height=max(len(regions) * _ROW_HEIGHT, _ROW_HEIGHT),
        time=selection.time,
        notes=notes,
    )
    return render_plot(plot)


def _segments(selection: Selection, run: RunRecord, rungs: Sequence[int]) -> list[tuple[float, float, int]]:
    """Return (from, to, rung) in seconds for each stay on a rung, at most ``MAX_SEGMENTS``."""
    segments: list[tuple[float, float, int]] = []
    before = 0.0
    for second, rung in zip(run.seconds, rungs, strict=False):
        if not np.isfinite(second):
            continue
        if segments and segments[-1][2] == rung:
            segments[-1] = (segments[-1][0], second, rung)
        elif len(segments) < MAX_SEGMENTS:
            segments.append((before, second, rung))
        before = second
    return segments


def _segment(selection: Selection, region: str, segment: tuple[float, float, int], y: float) -> Html:
    """Return one stay on a rung as a coloured bar with its number, and its name where there is room."""
    start, end, rung = segment
    left, right = selection.time.ratio(start), selection.time.ratio(end)
    wide = max(right - left, 0.0)
    shade = min(max(rung, 0), 7)
    since, until = (clock_text(selection.time.time(second)) for second in (start, end))
    bar = tag(
        "rect",
        {"x": percent(left), "y": y, "width": percent(wide), "height": _STRIP_HEIGHT, "class": f"rung rung-{shade}"},
        tag("title", None, f"{region}: rung {rung}, {rung_name(rung)}, {since} to {until}"),
    )
    if wide < 0.022:
        return bar
    name = (
        tag("tspan", {"class": "wide-only"}, f" {rung_name(rung)}")
        if wide >= 0.02 + 0.0085 * len(rung_name(rung))
        else None
    )
    label = tag(
        "text", {"x": percent(left), "dx": 6, "y": y + 15.5, "class": f"rung-text rung-text-{shade}"}, str(rung), name
    )
    return Html(bar + label)
