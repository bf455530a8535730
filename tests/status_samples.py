"""A status document in the middle of a surge, with everything on it that the page can show."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from controller.operator.conditions import Problem
from controller.operator.decision_ring import Done
from controller.operator.status_view import (
    SHOWN_LEVELS,
    STATUS_SCHEMA,
    DecisionView,
    FanView,
    PolicyView,
    PoolView,
    RegionView,
    StatusView,
)
from controller.types import FlagInForce
from tests.planning_samples import NOW


def region(name: str, rung: int, meaning: str, why: str, **changes: object) -> RegionView:
    """Return a region."""
    base = RegionView(
        name=name,
        rung=rung,
        meaning=meaning,
        since=NOW - timedelta(minutes=12, seconds=5),
        why=why,
        predicted_min_margin_celsius=4.2,
        breaker_open=False,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def pool(name: str, region_name: str, margin: float | None, **changes: object) -> PoolView:
    """Return a pool."""
    base = PoolView(
        name=name,
        region=region_name,
        gpu_model="H100 SXM",
        desired=12,
        ready=10,
        serving=9,
        pending=3,
        min_margin_celsius=margin,
        hottest_celsius=None if margin is None else 87.0 - margin,
        seconds_to_slowdown=320.0,
        freshness="fresh",
        conditions=(),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def fan(region_name: str, tier: str, level: float) -> FanView:
    """Return a forecast that doubles in the horizon."""
    middle = [level * 60.0 * 2.0 ** (step / 30.0) for step in range(30)]
    rows = tuple(
        tuple(value * math.exp(spread * step / 30.0) for step, value in enumerate(middle))
        for spread in (-0.7, 0.0, 0.8)
    )
    return FanView(region=region_name, tier=tier, issued_at=NOW, step_seconds=60.0, levels=SHOWN_LEVELS, values=rows)


def limit(region_name: str, tier: str, key: str, value: bool | int | float, seconds: float) -> FlagInForce:
    """Return a limit in force."""
    expires_at = NOW + timedelta(seconds=seconds)
    return FlagInForce(key=key, region=region_name, tier=tier, value=value, revision=41, expires_at=expires_at)


def status_in_a_surge() -> StatusView:
    """Return the document."""
    policy = PolicyView(
        name="images",
        mode="active",
        advisory=False,
        paused="none",
        doing="us-east sheds free requests while 3 nodes are on their way; eu-west holds",
        surge="surge",
        doubling_seconds=1386.0,
        decided_at=NOW,
        decision_id="d-20250331T180000Z-000412",
        regions=(
            region(
                "us-east",
                5,
                "free users: 3 images a day, 25 % of requests admitted; batch waits",
                "forecast margin falls to 1.8 °C in 14 min without limits; the nodes on their way serve in 18 min",
            ),
            region("eu-west", 1, "nobody is limited; no scale-in", "sign-ups double every 23 min"),
            region(
                "ap-south",
                0,
                "nobody is limited",
                "calm",
                predicted_min_margin_celsius=None,
                breaker_open=True,
            ),
        ),
        pools=(
            pool("us-east-h100-a", "us-east", 5.3),
            pool("us-east-h100-b", "us-east", -0.4, conditions=("StockOut",), seconds_to_slowdown=0.0),
            pool("eu-west-h100", "eu-west", 14.0, seconds_to_slowdown=None, pending=0, desired=9),
            pool("ap-south-a100", "ap-south", None, freshness="absent", serving=None, seconds_to_slowdown=None),
        ),
        limits=(
            limit("us-east", "free", "images-per-day", 3, 95.0),
            limit("us-east", "free", "admission-ratio", 0.25, 95.0),
            limit("us-east", "batch", "batch-admitted", False, 95.0),
            limit("eu-west", "free", "images-per-day", 10, -5.0),
        ),
        flags_revision=41,
        consumers=24,
        consumers_holding=23,
        forecasts=(fan("us-east", "free", 40.0), fan("us-east", "paid", 9.0), fan("eu-west", "free", 21.0)),
        decisions=(
            DecisionView(
                decision_id="d-20250331T180000Z-000412",
                issued_at=NOW,
                actions=(
                    Done(kind="nodes", subject="us-east-h100-a", change="9 → 12 nodes", why="w", result="done"),
                    Done(
                        kind="limit",
                        subject="us-east",
                        change="free quota 3 → shed to 25 %",
                        why="w",
                        result="done",
                    ),
                ),
                reasons=("us-east: forecast margin 1.8 °C is below the target of 6.0 °C",),
            ),
            DecisionView(
                decision_id="d-20250331T174900Z-000346",
                issued_at=NOW - timedelta(minutes=11),
                actions=(
                    Done(
                        kind="nodes",
                        subject="us-east-h100-b",
                        change="8 → 10 nodes",
                        why="w",
                        result="stock_out: no p5.48xlarge in us-east-1b",
                    ),
                ),
                reasons=("us-east: sign-ups double every 23 min",),
            ),
        ),
        problems=(Problem(code="pool", text="pool us-east-h100-b: InsufficientInstanceCapacity for p5.48xlarge"),),
    )
    return StatusView(
        schema=STATUS_SCHEMA,
        as_of=NOW,
        replica="meltguard-operator-7c9f5d-x2x9k",
        leading=True,
        epoch=7,
        advisory=False,
        policies=(policy,),
        problems=(),
    )
