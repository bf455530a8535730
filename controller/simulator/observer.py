"""What a policy may know of the world: sensors, counters and forecasts, late and rounded, never the truth behind.

In the cluster the same values come from Prometheus and the Kubernetes API.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from controller.simulator.scenario import EventKind
from controller.simulator.world import World, WorldStep
from controller.types import (
    FleetSnapshot,
    NodeCounts,
    PendingNodes,
    PoolCondition,
    PoolMargin,
    PoolState,
    PoolThermal,
    RegionState,
    Sample,
    TierState,
)
from forecasting.thermal import FleetThermalModel
from forecasting.types import FloatArray

UNFAVOURABLE_LEVEL = 0.95
"""Quantile of a pool's GPUs whose thermal response stands for the pool; a single outlier is the guard's business."""
LOW_MARGIN_LEVEL = 0.1
TREND_WINDOW_SECONDS = 300.0
TREND_DEVIATIONS = 3.0
"""Standard errors of its slope by which a drift is drawn towards none: the fits scatter with the load."""
SLOWDOWN_HORIZONS_SECONDS = np.array([60.0, 120.0, 300.0, 600.0])
OUTLIER_CELSIUS = 5.0
"""A node whose plateau lies this far above the next one is alone with its trouble: a fan, not the room."""
RATE_WINDOW_SECONDS = 60.0
THERMAL_PERIOD_SECONDS = 30.0
"""Distance between two samples of the thermal model; between them power is averaged, so that no heat is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Readings:
    """One scrape: everything that the sensors showed at one time."""

    seconds: float
    temperature_celsius: FloatArray
    power_watts: FloatArray
    slowed: NDArray[np.bool_]
    powered: NDArray[np.bool_]
    work_bound: FloatArray


class Observer:
    """Builds snapshots of a world; fits the thermal model from its sensors.

    Args:
        world: The world to look at.
        with_models: Whether to fit the thermal model; without, pools have no thermal samples.
    """

    def __init__(self, world: World, *, with_models: bool) -> None:
        """Start with a thermal model that knows the class of the GPUs, not their hidden properties."""
        scenario = world.scenario
        self._world = world
        self._with_models = with_models
        num_gpus = world.fleet.num_gpus
        self.thermal = FleetThermalModel(
            gpus=tuple(str(index) for index in range(num_gpus)),
            power_limit_watts=np.full(num_gpus, scenario.gpu.limit_watts),
            limit_celsius=np.full(num_gpus, scenario.gpu.slowdown_celsius),
        )
        delay_steps = round(scenario.metric_delay_seconds / scenario.step_seconds)
        # The newest reading that a policy sees is the oldest in this queue.
        self._pipeline: deque[_Readings] = deque(maxlen=delay_steps + 1)
        window = max(1, round(RATE_WINDOW_SECONDS / scenario.step_seconds))
        self._recent: deque[WorldStep] = deque(maxlen=delay_steps + window)
        self._delay_steps = delay_steps
        self._steps_per_thermal = max(1, round(THERMAL_PERIOD_SECONDS / scenario.step_seconds))
        trend_steps = max(2, round(TREND_WINDOW_SECONDS / (self._steps_per_thermal * scenario.step_seconds)))
        self._power_sum = np.zeros(num_gpus)
        self._ever_slowed = np.zeros(num_gpus, dtype=np.bool_)
        self._steps_since_thermal = 0
        self._thermal_seconds = world.seconds
        # Median offset and total gain of each pool, shape (2, num_pools), newest last.
        self._fits: deque[FloatArray] = deque(maxlen=trend_steps)
        self._seconds_to_slowdown = np.full(num_gpus, np.inf)
        self._last_regions: dict[str, RegionState] = {}
        self._last_pools: dict[str, PoolState] = {}

    def record(self, step: WorldStep) -> None:
        """Take one scrape at the end of a step."""
        fleet = self._world.fleet
        dark = np.array([self._is_dark(region.name) for region in self._world.scenario.regions])[fleet.region_of_gpu]
        temperature = np.where(dark, np.nan, fleet.sensed_celsius())
        power = np.where(dark, np.nan, fleet.sensed_watts())
        if self._with_models:
            self._learn(step.seconds, temperature, power)
        self._pipeline.append(
            _Readings(
                seconds=step.seconds,
                temperature_celsius=temperature,
                power_watts=power,
                slowed=fleet.slowed.copy(),
                powered=fleet.powered.copy(),
                work_bound=self._world.work_bound.copy(),
            )
        )
        self._recent.append(step)

    def _learn(self, seconds: float, temperature: FloatArray, power: FloatArray) -> None:
        """Give the thermal model its sample when its period is over, and forecast the times to slowdown."""
        self._power_sum += power
        self._ever_slowed |= self._world.fleet.slowed
        self._steps_since_thermal += 1
        if self._steps_since_thermal < self._steps_per_thermal:
            return
        mean_power = self._power_sum / self._steps_since_thermal
        self.thermal.observe(
            now_seconds=seconds, temperature_celsius=temperature, power_watts=mean_power, throttled=self._ever_slowed
        )
        self._fits.append(self._median_fits())
        forecast = self.thermal.forecast(
            horizons_seconds=SLOWDOWN_HORIZONS_SECONDS, power_watts=np.nan_to_num(power), levels=(0.5,)
        )
        self._seconds_to_slowdown = forecast.seconds_to_slowdown[0]
        self._thermal_seconds = seconds
        self._power_sum = np.zeros_like(power)
        self._ever_slowed = np.zeros_like(self._ever_slowed)
        self._steps_since_thermal = 0

    def snapshot(self) -> FleetSnapshot:
        """Return what is known now."""
        world = self._world
        names = [region.name for region in world.scenario.regions]
        for index, name in enumerate(names):
            if not self._is_dark(name) or name not in self._last_regions:
                self._last_regions[name] = self._region(index, name)
        regions = tuple(self._last_regions[name] for name in names)
        pools = [self._seen_pool(index, region) for index, region in enumerate(world.region_of_pool)]
        return FleetSnapshot(
            as_of=world.now, regions=regions, pools=tuple(pools), flags=world.flags.in_force(world.seconds)
        )

    def _is_dark(self, region: str) -> bool:
        """Return whether no metric of a region arrives now; what arrived before stays, and ages."""
        world = self._world
        return world.misfortunes.extent(EventKind.METRICS_OUTAGE, region, world.seconds) is not None

    def _seen_pool(self, index: int, region: str) -> PoolState:
        """Return one pool; while its metrics are out, its last readings with today's node counts."""
        name = self._world.cloud.pools[index].name
        if self._is_dark(region) and name in self._last_pools:
            nodes = Sample.fresh(self._nodes(index), self._world.now)
            state = replace(
                self._last_pools[name],
                nodes=nodes,
                arrivals=self._arrivals(index),
                conditions=self._conditions(index),
            )
        else:
            state = self._pool(index, region)
        self._last_pools[name] = state
        return state

    def _conditions(self, index: int) -> frozenset[PoolCondition]:
        """Return what stands in a pool's way."""
        cloud = self._world.cloud
        found = set()
        if index in cloud.out_of_stock:
            found.add(PoolCondition.STOCK_OUT)
        if cloud.num_serving(index) + cloud.num_pending(index) >= cloud.quota_nodes.get(index, 10**9):
            found.add(PoolCondition.QUOTA_EXCEEDED)
        return frozenset(found)

    def _region(self, index: int, name: str) -> RegionState:
        """Return one region's rates over the last minute that the metrics cover."""
        world = self._world
        seen = list(self._recent)[: len(self._recent) - self._delay_steps] or list(self._recent)[:1]
        as_of = world.scenario.start + timedelta(seconds=seen[-1].seconds)
        span_seconds = len(seen) * world.scenario.step_seconds
        tiers = []
        for column, tier in enumerate(world.scenario.tiers):
            first = sum(float(step.first_attempts[index, column]) for step in seen)
            served = sum(float(step.served[index, column]) for step in seen)
            tiers.append(
                TierState(
                    tier=tier.name,
                    first_attempt_rate=Sample.fresh(first / span_seconds, as_of),
                    served_rate=Sample.fresh(served / span_seconds, as_of),
                    queue_requests=Sample.fresh(float(world.service.queue[index, column]), world.now),
                    wait_seconds=Sample.fresh(float(seen[-1].wait_seconds[index, column]), as_of),
                )
            )
        return RegionState(name=name, tiers=tuple(tiers))

    def _pool(self, index: int, region: str) -> PoolState:
        """Return one pool; without a GPU that answers its readings are absent."""
        world = self._world
        readings = self._pipeline[0]
        as_of = world.scenario.start + timedelta(seconds=readings.seconds)
        answering = readings.powered & np.isfinite(readings.temperature_celsius)
        members = np.flatnonzero((world.fleet.pool_of_gpu == index) & answering)
        name = world.cloud.pools[index].name
        nodes = Sample.fresh(self._nodes(index), world.now)
        if members.size == 0:
            return PoolState(
                name=name,
                region=region,
                nodes=nodes,
                arrivals=self._arrivals(index),
                margin=Sample.absent(),
                power_watts=Sample.absent(),
                throttled_ratio=Sample.absent(),
                seconds_to_slowdown=Sample.absent(),
                thermal=Sample.absent(),
                conditions=self._conditions(index),
            )
        margins = world.scenario.gpu.slowdown_celsius - readings.temperature_celsius[members]
        low = float(np.quantile(margins, LOW_MARGIN_LEVEL))
        margin = PoolMargin(
            minimum_celsius=float(margins.min()),
            low_celsius=low,
            median_celsius=float(np.median(margins)),
            num_nodes_low=int(np.unique(world.fleet.node_of_gpu[members[margins <= low]]).size),
        )
        guard: Sample[float] = Sample.absent()
        if world.scenario.local_guard:
            guard = Sample.fresh(float(readings.work_bound[members].mean()), as_of)
        slowdown: Sample[float] = Sample.absent()
        thermal: Sample[PoolThermal] = Sample.absent()
        if self._with_models:
            learnt_at = world.scenario.start + timedelta(seconds=self._thermal_seconds)
            slowdown = Sample.fresh(float(self._seconds_to_slowdown[members].min()), learnt_at)
            thermal = Sample.fresh(self._thermal(index, members), learnt_at)
        return PoolState(
            name=name,
            region=region,
            nodes=nodes,
            arrivals=self._arrivals(index),
            margin=Sample.fresh(margin, as_of),
            power_watts=Sample.fresh(float(readings.power_watts[members].mean()), as_of),
            throttled_ratio=Sample.fresh(float(readings.slowed[members].mean()), as_of),
            seconds_to_slowdown=slowdown,
            thermal=thermal,
            guard_ratio=guard,
            conditions=self._conditions(index),
        )

    def _nodes(self, index: int) -> NodeCounts:
        """Return a pool's node counts."""
        cloud = self._world.cloud
        serving, pending = cloud.num_serving(index), cloud.num_pending(index)
        return NodeCounts(
            desired=serving + pending, created=serving + pending, ready=serving, serving=serving, pending=pending
        )

    def _arrivals(self, index: int) -> tuple[PendingNodes, ...]:
        """Return a pool's nodes on their way, with the arrival that the pool's lead times promise."""
        world = self._world
        spec = world.cloud.pools[index]
        orders = [order for order in world.cloud.orders if order.pool == index]
        arrivals = []
        for ordered_seconds in sorted({order.ordered_seconds for order in orders}):
            ordered_at = world.scenario.start + timedelta(seconds=ordered_seconds)
            arrivals.append(
                PendingNodes(
                    num_nodes=sum(1 for order in orders if order.ordered_seconds == ordered_seconds),
                    ordered_at=ordered_at,
                    expected_p50=ordered_at + timedelta(seconds=spec.lead_time_p50_seconds),
                    expected_p95=ordered_at + timedelta(seconds=spec.lead_time_p95_seconds),
                )
            )
        return tuple(arrivals)

    def _median_fits(self) -> FloatArray:
        """Return the median ambient and resistance of each pool's GPUs, ``(2, num_pools)``; NaN where none answers."""
        fleet = self._world.fleet
        # Not ``offset_celsius``: the intercept of a chord moves with the load, the model's own parameters do not.
        ambient, resistance = self.thermal.ambient_celsius, self.thermal.thermal_resistance_celsius_per_watt
        medians = np.full((2, len(self._world.cloud.pools)), np.nan)
        for index in range(medians.shape[1]):
            members = (fleet.pool_of_gpu == index) & fleet.powered
            if members.any():
                medians[:, index] = np.median(ambient[members]), np.median(resistance[members])
        return medians

    def _trend(self, pool: int, power_watts: float) -> float:
        """Return the drift of a pool's plateau at its present power, in degrees a second.

        A room that warms up while power rises is taken for a larger gain by the fit, with a smaller offset; only both
        together show the drift. 0 until half a window of fits is there.
        """
        maxlen = self._fits.maxlen or 0
        if len(self._fits) < max(3, maxlen // 2):
            return 0.0
        fits = np.array(self._fits)[:, :, pool]
        return significant_slope(
            fits[:, 0] + fits[:, 1] * power_watts, self._steps_per_thermal * self._world.scenario.step_seconds
        )

    def _outlier(self, members: NDArray[np.int64], plateau: FloatArray) -> NDArray[np.bool_]:
        """Return which GPUs stand on a node that alone is far hotter than all others; nobody else is judged by it."""
        nodes = self._world.fleet.node_of_gpu[members]
        found = np.unique(nodes)
        if found.size < 3:
            return np.zeros(members.size, dtype=np.bool_)
        medians = np.array([float(np.median(plateau[nodes == node])) for node in found])
        order = np.argsort(medians, kind="stable")
        alone = medians[order[-1]] - medians[order[-2]] > OUTLIER_CELSIUS
        hottest: NDArray[np.bool_] = (nodes == found[order[-1]]) & bool(alone)
        return hottest

    def _thermal(self, pool: int, members: NDArray[np.int64]) -> PoolThermal:
        """Return the response of the GPU that stands at the unfavourable quantile of the pool."""
        gpu = self._world.scenario.gpu
        gains = self.thermal.gains[members]
        plateau = self.thermal.offset_celsius[members] + gains.sum(axis=1) * gpu.busy_watts
        kept = ~self._outlier(members, plateau)
        members, plateau = members[kept], plateau[kept]
        order = np.argsort(plateau, kind="stable")
        power_watts = float(np.nanmean(self._pipeline[0].power_watts[members]))
        chosen = int(members[order[int(np.ceil(UNFAVOURABLE_LEVEL * (members.size - 1)))]])
        return PoolThermal(
            time_constants_seconds=tuple(float(tau) for tau in self.thermal.time_constants_seconds),
            gains_celsius_per_watt=tuple(float(gain) for gain in self.thermal.gains[chosen]),
            filtered_power_watts=tuple(float(watts) for watts in self.thermal.filtered_power_watts[chosen]),
            offset_celsius=float(self.thermal.offset_celsius[chosen]),
            offset_trend_celsius_per_second=self._trend(pool, power_watts),
            limit_celsius=gpu.slowdown_celsius,
            idle_power_watts=gpu.idle_watts,
            busy_power_watts=gpu.busy_watts,
        )


def significant_slope(values: FloatArray, period_seconds: float) -> float:
    """Return the part of a series' slope that its scatter does not explain.

    The least-squares slope, drawn towards zero by its standard errors.

    Args:
        values: Equally spaced values, at least three.
        period_seconds: Distance between two of them, > 0.

    Returns:
        Slope a second; 0 when a value is missing.
    """
    if not np.isfinite(values).all():
        return 0.0
    seconds = period_seconds * (np.arange(values.size) - (values.size - 1) / 2.0)
    spread = float(seconds @ seconds)
    slope = float(seconds @ values) / spread
    scatter = values - values.mean() - slope * seconds
    error = float(np.sqrt(scatter @ scatter / ((values.size - 2) * spread)))
    return float(np.sign(slope)) * max(abs(slope) - TREND_DEVIATIONS * error, 0.0)
