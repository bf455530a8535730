"""What a panel is. Used by the boards and by the writer; knows nothing of Grafana. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tools.monitoring.model import Board, Threshold


class Kind(StrEnum):
    """How a panel draws."""

    LINES = "timeseries"
    NUMBER = "stat"
    STATES = "state-timeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL; may use ``$region``.
        legend: Grafana's legend template.
        exemplars: Whether traces are shown on it, where Prometheus stores exemplars.
    """

    expr: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: Its heading.
        description: What it shows and how to read it.
        unit: Grafana's id of the unit.
        queries: What it asks.
        kind: How it draws.
        threshold: The alert's own number, drawn as a line.
        low_is_bad: Whether values below the threshold are the bad ones.
        alerts: Alerts whose runbooks it links.
        width: Columns of 24.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    threshold: Threshold | None = None
    low_is_bad: bool = False
    alerts: tuple[str, ...] = ()
    width: int = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardSpec:
    """One dashboard.

    Attributes:
        board: Which; its value is the uid.
        title: Its name.
        description: Whom it serves.
        panels: In order of reading.
    """

    board: Board
    title: str
    description: str
    panels: tuple[Panel, ...]


def one(expr: str, legend: str) -> tuple[Query, ...]:
    """Return a single query."""
    return (Query(expr=expr, legend=legend),)
