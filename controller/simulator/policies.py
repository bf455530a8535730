"""The policies that a replay compares, by the name that ``meltguard replay --policy`` takes."""

from __future__ import annotations

from collections.abc import Callable

from controller.simulator.clairvoyant import OracleController
from controller.simulator.controllers import Controller, MeltguardController, NoController, ReactiveController
from controller.simulator.rivals import (
    CapacityOnlyController,
    DynamoLikeController,
    HoltWintersController,
    KedaController,
    ShapingOnlyController,
)
from controller.simulator.scenario import Scenario
from controller.types import Policy

CONTROLLERS: dict[str, Callable[[Policy, Scenario], Controller]] = {
    "none": lambda policy, scenario: NoController(),
    "reactive": lambda policy, scenario: ReactiveController(policy),
    "keda": lambda policy, scenario: KedaController(policy),
    "predictive": lambda policy, scenario: HoltWintersController(policy),
    "dynamo": lambda policy, scenario: DynamoLikeController(policy),
    "capacity-only": lambda policy, scenario: CapacityOnlyController(policy),
    "shaping-only": lambda policy, scenario: ShapingOnlyController(policy),
    "meltguard": lambda policy, scenario: MeltguardController(policy),
    "oracle": lambda policy, scenario: OracleController(scenario),
}
"""Policies by name; ``oracle`` knows what nobody can know and is the bound for the others."""
