"""What the live view is told: one moment of a running simulation. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSample:
    """One region at one moment.

    Attributes:
        region: Its name.
        rung: Rung of the ladder.
        hottest_celsius: Its hottest GPU.
        nodes_serving: Nodes that serve.
        nodes_pending: Nodes on their way.
    """

    region: str
    rung: int
    hottest_celsius: float
    nodes_serving: int
    nodes_pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSample:
    """The run at one moment.

    Attributes:
        policy: The policy that runs now.
        at: Virtual time, aware.
        progress: Share of this policy's run that is done, 0..1.
        signups_per_hour: World's sign-ups an hour.
        hottest_celsius: Hottest GPU of the fleet.
        slowdown_celsius: The line at which the hardware slows down.
        regions: Regions in a fixed order.
        last_decision: The newest decision in a few words; None before the first.
    """

    policy: str
    at: datetime
    progress: float
    signups_per_hour: float
    hottest_celsius: float
    slowdown_celsius: float
    regions: tuple[RegionSample, ...]
    last_decision: str | None = None
