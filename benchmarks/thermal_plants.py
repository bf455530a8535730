"""Random GPUs for the thermal benchmarks: heat, cooling, load and sensors that the model was never shown.

Physics of its own: masses with time constants from 2 to 600 s, power that leaks with temperature, fans that follow the
die with a lag and may fail, air that shifts, and sensors that round, jitter, skip, repeat and freeze. None of it is the
model's bank or its curve. Called by ``thermal_stress`` and ``thermal_holdout``, and by a test; everything is drawn from
the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.types import FloatArray

STEP_SECONDS = 1.0
NUM_MASSES = 3
LEAKAGE_RATIO_PER_CELSIUS = 0.004
"""Power rises by 0.27 to 0.63 % per degree; measured at an unconstrained 400 W."""
LEAKAGE_REFERENCE_CELSIUS = 60.0
FAN_LAG_SECONDS = 90.0
FAN_START_CELSIUS = 50.0
FAN_FULL_CELSIUS = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantKind:
    """What is drawn, and how it is read.

    Attributes:
        name: For the tables.
        liquid: Cold plate: fast, cool, no fans.
        air_steps: Shifts of the air of up to 6 K during the run.
        fan_steps: A fan that fails or comes back during the run.
        scrape_seconds: Mean distance between readings.
        jitter_ratio: Standard deviation of that distance, as a share of it.
        missing_ratio: Share of readings that are absent.
        repeated_ratio: Share of readings that repeat the one before.
        power_step_watts: Power is rounded to this; 0 is exact.
        instant_power: Power is of the last second, not the mean since the last reading.
        stuck_seconds: For so long in the middle of the run power repeats itself.
        wander_ratio: Standard deviation of the power about its level, as a share of the limit.
        wander_seconds: Correlation time of that.
    """

    name: str
    liquid: bool = False
    air_steps: bool = False
    fan_steps: bool = False
    scrape_seconds: float = 5.0
    jitter_ratio: float = 0.0
    missing_ratio: float = 0.0
    repeated_ratio: float = 0.0
    power_step_watts: float = 0.0
    instant_power: bool = False
    stuck_seconds: float = 0.0
    wander_ratio: float = 0.03
    wander_seconds: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlantRun:
    """Readings of GPUs that are scraped together.

    Attributes:
        seconds: Time of each scrape, ascending, shape ``(num_samples,)``.
        temperature_celsius: What the sensor says in whole degrees; NaN missing. Shape ``(num_gpus, num_samples)``.
        power_watts: What the sensor says; NaN missing, same shape.
        later_power_watts: The power that a perfect load forecast would name for the stretch that ends at each scrape:
            the reading where it is sound, else the true mean. Same shape.
        power_limit_watts: Shape ``(num_gpus,)``.
    """

    seconds: FloatArray
    temperature_celsius: FloatArray
    power_watts: FloatArray
    later_power_watts: FloatArray
    power_limit_watts: FloatArray

    @property
    def gpus(self) -> tuple[str, ...]:
        """Names of the GPUs."""
        return tuple(f"gpu-{index}" for index in range(self.power_limit_watts.size))


def simulate(kind: PlantKind, *, num_gpus: int, duration_seconds: float, seed: int) -> PlantRun:
    """Draw GPUs of a kind, run them, and read them.

    Args:
        kind: What is drawn.
        num_gpus: Number of GPUs.
        duration_seconds: Length of the run.
        seed: Of everything that is drawn.

    Returns:
        The readings.
    """
    random = np.random.default_rng(seed)
    num_steps = int(duration_seconds / STEP_SECONDS)
    limit_watts = np.exp(random.uniform(np.log(70.0), np.log(1000.0), num_gpus))
    demand = _demand(kind, num_gpus, num_steps, random)
    temperature, power = _heat(kind, limit_watts, demand, random)
    return _read(kind, limit_watts, temperature, power, random)


def _demand(kind: PlantKind, num_gpus: int, num_steps: int, random: np.random.Generator) -> FloatArray:
    """Return the power that the load asks for over the limit, shape ``(num_gpus, num_steps)``."""
    moments = np.arange(num_steps) * STEP_SECONDS
    demand = np.empty((num_gpus, num_steps))
    idle = random.uniform(0.08, 0.2, num_gpus)
    for gpu in range(num_gpus):
        # Levels that hold for minutes; every third GPU works in short bursts.
        mean_hold = 40.0 if gpu % 3 == 2 else random.uniform(120.0, 900.0)
        num_levels = int(num_steps * STEP_SECONDS / mean_hold * 4.0) + 20
        starts = np.cumsum(np.maximum(random.exponential(mean_hold, num_levels), 3.0))
        levels = np.where(random.random(num_levels) < 0.25, idle[gpu], random.uniform(0.3, 1.05, num_levels))
        demand[gpu] = levels[np.minimum(np.searchsorted(starts, moments), num_levels - 1)]
    keep = np.exp(-STEP_SECONDS / kind.wander_seconds)
    wander = np.zeros(num_gpus)
    shocks = random.standard_normal((num_steps, num_gpus))
    for step in range(num_steps):
        wander = keep * wander + np.sqrt(1.0 - keep**2) * shocks[step]
        demand[:, step] += kind.wander_ratio * wander * (demand[:, step] > 0.25)
    return np.clip(demand, 0.05, 1.2)


def _heat(
    kind: PlantKind, limit_watts: FloatArray, demand: FloatArray, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return true temperature and power, each of shape ``(num_gpus, num_steps)``."""
    num_gpus, num_steps = demand.shape
    slowest = 60.0 if kind.liquid else 600.0
    constants = np.sort(np.exp(random.uniform(np.log(2.0), np.log(slowest), (NUM_MASSES, num_gpus))), axis=0)
    shares = random.dirichlet([2.0, 1.5, 1.0], num_gpus).T
    rise = random.uniform(10.0, 30.0, num_gpus) if kind.liquid else random.uniform(20.0, 55.0, num_gpus)
    resistance = np.clip(rise / limit_watts, 0.03, 0.3)
    relief = np.zeros(num_gpus) if kind.liquid else random.uniform(0.0, 0.25, num_gpus)
    air = random.uniform(18.0, 32.0, num_gpus)
    air_path = air[:, None] + _steps(num_gpus, num_steps, 6.0 if kind.air_steps else 0.0, random)
    fan_path = 1.0 + _steps(num_gpus, num_steps, 0.3 if kind.fan_steps else 0.0, random)
    keep, fan_keep = np.exp(-STEP_SECONDS / constants), np.exp(-STEP_SECONDS / FAN_LAG_SECONDS)
    # Resistances of the fast mass stay with the package; the slower ones are the cooler's and follow its fans.
    masses = shares * resistance * (demand[:, 0] * limit_watts)
    fan = np.zeros(num_gpus)
    temperature, power = np.empty_like(demand), np.empty_like(demand)
    die = air + masses.sum(axis=0)
    for step in range(num_steps):
        leakage = 1.0 + LEAKAGE_RATIO_PER_CELSIUS * (die - LEAKAGE_REFERENCE_CELSIUS)
        watts = np.minimum(demand[:, step] * leakage, 1.0) * limit_watts
        wanted = np.clip((die - FAN_START_CELSIUS) / (FAN_FULL_CELSIUS - FAN_START_CELSIUS), 0.0, 1.0)
        fan = fan_keep * fan + (1.0 - fan_keep) * wanted
        cooler = (1.0 - relief * fan) * fan_path[:, step]
        target = shares * resistance * watts * np.vstack([np.ones(num_gpus), cooler, cooler])
        masses = keep * masses + (1.0 - keep) * target
        die = air_path[:, step] + masses.sum(axis=0)
        temperature[:, step], power[:, step] = die, watts
    return temperature, power


def _steps(num_gpus: int, num_steps: int, size: float, random: np.random.Generator) -> FloatArray:
    """Return one step up or down per GPU at a random time, spread over two minutes, shape ``(num_gpus, num_steps)``."""
    moments = np.arange(num_steps)[None, :] * STEP_SECONDS
    start = random.uniform(0.3, 0.8, num_gpus)[:, None] * num_steps * STEP_SECONDS
    height = size * random.uniform(-1.0, 1.0, num_gpus)[:, None]
    path: FloatArray = height * np.clip((moments - start) / 120.0, 0.0, 1.0)
    return path


def _read(
    kind: PlantKind, limit_watts: FloatArray, temperature: FloatArray, power: FloatArray, random: np.random.Generator
) -> PlantRun:
    """Return what a scraper of this kind sees."""
    num_gpus, num_steps = temperature.shape
    duration = num_steps * STEP_SECONDS
    distances = kind.scrape_seconds * (1.0 + kind.jitter_ratio * random.standard_normal(int(duration)))
    times = np.cumsum(np.maximum(distances, STEP_SECONDS))
    ends = np.unique((times[times < duration] / STEP_SECONDS).astype(np.intp))
    energy = np.concatenate([np.zeros((num_gpus, 1)), np.cumsum(power, axis=1)], axis=1)
    before = np.r_[0, ends[:-1]]
    mean = (energy[:, ends] - energy[:, before]) / (ends - before)
    watts = (power[:, ends - 1] if kind.instant_power else mean).copy()
    if kind.power_step_watts > 0.0:
        watts = kind.power_step_watts * np.round(watts / kind.power_step_watts)
    celsius = np.floor(temperature[:, ends - 1])
    sound: NDArray[np.bool_] = np.ones(watts.shape, dtype=np.bool_)
    repeated = random.random(watts.shape) < kind.repeated_ratio
    for index in range(1, ends.size):
        again = repeated[:, index]
        watts[again, index], celsius[again, index] = watts[again, index - 1], celsius[again, index - 1]
    sound &= ~repeated
    if kind.stuck_seconds > 0.0:
        stuck = np.abs(ends * STEP_SECONDS - 0.5 * duration) < 0.5 * kind.stuck_seconds
        watts[:, stuck] = watts[:, [int(np.flatnonzero(stuck)[0])]]
        sound[:, stuck] = False
    missing = random.random(watts.shape) < kind.missing_ratio
    later = np.where(sound, watts, mean)
    return PlantRun(
        seconds=ends * STEP_SECONDS,
        temperature_celsius=np.where(missing, np.nan, celsius),
        power_watts=np.where(missing, np.nan, watts),
        later_power_watts=later,
        power_limit_watts=limit_watts,
    )
