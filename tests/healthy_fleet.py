"""A small fleet on ordinary days, for replays of rules over days and weeks."""

from __future__ import annotations

import msgspec

from controller.simulator.builtin import load_builtin
from controller.simulator.scenario import Scenario, WavePoint


def healthy(duration_seconds: float) -> Scenario:
    """Return a third of the built-in fleet's first region on ordinary days: the day's own swing, no wave."""
    scenario = load_builtin("march-2025")
    region = scenario.regions[0]
    site = msgspec.structs.replace(region.site, cooling_capacity_watts=region.site.cooling_capacity_watts / 3.0)
    pool = msgspec.structs.replace(region.pools[0], nodes=2, min_nodes=2, max_nodes=3)
    users = msgspec.structs.replace(
        scenario.users,
        scale=scenario.users.scale * region.share / 3.0,
        baseline_requests_per_second=scenario.users.baseline_requests_per_second * region.share / 3.0,
    )
    normal = scenario.users.wave[0].signups_per_hour
    wave = tuple(WavePoint(at_seconds=at, signups_per_hour=normal) for at in (0.0, duration_seconds))
    return msgspec.structs.replace(
        scenario,
        name="healthy",
        duration_seconds=duration_seconds,
        step_seconds=60.0,
        plan_period_seconds=60.0,
        users=msgspec.structs.replace(users, wave=wave),
        regions=(msgspec.structs.replace(region, share=1.0, site=site, pools=(pool,)),),
    )
