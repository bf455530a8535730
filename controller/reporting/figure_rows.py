"""The figures of the replay contract, one row each and one column a run: for the page's table and the terminal's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from controller.reporting.quantities import Quantity, figure, quantity, request_share, run_source
from controller.reporting.wording import (
    celsius_text,
    count_text,
    duration_text,
    number_text,
    short_name,
)
from controller.simulator.record import RunRecord

MAX_GROUP_MEMBERS = 24
"""Tiers, and regions, that the tables show; the JSON document has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """One figure of all runs.

    Attributes:
        group: Heading that it stands under.
        label: What it is, in words.
        quantities: One a run.
        shares: The same as a share of what was offered, one a run; empty where that makes no sense.
    """

    group: str
    label: str
    quantities: tuple[Quantity, ...]
    shares: tuple[Quantity, ...] = ()


def figure_rows(runs: Sequence[RunRecord], *, slowdown_celsius: float, currency: str) -> tuple[FigureRow, ...]:
    """Return the rows in the order in which people ask: heat, then users, then cost, then calm.

    Args:
        runs: The columns.
        slowdown_celsius: The line that temperatures are compared with.
        currency: Unit of the cost.

    Returns:
        The rows, those of one group together; each holds one number a run, in the order of ``runs``.
    """
    return (
        *_heat_rows(runs, slowdown_celsius),
        *_user_rows(runs),
        *_region_rows(runs),
        *_cost_rows(runs, currency),
    )


def _row(group: str, label: str, runs: Sequence[RunRecord], name: str, words: Callable[[float], str]) -> FigureRow:
    """Return the row of one plain figure."""
    return FigureRow(group=group, label=label, quantities=tuple(figure(run, name, words) for run in runs))


def _heat_rows(runs: Sequence[RunRecord], slowdown_celsius: float) -> tuple[FigureRow, ...]:
    celsius = partial(celsius_text, against=slowdown_celsius)
    row = partial(_row, "Heat", runs=runs)
    return (
        row("Hottest GPU", name="max_temperature_celsius", words=celsius),
        row("GPU time slowed down", name="throttled_gpu_seconds", words=duration_text),
        row("Degrees above the limit, times seconds", name="over_limit_degree_seconds", words=_degree_seconds_text),
        row("GPUs switched off by heat", name="gpus_shut_down", words=number_text),
    )


def _user_rows(runs: Sequence[RunRecord]) -> tuple[FigureRow, ...]:
    rows: list[FigureRow] = []
    for tier in _tier_names(runs):
        group = f"Requests, {short_name(tier)}"
        for outcome in ("offered", "served", "limited", "dropped", "abandoned"):
            shares = () if outcome == "offered" else tuple(_tier_share(run, outcome, tier) for run in runs)
            counts = tuple(_tier_figure(run, tier, "requests", outcome, count_text) for run in runs)
            rows.append(FigureRow(group=group, label=outcome, quantities=counts, shares=shares))
        for level, name in (
            ("p50", "wait, median"),
            ("p95", "wait, 95 of 100 below"),
            ("p99", "wait, 99 of 100 below"),
        ):
            waits = tuple(_tier_figure(run, tier, "wait_seconds", level, duration_text) for run in runs)
            rows.append(FigureRow(group=group, label=name, quantities=waits))
    return tuple(rows)


def _region_rows(runs: Sequence[RunRecord]) -> tuple[FigureRow, ...]:
    rows: list[FigureRow] = []
    regions = list(dict.fromkeys(region for run in runs for region in run.figures.regions))[:MAX_GROUP_MEMBERS]
    for region in regions:
        for tier in _tier_names(runs):
            minutes = tuple(_minutes_limited(run, region, tier) for run in runs)
            if any(each.value for each in minutes):
                label = f"{short_name(region)}, {short_name(tier)}"
                rows.append(FigureRow(group="Time limited", label=label, quantities=minutes))
    return tuple(rows)


def _cost_rows(runs: Sequence[RunRecord], currency: str) -> tuple[FigureRow, ...]:
    unit = short_name(currency)
    row = partial(_row, "Cost and calm", runs=runs)
    return (
        row("GPU hours", name="gpu_hours", words=partial(number_text, decimals=1)),
        row(f"Cost, {unit}", name="cost", words=partial(number_text, decimals=0)),
        row("Actions", name="actions", words=number_text),
        row("Changes of flags", name="flag_changes", words=number_text),
        row("First action before slowdown", name="first_action_lead_seconds", words=duration_text),
        row("Regret against the oracle", name="regret", words=partial(number_text, decimals=2)),
    )


def _tier_names(runs: Sequence[RunRecord]) -> list[str]:
    """Return the tiers of all runs in their order, a bounded number."""
    return list(dict.fromkeys(tier for run in runs for tier in run.figures.tiers))[:MAX_GROUP_MEMBERS]


def _tier_figure(run: RunRecord, tier: str, part: str, name: str, words: Callable[[float], str]) -> Quantity:
    source = run_source(run, "figures", "tiers", tier, part, name)
    figures = run.figures.tiers.get(tier)
    return quantity(None if figures is None else getattr(getattr(figures, part), name), words, source)


def _tier_share(run: RunRecord, outcome: str, tier: str) -> Quantity:
    if tier in run.figures.tiers:
        return request_share(run, outcome, tier)
    return quantity(None, number_text, run_source(run, "figures", "tiers", tier))


def _minutes_limited(run: RunRecord, region: str, tier: str) -> Quantity:
    figures = run.figures.regions.get(region)
    minutes = None if figures is None else figures.minutes_limited.get(tier)
    return quantity(minutes, _minutes_text, run_source(run, "figures", "regions", region, "minutes_limited", tier))


def _minutes_text(minutes: float) -> str:
    return duration_text(minutes * 60.0)


def _degree_seconds_text(value: float) -> str:
    return f"{count_text(value)} °C·s"
