"""What an all-knowing operator could do: the bound that policies are measured against.

It knows the physics of every GPU and the requests to come. At every step it gives each GPU the most work that keeps it
below slowdown, admits by priority what then can be served, and orders nodes so that they serve when they are needed. It
is greedy in time: it never saves heat for later. So it is a bound of practice, not of mathematics.
"""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np

from controller.simulator.controllers import Decision
from controller.simulator.demand_feed import live_through_past
from controller.simulator.scenario import Scenario
from controller.simulator.world import World
from controller.types import FleetSnapshot, ForecastSet
from forecasting.types import FloatArray

UTILIZATION = 0.95
NEED_WINDOW_SECONDS = 120.0


class OracleController:
    """Orders nodes ahead of requests that it knows will come; :meth:`attach` opens the doors that no policy has."""

    uses_models = False

    def __init__(self, scenario: Scenario) -> None:
        """Start without knowledge; :meth:`attach` brings it."""
        self._scenario = scenario
        self._needed: dict[str, FloatArray] = {}

    def attach(self, world: World, *, seed: int) -> None:
        """Look into the future and take over the admission of a world.

        Args:
            world: The world to run in.
            seed: Its seed; a twin of it is run ahead without any policy.
        """
        world.clairvoyant = True
        scenario = self._scenario
        twin = World(scenario, seed=seed)
        live_through_past(scenario, twin.users)
        rows = []
        for index in range(-round(scenario.lead_in_seconds / scenario.step_seconds), scenario.num_steps):
            step = twin.step()
            if index >= 0:
                rows.append(step.first_attempts.sum(axis=1))
        rates = np.array(rows) / scenario.step_seconds
        window = max(1, round(NEED_WINDOW_SECONDS / scenario.step_seconds))
        kernel = np.ones(window) / window
        work = scenario.work
        gpu_seconds = work.tokens_per_image * work.images_per_request / work.tokens_per_second_per_gpu
        for row, region in enumerate(scenario.regions):
            smooth = np.convolve(rates[:, row], kernel, mode="same")
            gpus = sum(pool.gpus_per_node for pool in region.pools) / len(region.pools)
            self._needed[region.name] = smooth * gpu_seconds / (UTILIZATION * gpus)

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return the sizes that will be needed when nodes ordered now serve."""
        del snapshot, forecasts
        scenario = self._scenario
        step = (now - scenario.start).total_seconds() / scenario.step_seconds
        sizes = {}
        for region in scenario.regions:
            for pool in region.pools:
                ahead = math.ceil(1.2 * pool.lead_time_p95_seconds / scenario.step_seconds)
                needed = self._needed[region.name][round(step) : round(step) + ahead + 1]
                wanted = math.ceil(float(needed.max(initial=0.0)) / len(region.pools))
                sizes[pool.name] = min(max(wanted, pool.min_nodes, pool.nodes), pool.max_nodes)
        return Decision(pool_nodes=sizes)
