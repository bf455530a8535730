"""A quiet day without guards: nodes are given back, and nobody is limited for it."""

from __future__ import annotations

import msgspec
import pytest

from controller.simulator.builtin import load_builtin
from controller.simulator.closed_loop import run_policy
from controller.simulator.scenario import WavePoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_in_calm_demand_no_limit_follows_our_own_scale_in() -> None:
    """The fleet of the demo on a day without a surge gives nodes back, and no limit is set by us in that time."""
    scenario = load_builtin("march-2025")
    assert not scenario.local_guard
    calm = tuple(
        WavePoint(at_seconds=seconds, signups_per_hour=scenario.users.wave[0].signups_per_hour)
        for seconds in (0.0, 5400.0)
    )
    quiet = msgspec.structs.replace(
        scenario, duration_seconds=5400.0, users=msgspec.structs.replace(scenario.users, wave=calm)
    )
    run = run_policy(quiet, policy="meltguard", seed=0)
    assert any(mark.nodes_added < 0 for mark in run.decisions)
    assert [mark.title for mark in run.decisions if mark.kind == "limit"] == []
    assert run.figures.flag_changes == 0
    assert run.figures.throttled_gpu_seconds == 0.0
