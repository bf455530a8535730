"""What an all-knowing operator could do: the bound that policies are measured against.

It knows the physics of every GPU and the requests to come. At every step it gives each GPU the most work that keeps it
below slowdown, admits by priority what then can be served, and orders nodes so that they serve when they pay. It
is greedy in time: it never saves heat for later. So it is a bound of practice, not of mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime

import numpy as np

from controller.planning.prices import UNSERVED_FACTOR
from controller.simulator.controllers import Decision
from controller.simulator.demand_feed import live_through_past
from controller.simulator.scenario import Scenario
from controller.simulator.world import World, WorldStep
from controller.types import FleetSnapshot, ForecastSet
from forecasting.types import FloatArray

UTILIZATION = 0.95
NEED_WINDOW_SECONDS = 120.0
TRIED_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the nodes for every request that are tried; each region takes its own best."""


class OracleController:
    """Orders nodes ahead of requests that it knows will come; :meth:`attach` opens the doors that no policy has."""

    uses_models = False

    def __init__(self, scenario: Scenario) -> None:
        """Start without knowledge; :meth:`attach` brings it."""
        self._scenario = scenario
        self._needed: dict[str, FloatArray] = {}
        self._cost: FloatArray = np.zeros(len(scenario.regions))

    def attach(self, world: World, *, seed: int) -> None:
        """Look into the future and take over the admission of a world.

        Nodes for every request may cost more than the requests are worth, so several shares of that are tried in twins
        of the world. Regions share nothing but their users' sign-ups, so each takes the share that was best for it.

        Args:
            world: The world to run in.
            seed: Its seed, which makes twins of it.
        """
        world.clairvoyant = True
        scenario = self._scenario
        rates = np.array([step.first_attempts.sum(axis=1) for step in self._live(seed, {})]) / scenario.step_seconds
        window = max(1, round(NEED_WINDOW_SECONDS / scenario.step_seconds))
        kernel = np.ones(window) / window
        work = scenario.work
        gpu_seconds = work.tokens_per_image * work.images_per_request / work.tokens_per_second_per_gpu
        full: dict[str, FloatArray] = {}
        for row, region in enumerate(scenario.regions):
            smooth = np.convolve(rates[:, row], kernel, mode="same")
            gpus = sum(pool.gpus_per_node for pool in region.pools) / len(region.pools)
            full[region.name] = smooth * gpu_seconds / (UTILIZATION * gpus)
        plans = [{name: share * needed for name, needed in full.items()} for share in TRIED_SHARES]
        best = np.argmin([self._harm(seed, needed) for needed in plans], axis=0)
        self._needed = {name: plans[int(best[row])][name] for row, name in enumerate(full)}

    def _live(self, seed: int, needed: dict[str, FloatArray]) -> Iterator[WorldStep]:
        """Run a twin of the world with perfect admission and a plan of nodes; yield its steps from the start on."""
        scenario = self._scenario
        twin = World(scenario, seed=seed)
        twin.clairvoyant = True
        live_through_past(scenario, twin.users)
        steps_per_plan = max(1, round(scenario.plan_period_seconds / scenario.step_seconds))
        for index in range(-round(scenario.lead_in_seconds / scenario.step_seconds), scenario.num_steps):
            step = twin.step()
            self._cost = self._cost_of_step(twin)
            if index >= 0:
                yield step
            if index >= 0 and needed and (index + 1) % steps_per_plan == 0:
                for pool, num_nodes in self._sizes(needed, twin.seconds).items():
                    twin.apply_nodes(pool, num_nodes)

    def _cost_of_step(self, twin: World) -> FloatArray:
        """Return what the nodes of each region cost in one step, shape ``(num_regions,)``."""
        names = [region.name for region in self._scenario.regions]
        cost = np.zeros(len(names))
        for number, pool in enumerate(twin.cloud.pools):
            paid = twin.cloud.num_serving(number) * pool.cost_per_node_hour * self._scenario.step_seconds / 3600.0
            cost[names.index(twin.region_of_pool[number])] += paid
        return cost

    def _harm(self, seed: int, needed: dict[str, FloatArray]) -> FloatArray:
        """Return harm and cost of a plan of nodes, priced as in :func:`~controller.simulator.closed_loop.run_harm`.

        Args:
            seed: Seed of the twin.
            needed: Nodes of each region over time.

        Returns:
            In the scenario's currency, shape ``(num_regions,)``.
        """
        price = np.array([tier.harm_per_limited_request for tier in self._scenario.tiers])
        harm: FloatArray = np.zeros(len(self._scenario.regions))
        for step in self._live(seed, needed):
            lost = step.limited + UNSERVED_FACTOR * (step.dropped + step.abandoned)
            harm += lost @ price + self._cost
        return harm

    def _sizes(self, needed: dict[str, FloatArray], seconds: float) -> dict[str, int]:
        """Return the size of each pool that will be needed when nodes ordered now serve."""
        scenario = self._scenario
        first = round(seconds / scenario.step_seconds)
        sizes = {}
        for region in scenario.regions:
            for pool in region.pools:
                ahead = math.ceil(1.2 * pool.lead_time_p95_seconds / scenario.step_seconds)
                most = float(needed[region.name][first : first + ahead + 1].max(initial=0.0))
                wanted = math.ceil(most / len(region.pools))
                sizes[pool.name] = min(max(wanted, pool.min_nodes), pool.max_nodes)
        return sizes

    def decide(self, snapshot: FleetSnapshot, forecasts: ForecastSet, now: datetime) -> Decision:
        """Return the sizes of the plan.

        Args:
            snapshot: What is known.
            forecasts: Demand forecasts; may be ignored.
            now: Virtual time.

        Returns:
            What to do.
        """
        del snapshot, forecasts
        return Decision(pool_nodes=self._sizes(self._needed, (now - self._scenario.start).total_seconds()))
