"""A scenario of minutes for tests of the simulator: two regions, two tiers, a dozen GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from controller.simulator.scenario import Scenario, parse_scenario

DEMO = Path(__file__).parent.parent / "controller" / "simulator" / "scenarios" / "march-2025.yaml"


def scenario_document(**changes: Any) -> dict[str, Any]:
    """Return a valid scenario as plain data; ``changes`` replace top-level fields."""
    document: dict[str, Any] = {
        "schema": "meltguard.scenario/v1",
        "name": "small",
        "title": "Small",
        "description": "Two small regions for twenty minutes.",
        "start": "2025-03-31T15:00:00Z",
        "duration_seconds": 1200,
        "lead_in_seconds": 600,
        "step_seconds": 20,
        "plan_period_seconds": 20,
        "users": {
            "scale": 0.01,
            "wave": [
                {"at_seconds": 0, "signups_per_hour": 2000},
                {"at_seconds": 300, "signups_per_hour": 2000},
                {"at_seconds": 700, "signups_per_hour": 90000},
            ],
            "baseline_requests_per_second": 0.8,
            "day_amplitude_ratio": 0.1,
            "requests_per_user_hour": [12.0, 1.0],
            "age_edges_seconds": [900, 3600],
            "retry_ratio": 0.3,
            "retry_delay_seconds": 120,
            "patience_seconds": 90,
            "queue_bound_seconds": 60,
        },
        "tiers": [
            _tier("free", 0.8, priority=1, harm=0.02),
            _tier("paid", 0.2, priority=2, harm=0.4, protected=True),
        ],
        "regions": [_region("north", 0.6), _region("south", 0.4)],
        "work": {"tokens_per_image": 4096, "tokens_per_second_per_gpu": 400},
        "gpu": {
            "idle_watts": 75,
            "busy_watts": 690,
            "limit_watts": 700,
            "slowdown_celsius": 87,
            "shutdown_celsius": 95,
            "resistance_celsius_per_watt": 0.06,
            "resistance_spread_ratio": 0.05,
        },
    }
    return {**document, **changes}


def _tier(name: str, share: float, *, priority: int, harm: float, protected: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "share": share,
        "priority": priority,
        "protected": protected,
        "images_per_day": 100,
        "mean_images_per_user_day": 6.0,
        "harm_per_limited_request": harm,
        "harm_per_waited_second": 0.0001,
    }


def _region(name: str, share: float) -> dict[str, Any]:
    return {
        "name": name,
        "share": share,
        "site": {"inlet_celsius": 30, "cooling_capacity_watts": 9000, "overload_celsius_per_watt": 0.004},
        "pools": [
            {
                "name": f"{name}-h",
                "gpus_per_node": 4,
                "nodes": 2,
                "min_nodes": 1,
                "max_nodes": 3,
                "cost_per_node_hour": 20,
                "lead_time_p50_seconds": 180,
                "lead_time_p95_seconds": 300,
            }
        ],
    }


def small_scenario(**changes: Any) -> Scenario:
    """Return the small scenario, checked."""
    return parse_scenario(yaml.safe_dump(scenario_document(**changes)), place="small.yaml")
