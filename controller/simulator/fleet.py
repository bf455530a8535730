"""The GPUs and the buildings around them: heat, slowdown, shutdown, and sensors that round.

Physics of its own, richer than the planner's linear bank: two masses a GPU (die and heat sink), power that leaks
with temperature, fans that follow the die with a lag, resistances that differ from unit to unit and are never told,
a room that warms up when the cooling is overloaded, and sensors that show whole degrees. Every relaxation uses the
exact solution of its first-order equation over the step, so that no step length can make it unstable.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from controller.simulator.scenario import Pool, Scenario
from forecasting.types import FloatArray

DIE_SHARE = 0.6
"""Share of the resistance between die and sink; measured on an H100-class node: about 60 % of the rise is fast."""
DIE_TIME_CONSTANT_SECONDS = 4.0
"""Measured on the same node: 63 % of a load removal within 3 to 15 s."""
SINK_TIME_CONSTANT_SECONDS = 110.0
"""Between the 50 and 390 s that were fitted there."""
LEAKAGE_RATIO_PER_CELSIUS = 0.004
"""Power rises 0.27 to 0.63 % per degree; measured at an unconstrained 400 W."""
LEAKAGE_REFERENCE_CELSIUS = 60.0
FAN_TIME_CONSTANT_SECONDS = 90.0
"""Measured: a node cooled by 3.6 to 5.5 K at constant power between 100 s and 300 s as its fans caught up."""
FAN_MAX_RELIEF_RATIO = 0.15
"""Largest cut of the sink's resistance by the fans (assumed)."""
FAN_START_CELSIUS = 55.0
FAN_FULL_CELSIUS = 80.0
SLOWDOWN_HYSTERESIS_CELSIUS = 4.0
"""A GPU that slowed down recovers this far below the limit (assumed)."""
POSITION_SPREAD_CELSIUS = 1.5
"""Standard deviation of the inlet between nodes of one site (assumed)."""


class Fleet:
    """Every slot that a GPU can stand in, whether or not a node is there.

    Attributes:
        region_of_gpu: Index of the region of each slot, shape ``(num_gpus,)``.
        pool_of_gpu: Index of the pool, in the order of the scenario's regions, same shape.
        node_of_gpu: Index of the node slot, same shape.
        pool_of_node: Index of the pool of each node slot, shape ``(num_nodes,)``.
        cooling_ratio: Share of its cooling that each site has, shape ``(num_regions,)``; 1 is all of it.
        aisle_celsius: Degrees that the air at each node slot is above its place, shape ``(num_nodes,)``.
        gpu: What a GPU of the fleet is, as the scenario says.
        die_resistance: Hidden resistance from die to sink of each slot, kelvin per watt, shape ``(num_gpus,)``.
        fan_loss_ratio: Rise of each node slot's resistance from sink to air, shape ``(num_nodes,)``.
    """

    def __init__(self, scenario: Scenario, generator: np.random.Generator) -> None:
        """Draw the hidden properties of each slot and let the fleet settle at idle."""
        self.gpu = scenario.gpu
        self._sites = [region.site for region in scenario.regions]
        pools: list[tuple[int, Pool]] = [
            (index, pool) for index, region in enumerate(scenario.regions) for pool in region.pools
        ]
        self.pool_of_node: NDArray[np.int64] = np.repeat(np.arange(len(pools)), [pool.max_nodes for _, pool in pools])
        gpus_per_node = np.array([pools[pool][1].gpus_per_node for pool in self.pool_of_node])
        self.node_of_gpu: NDArray[np.int64] = np.repeat(np.arange(self.pool_of_node.size), gpus_per_node)
        self.pool_of_gpu: NDArray[np.int64] = self.pool_of_node[self.node_of_gpu]
        self.region_of_gpu: NDArray[np.int64] = np.array([index for index, _ in pools])[self.pool_of_gpu]
        num_gpus = self.node_of_gpu.size
        spread = 1.0 + self.gpu.resistance_spread_ratio * np.clip(generator.standard_normal(num_gpus), -2.5, 2.5)
        resistance = self.gpu.resistance_celsius_per_watt * spread
        self.die_resistance: FloatArray = DIE_SHARE * resistance
        self._sink_resistance: FloatArray = (1.0 - DIE_SHARE) * resistance
        position = POSITION_SPREAD_CELSIUS * np.clip(generator.standard_normal(self.pool_of_node.size), -2.0, 2.0)
        self._position_celsius: FloatArray = position[self.node_of_gpu]
        self.inlet_celsius: FloatArray = np.array([site.inlet_celsius for site in self._sites])
        self.cooling_ratio: FloatArray = np.ones(len(self._sites))
        self.aisle_celsius: FloatArray = np.zeros(self.pool_of_node.size)
        self.fan_loss_ratio: FloatArray = np.zeros(self.pool_of_node.size)
        self.powered: NDArray[np.bool_] = np.zeros(num_gpus, dtype=np.bool_)
        self.shut_down: NDArray[np.bool_] = np.zeros(num_gpus, dtype=np.bool_)
        self.slowed: NDArray[np.bool_] = np.zeros(num_gpus, dtype=np.bool_)
        self.power_watts: FloatArray = np.zeros(num_gpus)
        self._fan_relief: FloatArray = np.zeros(num_gpus)
        air = self.inlet_celsius[self.region_of_gpu] + self._position_celsius
        self.sink_celsius: FloatArray = air.copy()
        self.die_celsius: FloatArray = air.copy()

    @property
    def num_gpus(self) -> int:
        """Number of slots."""
        return int(self.node_of_gpu.size)

    def set_nodes(self, present: NDArray[np.bool_]) -> None:
        """Say which node slots hold a running node, shape ``(num_nodes,)``; a GPU that shut down stays off."""
        self.powered = present[self.node_of_gpu] & ~self.shut_down

    def speed_ratio(self) -> FloatArray:
        """Return each slot's speed relative to a healthy GPU, shape ``(num_gpus,)``: 0 where there is none."""
        speed: FloatArray = np.where(self.slowed, self.gpu.slowdown_speed_ratio, 1.0) * self.powered
        return speed

    def settle(self, load_ratio: FloatArray, *, seconds: float) -> None:
        """Run ``seconds`` at a constant load, so that a run does not begin with a cold fleet."""
        for _ in range(math.ceil(seconds / 30.0)):
            self.step(load_ratio, step_seconds=30.0)

    def step(self, load_ratio: FloatArray, *, step_seconds: float) -> None:
        """Advance by one step.

        Args:
            load_ratio: Share of each slot's time that it works, 0..1, shape ``(num_gpus,)``.
            step_seconds: Length of the step.
        """
        self._draw_power(load_ratio)
        self._warm_rooms(step_seconds)
        air = self.air_celsius()
        wanted = np.clip((self.die_celsius - FAN_START_CELSIUS) / (FAN_FULL_CELSIUS - FAN_START_CELSIUS), 0.0, 1.0)
        self._fan_relief = _relax(
            self._fan_relief, FAN_MAX_RELIEF_RATIO * wanted, step_seconds, FAN_TIME_CONSTANT_SECONDS
        )
        sink_target = air + self.sink_resistance() * self.power_watts
        self.sink_celsius = _relax(self.sink_celsius, sink_target, step_seconds, SINK_TIME_CONSTANT_SECONDS)
        die_target = self.sink_celsius + self.die_resistance * self.power_watts
        self.die_celsius = _relax(self.die_celsius, die_target, step_seconds, DIE_TIME_CONSTANT_SECONDS)
        self._protect()

    def air_celsius(self) -> FloatArray:
        """Return the air at each slot: the site's inlet, its place and its aisle."""
        air: FloatArray = (
            self.inlet_celsius[self.region_of_gpu] + self._position_celsius + self.aisle_celsius[self.node_of_gpu]
        )
        return air

    def sink_resistance(self) -> FloatArray:
        """Return each slot's resistance from sink to air with its fans as they run now."""
        fans: FloatArray = (1.0 - self._fan_relief) * (1.0 + self.fan_loss_ratio[self.node_of_gpu])
        return self._sink_resistance * fans

    def sensed_celsius(self) -> FloatArray:
        """Return what the sensors show: whole degrees; NaN where no GPU answers."""
        sensed: FloatArray = np.where(self.powered, np.floor(self.die_celsius), np.nan)
        return sensed

    def sensed_watts(self) -> FloatArray:
        """Return the mean power of the last step in watts; NaN where no GPU answers."""
        sensed: FloatArray = np.where(self.powered, np.round(self.power_watts, 1), np.nan)
        return sensed

    def _draw_power(self, load_ratio: FloatArray) -> None:
        """Set the power from load, leakage, slowdown and the enforced limit."""
        gpu = self.gpu
        speed = np.where(self.slowed, gpu.slowdown_speed_ratio, 1.0)
        dynamic = (gpu.busy_watts - gpu.idle_watts) * np.clip(load_ratio, 0.0, 1.0) * speed
        leakage = 1.0 + LEAKAGE_RATIO_PER_CELSIUS * (self.die_celsius - LEAKAGE_REFERENCE_CELSIUS)
        self.power_watts = np.minimum(gpu.idle_watts + dynamic * leakage, gpu.limit_watts) * self.powered

    def _warm_rooms(self, step_seconds: float) -> None:
        """Let each site's inlet follow the heat that its cooling cannot take away."""
        heat = np.bincount(self.region_of_gpu, weights=self.power_watts, minlength=len(self._sites))
        for index, site in enumerate(self._sites):
            overload = max(0.0, float(heat[index]) - site.cooling_capacity_watts * float(self.cooling_ratio[index]))
            target = site.inlet_celsius + site.overload_celsius_per_watt * overload
            weight = 1.0 - math.exp(-step_seconds / site.overload_time_constant_seconds)
            self.inlet_celsius[index] += weight * (target - self.inlet_celsius[index])

    def _protect(self) -> None:
        """Slow down, recover and shut down as the hardware does."""
        gpu = self.gpu
        recovered = self.die_celsius < gpu.slowdown_celsius - SLOWDOWN_HYSTERESIS_CELSIUS
        self.slowed = ((self.die_celsius >= gpu.slowdown_celsius) | (self.slowed & ~recovered)) & self.powered
        self.shut_down |= (self.die_celsius >= gpu.shutdown_celsius) & self.powered
        self.powered &= ~self.shut_down


def _relax(value: FloatArray, target: FloatArray, step_seconds: float, time_constant_seconds: float) -> FloatArray:
    """Return the exact solution of ``tau dx/dt = target - x`` after one step."""
    weight = 1.0 - math.exp(-step_seconds / time_constant_seconds)
    relaxed: FloatArray = value + weight * (target - value)
    return relaxed
