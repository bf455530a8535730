"""Writes down what happens in a run, and adds it up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from controller.simulator.record import (
    RECORD_PERIOD_SECONDS,
    DecisionMark,
    FanRecord,
    Figures,
    RegionFigures,
    RegionTrack,
    Requests,
    RunRecord,
    TierFigures,
    TierTrack,
    WaitSeconds,
)
from controller.simulator.world import World, WorldStep
from controller.types import Rung
from forecasting.types import FloatArray


@dataclass(slots=True, kw_only=True)
class _Totals:
    """Sums over the whole run."""

    throttled_gpu_seconds: float = 0.0
    over_limit_degree_seconds: float = 0.0
    max_temperature_celsius: float = float("-inf")
    gpu_seconds: float = 0.0
    cost: float = 0.0
    actions: int = 0
    limited_seconds: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))


class Recorder:
    """Collects one run.

    Args:
        world: The world that is recorded.
        policy: Name of the policy.
        seed: Seed of the run.
    """

    def __init__(self, world: World, *, policy: str, seed: int) -> None:
        """Start with an empty record."""
        scenario = world.scenario
        self._world = world
        self._policy = policy
        self._seed = seed
        shape = (len(scenario.regions), len(scenario.tiers))
        self._sums = {name: np.zeros(shape) for name in ("offered", "served", "limited", "dropped", "abandoned")}
        self.totals = _Totals(limited_seconds=np.zeros(shape))
        self._window: list[WorldStep] = []
        self._window_hottest = np.full(shape[0], -np.inf)
        self._seconds: list[float] = []
        self._signups: list[float] = []
        self._tiers: list[FloatArray] = []
        self._regions: list[tuple[FloatArray, list[int], list[int], list[int], FloatArray, FloatArray]] = []
        self._decisions: list[DecisionMark] = []
        self._fans: list[FanRecord] = []
        self._rungs: dict[str, Rung] = {}

    def record_step(self, step: WorldStep) -> bool:
        """Add one step; return whether it completed a sample."""
        world, totals = self._world, self.totals
        scenario, fleet = world.scenario, world.fleet
        dt = scenario.step_seconds
        serving = world.serving_gpus()
        die = np.where(serving, fleet.die_celsius, -np.inf)
        hottest = float(die.max())
        totals.throttled_gpu_seconds += float((fleet.slowed & serving).sum()) * dt
        excess = np.maximum(die[serving] - scenario.gpu.slowdown_celsius, 0.0)
        totals.over_limit_degree_seconds += float(excess.sum()) * dt
        totals.max_temperature_celsius = max(totals.max_temperature_celsius, hottest)
        totals.gpu_seconds += float(serving.sum()) * dt
        totals.limited_seconds += (step.limited > 0.0) * dt
        for index, pool in enumerate(world.cloud.pools):
            totals.cost += world.cloud.num_serving(index) * pool.cost_per_node_hour * dt / 3600.0
        for name, total in self._sums.items():
            total += getattr(step, name)
        np.maximum.at(self._window_hottest, fleet.region_of_gpu, die)
        self._window.append(step)
        if len(self._window) * dt < RECORD_PERIOD_SECONDS - 1e-9:
            return False
        self._close_window(step.seconds)
        return True

    def record_decision(self, marks: tuple[DecisionMark, ...], rungs: dict[str, Rung]) -> None:
        """Add a decision; every mark counts as an action but for changes of rung that touch nothing."""
        self._rungs.update(rungs)
        self._decisions += marks
        self.totals.actions += sum(1 for mark in marks if mark.kind != "rung")

    def record_fan(self, fan: FanRecord) -> None:
        """Add a forecast for the report."""
        self._fans.append(fan)

    def _close_window(self, seconds: float) -> None:
        """Turn the steps since the last sample into one sample."""
        world, steps = self._world, self._window
        scenario = world.scenario
        span_seconds = len(steps) * scenario.step_seconds
        self._seconds.append(seconds)
        signups = sum(float(step.signups.sum()) for step in steps)
        self._signups.append(signups / scenario.users.scale * 3600.0 / span_seconds)
        rates = [
            sum(getattr(step, name).sum(axis=0) for step in steps) / span_seconds
            for name in ("offered", "served", "limited", "dropped")
        ]
        self._tiers.append(np.array(rates))
        pools_of = [len(region.pools) for region in scenario.regions]
        first = np.cumsum([0, *pools_of])
        serving = [
            sum(world.cloud.num_serving(pool) for pool in range(int(first[row]), int(first[row + 1])))
            for row in range(len(pools_of))
        ]
        pending = [
            sum(world.cloud.num_pending(pool) for pool in range(int(first[row]), int(first[row + 1])))
            for row in range(len(pools_of))
        ]
        rungs = [int(self._rungs.get(region.name, Rung.OBSERVE)) for region in scenario.regions]
        load = np.mean([step.load_ratio for step in steps], axis=0)
        self._regions.append(
            (self._window_hottest.copy(), serving, pending, rungs, load, world.fleet.inlet_celsius.copy())
        )
        self._window = []
        self._window_hottest = np.full_like(self._window_hottest, -np.inf)

    def finish(self) -> RunRecord:
        """Return the record of the whole run."""
        scenario = self._world.scenario
        tiers = np.array(self._tiers)
        tracks = {
            tier.name: TierTrack(
                offered=_floats(tiers[:, 0, column]),
                served=_floats(tiers[:, 1, column]),
                limited=_floats(tiers[:, 2, column]),
                dropped=_floats(tiers[:, 3, column]),
            )
            for column, tier in enumerate(scenario.tiers)
        }
        regions = {region.name: self._region_track(row) for row, region in enumerate(scenario.regions)}
        hottest = np.array([sample[0].max() for sample in self._regions])
        return RunRecord(
            policy=self._policy,
            seed=self._seed,
            start=scenario.start,
            sample_seconds=RECORD_PERIOD_SECONDS,
            seconds=tuple(self._seconds),
            signups_per_hour=_floats(np.array(self._signups)),
            hottest_celsius=_floats(hottest),
            tiers=tracks,
            regions=regions,
            decisions=tuple(self._decisions),
            fans=tuple(self._fans),
            figures=self._figures(),
        )

    def _region_track(self, row: int) -> RegionTrack:
        """Return one region's time series."""
        return RegionTrack(
            hottest_celsius=_floats(np.array([sample[0][row] for sample in self._regions])),
            nodes_serving=tuple(sample[1][row] for sample in self._regions),
            nodes_pending=tuple(sample[2][row] for sample in self._regions),
            rung=tuple(sample[3][row] for sample in self._regions),
            utilization_ratio=_floats(np.array([sample[4][row] for sample in self._regions])),
            inlet_celsius=_floats(np.array([sample[5][row] for sample in self._regions])),
        )

    def _figures(self) -> Figures:
        """Return the figures of the replay contract; the lead and the regret need other runs and come later."""
        scenario, totals, service = self._world.scenario, self.totals, self._world.service
        tiers = {
            tier.name: TierFigures(
                requests=Requests(**{name: float(total[:, column].sum()) for name, total in self._sums.items()}),
                wait_seconds=WaitSeconds(
                    p50=service.wait_quantile_seconds(column, 0.5),
                    p95=service.wait_quantile_seconds(column, 0.95),
                    p99=service.wait_quantile_seconds(column, 0.99),
                ),
            )
            for column, tier in enumerate(scenario.tiers)
        }
        regions = {
            region.name: RegionFigures(
                minutes_limited={
                    tier.name: float(totals.limited_seconds[row, column]) / 60.0
                    for column, tier in enumerate(scenario.tiers)
                }
            )
            for row, region in enumerate(scenario.regions)
        }
        return Figures(
            throttled_gpu_seconds=totals.throttled_gpu_seconds,
            over_limit_degree_seconds=round(totals.over_limit_degree_seconds, 3),
            max_temperature_celsius=round(totals.max_temperature_celsius, 3),
            gpus_shut_down=int(self._world.fleet.shut_down.sum()),
            tiers=tiers,
            regions=regions,
            gpu_hours=totals.gpu_seconds / 3600.0,
            cost=round(totals.cost, 6),
            actions=totals.actions,
            flag_changes=self._world.flags.num_changes,
            first_action_lead_seconds=None,
            regret=None,
        )


def _floats(values: FloatArray) -> tuple[float, ...]:
    """Return plain floats, rounded to what a chart can show."""
    return tuple(round(float(value), 4) for value in values)
