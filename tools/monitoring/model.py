"""What a rule, an alert and a group are. Used by the catalogue and by everything that is written from it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

_UNITS_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)([smhd])")


class Severity(StrEnum):
    """Who hears of an alert, and how."""

    CRITICAL = "critical"
    """A page: a person must act now."""
    WARNING = "warning"
    """A ticket: a person must act today."""
    INFO = "info"
    """Explains other alerts and notifies nobody."""
    NONE = "none"
    """Always fires; its absence is the alarm."""


class Component(StrEnum):
    """Which part an alert is about; also the rule file that it stands in."""

    HARDWARE = "gpu-hardware"
    TELEMETRY = "telemetry"
    FORECAST = "forecast"
    CONTROLLER = "controller"
    INFERENCE = "inference"
    META = "meta"


class Board(StrEnum):
    """The dashboard that shows an alert's numbers; the value is its uid in Grafana."""

    FLEET = "meltguard-fleet"
    THERMAL = "meltguard-thermal"
    FORECAST = "meltguard-forecast"
    SCALING = "meltguard-scaling"
    INFERENCE = "meltguard-inference"
    PIPELINE = "meltguard-pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A number that alerts, dashboards and runbooks share.

    Attributes:
        name: Its name in the runbooks' fact tables.
        value: The number, in ``unit``.
        unit: Unit as people write it; empty for counts.
        why: Where the number comes from.
    """

    name: str
    value: float
    unit: str
    why: str

    def __str__(self) -> str:
        """Return the number as PromQL writes it."""
        return f"{self.value:g}"

    @property
    def words(self) -> str:
        """The number with its unit."""
        return f"{self.value:g} {self.unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording rule.

    Attributes:
        record: Name of the series, ``level:metric:operation``.
        expr: PromQL.
        labels: Labels that are added.
    """

    record: str
    expr: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alerting rule. Several of one name differ in their static labels.

    Attributes:
        name: The alert's name, and its runbook's.
        severity: Who hears of it.
        component: Which part it is about.
        board: The dashboard that shows its numbers.
        expr: PromQL.
        hold: How long the expression must hold, as Prometheus writes durations; empty fires at once.
        keep: How long it goes on firing after the expression ended; empty ends at once.
        labels: More static labels.
        summary: One line that names the object.
        description: The value, and what it means.
        controller: What the controller already did, or why it does nothing here.
        why: Why this hold, for the reference page.
    """

    name: str
    severity: Severity
    component: Component
    board: Board
    expr: str
    hold: str = ""
    keep: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    summary: str
    description: str
    controller: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated in order, together.

    Attributes:
        name: Name of the group; unique.
        file: Stem of the rule file.
        interval: Distance of two evaluations.
        rules: The rules.
    """

    name: str
    file: str
    interval: str
    rules: tuple[Recording | Alert, ...]


def duration_seconds(text: str) -> int:
    """Return a duration such as ``5m`` or ``1h30m`` in seconds.

    Raises:
        ValueError: If the text is no duration of whole seconds, minutes, hours or days.
    """
    if not re.fullmatch(f"({_DURATION.pattern})+", text):
        raise ValueError(f"{text!r} is no duration; write for example 30s, 5m, 1h or 3d")
    return sum(int(number) * _UNITS_SECONDS[unit] for number, unit in _DURATION.findall(text))
