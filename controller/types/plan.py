"""What the planner decides: actions with their reasons, and everything that one needs to ask why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from controller.types.fleet import FlagInForce
from controller.types.memory import PlanMemory
from controller.types.policy import Ownership, Rung
from controller.types.samples import Freshness
from forecasting.types import DemandForecast

PLAN_SCHEMA = "meltguard.plan/v1"

FlagValue: TypeAlias = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSet:
    """The demand forecasts that a decision rests on.

    Attributes:
        demand: Forecasts of first-attempt requests, one a region and tier.
        signups: Forecasts of sign-ups, one a region; they carry the earliest word of a surge.
    """

    demand: tuple[DemandForecast, ...]
    signups: tuple[DemandForecast, ...] = ()

    def of(self, region: str, tier: str) -> DemandForecast | None:
        """Return the forecast of one region and tier; None when there is none."""
        return next((f for f in self.demand if f.key.region == region and f.key.tier == tier), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something is done or not done.

    Attributes:
        code: Stable identifier for machines, such as ``forecast_margin_low``.
        text: One sentence for people, with the numbers in it.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAction:
    """Change the size of a pool; its inverse is the same with the numbers exchanged."""

    pool: str
    from_nodes: int
    to_nodes: int
    ownership: Ownership
    why: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagScope:
    """Whom a flag's value is for; a tier of None means every tier."""

    region: str
    tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagAction:
    """Set a flag for a scope until it expires.

    Attributes:
        key: Flag key of the contract.
        scope: Whom it is for.
        from_value: The value in force before.
        to_value: The value from now on.
        expires_at: When it ends by itself; None for a return to normal, which needs no expiry.
        why: The reason.
        inverse: The value that undoes it.
    """

    key: str
    scope: FlagScope
    from_value: FlagValue
    to_value: FlagValue
    expires_at: datetime | None
    why: Reason
    inverse: FlagValue


Action: TypeAlias = PoolAction | FlagAction


@dataclass(frozen=True, slots=True, kw_only=True)
class InputAge:
    """One input of a decision: its name, its age in seconds (None when absent) and whether it was fit to act on."""

    name: str
    age_seconds: float | None
    freshness: Freshness


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A bound that changed the decision: which, where, and what it prevented."""

    name: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A course of action that was not taken.

    Attributes:
        region: Where.
        rung: The rung that it would have meant.
        step_index: The position on the ladder.
        nodes_added: Nodes that it would have ordered.
        harm: Predicted harm and cost over the horizon, in the policy's currency.
        min_margin_celsius: Lowest predicted margin over the horizon.
        why_not: What spoke against it.
    """

    region: str
    rung: Rung
    step_index: int
    nodes_added: int
    harm: float
    min_margin_celsius: float
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionVerdict:
    """Where a region stands after the decision.

    Attributes:
        region: The region.
        rung: Its rung.
        step_index: Its position on the ladder.
        predicted_min_margin_celsius: Lowest margin over the horizon with this decision; None without thermal data.
        predicted_unmitigated_margin_celsius: The same with no limit and no new node; None without thermal data.
        why: The reason for the position.
    """

    region: str
    rung: Rung
    step_index: int
    predicted_min_margin_celsius: float | None
    predicted_unmitigated_margin_celsius: float | None
    why: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One decision.

    Attributes:
        decision_id: Unique, sortable by time.
        issued_at: The ``now`` that it was made for.
        actions: What to do; empty when nothing is to be done.
        regions: Verdict a region.
        inputs: What it rests on, with ages.
        constraints: Bounds that changed it.
        alternatives: Courses that were rejected, best first, a bounded number a region.
        reasons: The decision in words.
        would_change: What would change it, in words.
        memory: What to remember for the next pass.
        flags: The whole flag set to write; None when what is in force may stand.
    """

    decision_id: str
    issued_at: datetime
    actions: tuple[Action, ...]
    regions: tuple[RegionVerdict, ...]
    inputs: tuple[InputAge, ...]
    constraints: tuple[Constraint, ...]
    alternatives: tuple[Alternative, ...]
    reasons: tuple[Reason, ...]
    would_change: tuple[str, ...]
    memory: PlanMemory
    flags: tuple[FlagInForce, ...] | None = None

    def verdict(self, region: str) -> RegionVerdict | None:
        """Return the verdict of one region; None when the policy does not know it."""
        return next((verdict for verdict in self.regions if verdict.region == region), None)
