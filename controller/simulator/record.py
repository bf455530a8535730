"""What a run leaves behind: time series, decisions, forecasts and the figures of the replay contract.

The report, the live view and the JSON of ``meltguard replay`` and ``meltguard demo`` read these values and nothing
else, so that they cannot disagree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

REPLAY_SCHEMA = "meltguard.replay/v1"
RECORD_PERIOD_SECONDS = 60.0
"""Distance between two recorded samples."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every part of a record."""


class Requests(Entry, frozen=True, kw_only=True):
    """What became of one tier's requests over the run; offered = served + limited + dropped + abandoned + waiting."""

    offered: Annotated[float, Meta(description="Requests that arrived, retries included.")]
    served: Annotated[float, Meta(description="Requests that got their images.")]
    limited: Annotated[float, Meta(description="Refused by a limit, with a reason.")]
    dropped: Annotated[float, Meta(description="Refused because the queue was full.")]
    abandoned: Annotated[float, Meta(description="Given up by the user while waiting.")]


class WaitSeconds(Entry, frozen=True, kw_only=True):
    """Quantiles of the wait of served requests."""

    p50: float
    p95: float
    p99: float


class TierFigures(Entry, frozen=True, kw_only=True):
    """One tier's figures."""

    requests: Requests
    wait_seconds: WaitSeconds


class RegionFigures(Entry, frozen=True, kw_only=True):
    """One region's figures; ``minutes_limited`` is by tier."""

    minutes_limited: dict[str, float]


class Figures(Entry, frozen=True, kw_only=True):
    """The figures of the replay contract for one policy and seed."""

    throttled_gpu_seconds: float
    over_limit_degree_seconds: float
    max_temperature_celsius: float
    gpus_shut_down: int
    tiers: dict[str, TierFigures]
    regions: dict[str, RegionFigures]
    gpu_hours: float
    cost: float
    actions: int
    flag_changes: int
    first_action_lead_seconds: Annotated[
        float | None,
        Meta(description="From the first action to the unmitigated run's first crossing; None without either."),
    ]
    regret: Annotated[float | None, Meta(description="Harm and cost above the oracle's; None without an oracle.")]


class TierTrack(Entry, frozen=True, kw_only=True):
    """Rates of one tier, requests per second, one value a sample (mean since the sample before)."""

    offered: tuple[float, ...]
    served: tuple[float, ...]
    limited: tuple[float, ...]
    dropped: tuple[float, ...]


class RegionTrack(Entry, frozen=True, kw_only=True):
    """One region over time, one value a sample.

    ``hottest_celsius`` is the hottest GPU since the sample before; ``nodes_serving`` and ``nodes_pending`` are counts;
    ``rung`` is the ladder's rung; ``utilization_ratio`` is 0..1; ``inlet_celsius`` is the true inlet, which no policy
    sees.
    """

    hottest_celsius: tuple[float, ...]
    nodes_serving: tuple[int, ...]
    nodes_pending: tuple[int, ...]
    rung: tuple[int, ...]
    utilization_ratio: tuple[float, ...]
    inlet_celsius: tuple[float, ...]


class DecisionMark(Entry, frozen=True, kw_only=True):
    """One action as people read it.

    ``kind`` is ``nodes``, ``limit``, ``restore`` or ``rung``; ``region`` names where; ``title`` is a few words and
    ``reason`` the sentence with the numbers. A run of renewals of the same limit is one mark.
    """

    at: datetime
    decision_id: str
    kind: str
    region: str
    rung: int
    title: str
    reason: str
    nodes_added: Annotated[int, Meta(description="Nodes ordered; negative for nodes given back, 0 for limits.")] = 0


class FanRecord(Entry, frozen=True, kw_only=True):
    """One issued forecast of the world's sign-ups per hour, for the fan of the report."""

    issued_at: datetime
    step_seconds: float
    levels: tuple[float, ...]
    quantiles: Annotated[tuple[tuple[float, ...], ...], Meta(description="(num_levels, num_steps), sign-ups an hour.")]
    phase: str


class RunRecord(Entry, frozen=True, kw_only=True):
    """One policy on one seed."""

    policy: str
    seed: int
    start: datetime
    sample_seconds: float
    seconds: Annotated[tuple[float, ...], Meta(description="Time of each sample from the start, its end.")]
    signups_per_hour: Annotated[tuple[float, ...], Meta(description="World's sign-ups an hour, as they happened.")]
    hottest_celsius: Annotated[tuple[float, ...], Meta(description="Hottest GPU of the fleet since the sample before.")]
    tiers: dict[str, TierTrack]
    regions: dict[str, RegionTrack]
    decisions: tuple[DecisionMark, ...]
    fans: tuple[FanRecord, ...]
    figures: Figures


class RunSet(Entry, frozen=True, kw_only=True):
    """All runs of one replay, the document of ``meltguard.replay/v1``."""

    schema: str
    scenario: str
    title: str
    slowdown_celsius: float
    currency: str
    runs: tuple[RunRecord, ...]
