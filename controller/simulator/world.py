"""The world: users, service, GPUs, cloud and flags, advanced together in virtual time.

The only door in is :meth:`World.apply_nodes` and :meth:`World.write_flags`; the only door out for a policy is
:mod:`controller.simulator.observer`. A checker looks at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from controller.simulator.checker import check_world
from controller.simulator.cloud import Cloud
from controller.simulator.events import Misfortunes
from controller.simulator.flags import FlagStore, TierLimits
from controller.simulator.fleet import Fleet
from controller.simulator.physics import sustainable_ratio
from controller.simulator.scenario import EventKind, Scenario
from controller.simulator.service import Service
from controller.simulator.users import UserPopulation, quota_served_ratio
from controller.types import FlagInForce
from forecasting.types import FloatArray
from inference.guard import GuardSettings, bounded_ratio, seen_drift

CLAIRVOYANT_QUEUE_SECONDS = 10.0
"""Queue that perfect admission keeps, so that chance lulls do not leave GPUs idle."""
SETTLE_SECONDS = 3600.0
"""How long the fleet runs at its first load before the run begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldStep:
    """What happened in one step; arrays by region and tier unless said otherwise.

    Attributes:
        seconds: End of the step, from the start.
        signups: New users by region, shape ``(num_regions,)``.
        first_attempts: New requests.
        offered: New requests and retries.
        limited: Refused by a limit.
        served: Finished.
        dropped: Refused because the queue was full.
        abandoned: Given up while waiting.
        wait_seconds: Estimated wait of a request admitted now.
        load_ratio: Share of each region's capacity that worked, shape ``(num_regions,)``.
    """

    seconds: float
    signups: FloatArray
    first_attempts: FloatArray
    offered: FloatArray
    limited: FloatArray
    served: FloatArray
    dropped: FloatArray
    abandoned: FloatArray
    wait_seconds: FloatArray
    load_ratio: FloatArray


class World:
    """Everything that is not the policy.

    Args:
        scenario: The scenario.
        seed: Seed of all random draws; the users' draws do not depend on what a policy does to the hardware.

    Attributes:
        scenario: The scenario.
        seconds: Virtual time from the start; negative in the lead-in.
        clairvoyant: Whether admission and work are set by perfect knowledge; only the oracle may say so.
        work_bound: Share of its full work that each GPU may do, shape ``(num_gpus,)``: the local guard's, or 1.
    """

    def __init__(self, scenario: Scenario, *, seed: int) -> None:
        """Build the fleet, settle it at its first load, and start the clock."""
        self.scenario = scenario
        self.seconds = -scenario.lead_in_seconds
        users, fleet, cloud = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
        self.users = UserPopulation(scenario, users)
        self.fleet = Fleet(scenario, fleet)
        self.cloud = Cloud(scenario, cloud)
        self.service = Service(scenario)
        self.misfortunes = Misfortunes(scenario)
        self.flags = FlagStore(propagation_seconds=scenario.flag_propagation_seconds)
        self.region_of_pool = [region.name for region in scenario.regions for _ in region.pools]
        self._guard = GuardSettings(idle_watts=scenario.gpu.idle_watts, busy_watts=scenario.gpu.busy_watts)
        self.clairvoyant = False
        self.work_bound: FloatArray = np.ones(self.fleet.num_gpus)
        self._guarded: NDArray[np.bool_] = np.zeros(self.fleet.num_gpus, dtype=np.bool_)
        self._drift: FloatArray = np.zeros(self.fleet.num_gpus)
        self._last_margin: FloatArray = np.full(self.fleet.num_gpus, np.nan)
        self._last_power: FloatArray = np.full(self.fleet.num_gpus, np.nan)
        self._limit_cache: dict[tuple[int, int], float] = {}
        self._normal = [TierLimits(images_per_day=tier.images_per_day) for tier in scenario.tiers]
        self.offered_total: FloatArray = np.zeros((len(scenario.regions), len(scenario.tiers)))
        self.settled_total: FloatArray = np.zeros_like(self.offered_total)
        self.fleet.set_nodes(self.cloud.serving)
        self._guarded = self.fleet.powered.copy()
        self.fleet.settle(self._load_of_gpus(self._first_load()), seconds=SETTLE_SECONDS)

    @property
    def now(self) -> datetime:
        """Virtual time."""
        return self.scenario.start + timedelta(seconds=self.seconds)

    def step(self) -> WorldStep:
        """Advance by one step of the scenario.

        Raises:
            InconsistentWorldError: If the step led to a state that no world can be in.
        """
        scenario = self.scenario
        step_seconds = scenario.step_seconds
        now = self.now
        self._befall()
        self.cloud.deliver(self.seconds)
        self.flags.advance(self.seconds)
        self.fleet.set_nodes(self.cloud.serving)
        arrivals = self.users.step(
            seconds=self.seconds,
            hour_utc=now.hour + now.minute / 60.0 + now.second / 3600.0,
            step_seconds=step_seconds,
        )
        offered = arrivals.first_attempts + arrivals.retries
        self._bound_work()
        capacity = self.capacity_per_second()
        if self.clairvoyant:
            room = capacity * (step_seconds + CLAIRVOYANT_QUEUE_SECONDS) - self.service.queue.sum(axis=1)
            admitted = self._served_by_priority(offered, np.maximum(room, 0.0))
        else:
            admitted = offered * self._admitted_ratio()
        done = self.service.step(admitted, capacity, step_seconds=step_seconds)
        limited = offered - admitted
        self.users.refuse(limited + done.dropped)
        self.fleet.step(self._load_of_gpus(done.load_ratio), step_seconds=step_seconds)
        self.seconds += step_seconds
        self.offered_total += offered
        self.settled_total += limited + done.served + done.dropped + done.abandoned
        outcome = WorldStep(
            seconds=self.seconds,
            signups=arrivals.signups,
            first_attempts=arrivals.first_attempts,
            offered=offered,
            limited=limited,
            served=done.served,
            dropped=done.dropped,
            abandoned=done.abandoned,
            wait_seconds=done.wait_seconds,
            load_ratio=done.load_ratio,
        )
        check_world(self, outcome, capacity)
        return outcome

    def _befall(self) -> None:
        """Let the scenario's misfortunes happen."""
        if not self.scenario.events:
            return
        fleet, cloud, misfortunes = self.fleet, self.cloud, self.misfortunes
        num_nodes = fleet.pool_of_node.size
        fleet.cooling_ratio = misfortunes.cooling_ratio(self.seconds)
        fleet.aisle_celsius = misfortunes.per_node(EventKind.HOT_AISLE, self.seconds, num_nodes)
        fleet.fan_loss_ratio = misfortunes.per_node(EventKind.FAILED_FAN, self.seconds, num_nodes)
        empty, quotas = set(), {}
        for index, region in enumerate(self.region_of_pool):
            if misfortunes.extent(EventKind.STOCK_OUT, region, self.seconds) is not None:
                empty.add(index)
            quota = misfortunes.extent(EventKind.QUOTA, region, self.seconds)
            if quota is not None:
                quotas[index] = round(quota)
        cloud.out_of_stock, cloud.quota_nodes = frozenset(empty), quotas

    def _bound_work(self) -> None:
        """Let the local guard of each pod, or perfect knowledge, bound the work of each GPU."""
        fleet, scenario = self.fleet, self.scenario
        if self.clairvoyant:
            self.work_bound = sustainable_ratio(
                fleet, limit_celsius=scenario.gpu.slowdown_celsius, step_seconds=scenario.step_seconds
            )
        elif scenario.local_guard:
            self._guard_pods()

    def _guard_pods(self) -> None:
        """Let each pod bound its work by what its own GPU shows now."""
        fleet, settings, elapsed_seconds = self.fleet, self._guard, self.scenario.step_seconds
        began = fleet.powered & ~self._guarded
        self._guarded = fleet.powered.copy()
        margin = self.scenario.gpu.slowdown_celsius - fleet.sensed_celsius()
        power = fleet.sensed_watts()
        self._drift = seen_drift(
            np.where(began, 0.0, self._drift),
            cooled_celsius=margin - self._last_margin,
            added_watts=power - self._last_power,
            elapsed_seconds=elapsed_seconds,
            settings=settings,
        )
        self._last_margin, self._last_power = margin, power
        self.work_bound = bounded_ratio(
            np.where(began, settings.start_ratio, self.work_bound),
            margin_celsius=margin,
            power_watts=power,
            elapsed_seconds=elapsed_seconds,
            drift_celsius_per_second=self._drift,
            settings=settings,
        )

    def _served_by_priority(self, offered: FloatArray, budget: FloatArray) -> FloatArray:
        """Return what can be served within a budget of requests a region, the highest priority first."""
        admitted = np.zeros_like(offered)
        left = budget.copy()
        priorities = [tier.priority for tier in self.scenario.tiers]
        for column in sorted(range(len(priorities)), key=lambda column: -priorities[column]):
            admitted[:, column] = np.minimum(offered[:, column], left)
            left -= admitted[:, column]
        return admitted

    def capacity_per_second(self) -> FloatArray:
        """Return the requests that each region can finish a second, shape ``(num_regions,)``."""
        work = self.scenario.work
        per_gpu = work.tokens_per_second_per_gpu / (work.tokens_per_image * work.images_per_request)
        speeds = self.fleet.speed_ratio() * self.work_bound
        speed = np.bincount(self.fleet.region_of_gpu, weights=speeds, minlength=len(self.scenario.regions))
        capacity: FloatArray = np.asarray(speed * per_gpu, dtype=np.float64)
        return capacity

    def apply_nodes(self, pool: str, num_nodes: int) -> None:
        """Ask the cloud for another size of one pool; the hottest nodes leave first.

        Raises:
            KeyError: If there is no such pool.
        """
        names = [spec.name for spec in self.cloud.pools]
        if pool not in names:
            raise KeyError(pool)
        index = names.index(pool)
        slots = self.cloud.slots(index)
        hottest = np.full(self.cloud.serving.size, -np.inf)
        np.maximum.at(hottest, self.fleet.node_of_gpu, self.fleet.die_celsius)
        candidates = [slot for slot in range(slots.start, slots.stop) if self.cloud.serving[slot]]
        candidates.sort(key=lambda slot: -float(hottest[slot]))
        self.cloud.resize(index, num_nodes, now_seconds=self.seconds, hottest_first=candidates)

    def write_flags(self, flags: tuple[FlagInForce, ...], *, revision: int, ttl_seconds: float) -> None:
        """Replace the flag set; it reaches the pods after the scenario's delay.

        Args:
            flags: The whole set.
            revision: Its revision, above all before it.
            ttl_seconds: Time to live of every flag in it.
        """
        self.flags.write(flags, revision=revision, now_seconds=self.seconds, ttl_seconds=ttl_seconds)

    def _admitted_ratio(self) -> FloatArray:
        """Return the share of requests that admission lets in now, shape ``(num_regions, num_tiers)``."""
        scenario = self.scenario
        ratio = np.ones((len(scenario.regions), len(scenario.tiers)))
        for row, region in enumerate(scenario.regions):
            for column, tier in enumerate(scenario.tiers):
                limits = self.flags.limits(region.name, tier.name, self._normal[column], self.seconds)
                if not limits.generation_enabled or (tier.deferrable and not limits.batch_admitted):
                    ratio[row, column] = 0.0
                    continue
                quota = min(limits.images_per_day, tier.images_per_day)
                ratio[row, column] = limits.admission_ratio * self._quota_ratio(column, quota)
        return ratio

    def _quota_ratio(self, tier: int, quota: int) -> float:
        """Return what a quota lets through, relative to the tier's normal quota."""
        key = (tier, quota)
        if key not in self._limit_cache:
            spec = self.scenario.tiers[tier]
            normal = quota_served_ratio(spec.images_per_day, spec.mean_images_per_user_day)
            self._limit_cache[key] = quota_served_ratio(quota, spec.mean_images_per_user_day) / normal
        return self._limit_cache[key]

    def _load_of_gpus(self, load_ratio: FloatArray) -> FloatArray:
        """Spread each region's load over its GPUs as far as each may work, shape ``(num_gpus,)``."""
        loads: FloatArray = load_ratio[self.fleet.region_of_gpu] * self.work_bound * self.fleet.powered
        return loads

    def _first_load(self) -> FloatArray:
        """Return each region's load before the run, from the expected requests, shape ``(num_regions,)``."""
        scenario = self.scenario
        shares: FloatArray = np.array([region.share for region in scenario.regions], dtype=np.float64)
        expected = scenario.users.baseline_requests_per_second * shares
        capacity = np.maximum(self.capacity_per_second(), 1e-9)
        ratio: FloatArray = np.clip(expected / capacity, 0.0, 1.0).astype(np.float64)
        return ratio

    def serving_gpus(self) -> NDArray[np.bool_]:
        """Return which GPU slots belong to a serving node, shape ``(num_gpus,)``."""
        mask: NDArray[np.bool_] = self.cloud.serving[self.fleet.node_of_gpu]
        return mask
