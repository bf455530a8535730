"""The vocabulary of decisions: what the planner sees, what it may do, what it decides and what it remembers.

One module a noun; import the names from here. Values only: no I/O, no clock, no behaviour beyond arithmetic on their
own fields.
"""

from __future__ import annotations

from controller.types.fleet import (
    ApprovalGrant,
    FlagInForce,
    FleetSnapshot,
    NodeCounts,
    PendingNodes,
    PoolCondition,
    PoolMargin,
    PoolState,
    PoolThermal,
    RegionState,
    RungOverride,
    TierState,
)
from controller.types.memory import PlanMemory, PoolMemory, RegionMemory
from controller.types.plan import (
    Action,
    Alternative,
    Constraint,
    FlagAction,
    FlagScope,
    FlagValue,
    ForecastSet,
    InputAge,
    Plan,
    PoolAction,
    Reason,
    RegionVerdict,
)
from controller.types.policy import (
    Approval,
    Ladder,
    LadderStep,
    Limits,
    Mode,
    Ownership,
    PausedDirection,
    Policy,
    PoolSpec,
    RegionSpec,
    Rung,
    TierSpec,
)
from controller.types.samples import Freshness, Sample

__all__ = [
    "Action",
    "Alternative",
    "Approval",
    "ApprovalGrant",
    "Constraint",
    "FlagAction",
    "FlagInForce",
    "FlagScope",
    "FlagValue",
    "FleetSnapshot",
    "ForecastSet",
    "Freshness",
    "InputAge",
    "Ladder",
    "LadderStep",
    "Limits",
    "Mode",
    "NodeCounts",
    "Ownership",
    "PausedDirection",
    "PendingNodes",
    "Plan",
    "PlanMemory",
    "Policy",
    "PoolAction",
    "PoolCondition",
    "PoolMargin",
    "PoolMemory",
    "PoolSpec",
    "PoolState",
    "PoolThermal",
    "Reason",
    "RegionMemory",
    "RegionSpec",
    "RegionState",
    "RegionVerdict",
    "Rung",
    "RungOverride",
    "Sample",
    "TierSpec",
    "TierState",
]
