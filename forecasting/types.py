"""The vocabulary of forecasts: what goes in, what comes out, in base units.

The controller, the simulator, the exporter and the CLI receive these values; nobody else defines them. This module
holds data only: it does no I/O, reads no clock and fits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

DEFAULT_QUANTILES: tuple[float, ...] = (0.05, 0.1, 0.5, 0.9, 0.95, 0.99)
"""Levels that a demand forecast carries when nobody asks for others."""


class SurgePhase(StrEnum):
    """Where a series stands in a surge."""

    CALM = "calm"
    ONSET = "onset"
    SURGE = "surge"
    DECAY = "decay"


class DemandTarget(StrEnum):
    """What a demand forecast counts."""

    REQUESTS = "requests"
    SIGNUPS = "signups"


class ThermalConfidence(StrEnum):
    """Where the gains of a thermal model come from."""

    FITTED = "fitted"
    FLEET_PRIOR = "fleet_prior"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesKey:
    """Names one demand series; None means that the input did not split by it."""

    region: str | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandSeries:
    """Counts per step on a regular grid.

    Attributes:
        key: The region and tier that the counts belong to.
        start: Start of the first interval, aware UTC.
        step_seconds: Length of each interval, > 0.
        values: Counts, shape ``(num_points,)``, >= 0; NaN is missing and never means zero.
    """

    key: SeriesKey
    start: datetime
    step_seconds: float
    values: FloatArray

    def __post_init__(self) -> None:
        """Refuse values that no series can have.

        Raises:
            ValueError: If ``start`` is naive, the step is not positive or ``values`` is not one-dimensional.
        """
        if self.start.tzinfo is None:
            raise ValueError("DemandSeries.start must carry a time zone")
        if not self.step_seconds > 0.0:
            raise ValueError(f"DemandSeries.step_seconds must be positive, not {self.step_seconds}")
        if self.values.ndim != 1:
            raise ValueError(f"DemandSeries.values must have one dimension, not {self.values.ndim}")

    @property
    def num_points(self) -> int:
        """Number of intervals, missing ones included."""
        return int(self.values.shape[0])

    def start_of(self, index: int) -> datetime:
        """Return the start of interval ``index`` (0 is the first; the end of the data is ``num_points``)."""
        return self.start + timedelta(seconds=self.step_seconds * index)

    @property
    def end(self) -> datetime:
        """The end of the last interval, which is the earliest time at which all of it was known."""
        return self.start_of(self.num_points)

    def until(self, as_of: datetime) -> DemandSeries:
        """Return the part that was complete at ``as_of``: intervals that ended at or before it."""
        elapsed_seconds = (as_of - self.start).total_seconds()
        # A microsecond of slack keeps an interval that ends exactly at as_of in spite of float division.
        known = int(np.floor((elapsed_seconds + 1e-6) / self.step_seconds))
        known = min(max(known, 0), self.num_points)
        return DemandSeries(
            key=self.key, start=self.start, step_seconds=self.step_seconds, values=self.values[:known].copy()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgeState:
    """What the surge trigger says.

    Attributes:
        phase: Calm, onset, surge or decay.
        probability: Belief that a surge is under way, 0..1.
        since: When the phase began; None while calm from the start.
        growth_per_hour: Log growth rate of the leading signal, per hour (0.69 doubles in an hour).
        doubling_seconds: Time to double at that rate; None when not growing.
    """

    phase: SurgePhase = SurgePhase.CALM
    probability: float = 0.0
    since: datetime | None = None
    growth_per_hour: float = 0.0
    doubling_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Which model made a forecast.

    Attributes:
        name: Name of the model or mixture.
        fitted_seconds: Length of the history that the fit used, in seconds of data (not of computing).
        num_points: Number of observed points in that history.
    """

    name: str
    fitted_seconds: float
    num_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How often past forecasts covered what came.

    Attributes:
        nominal: Coverage that the intervals promise, 0..1.
        observed: Share of scored forecasts inside; None before the first was scored.
        num_scored: Number of scored forecasts.
    """

    nominal: float = 0.9
    observed: float | None = None
    num_scored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandForecast:
    """Quantiles of the counts of the next intervals of one series.

    Attributes:
        key: The series.
        target: What is counted.
        issued_at: The forecast saw nothing later than this, aware UTC.
        step_seconds: Length of each predicted interval.
        levels: Quantile levels, ascending, each in (0, 1).
        mean: Expected counts, shape ``(num_steps,)``, >= 0.
        quantiles: Counts, shape ``(num_levels, num_steps)``, >= 0, non-decreasing along the levels.
        surge: The surge trigger's verdict at ``issued_at``.
        model: Which model this came from.
        calibration: How well it has covered so far.
        gpus_needed: GPUs, shape ``(num_levels, num_steps)``; None without a capacity file.
        reasons: Why the forecast looks as it does, in words.
        warnings: What the reader should distrust, in words.
    """

    key: SeriesKey
    target: DemandTarget
    issued_at: datetime
    step_seconds: float
    levels: tuple[float, ...]
    mean: FloatArray
    quantiles: FloatArray
    surge: SurgeState
    model: ModelInfo
    calibration: Calibration
    gpus_needed: FloatArray | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def num_steps(self) -> int:
        """Number of predicted intervals."""
        return int(self.mean.shape[0])

    def start_of(self, index: int) -> datetime:
        """Return the start of predicted interval ``index``; the first begins at ``issued_at``."""
        return self.issued_at + timedelta(seconds=self.step_seconds * index)

    def at_level(self, level: float) -> FloatArray:
        """Return the counts at ``level``, interpolated between the levels at hand, shape ``(num_steps,)``.

        Levels outside the range take the outermost quantile: the tail is not extrapolated.
        """
        levels = np.asarray(self.levels)
        position = float(np.interp(level, levels, np.arange(levels.size)))
        lower = int(np.floor(position))
        upper = min(lower + 1, levels.size - 1)
        weight = position - lower
        blended: FloatArray = (1.0 - weight) * self.quantiles[lower] + weight * self.quantiles[upper]
        return blended


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalModelInfo:
    """The fitted thermal parameters of one GPU.

    Attributes:
        thermal_resistance_celsius_per_watt: Plateau rise per watt (sum of the gains).
        time_constant_seconds: Time constants of the bank, ascending.
        ambient_celsius: Estimated temperature at zero power.
        confidence: Where the gains come from.
    """

    thermal_resistance_celsius_per_watt: float
    time_constant_seconds: tuple[float, ...]
    ambient_celsius: float
    confidence: ThermalConfidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThermalForecast:
    """Temperature quantiles of one GPU under a stated power path.

    Attributes:
        gpu: GPU index or UUID, as the input names it.
        issued_at: No temperature later than this was read, aware UTC.
        horizons_seconds: Ascending, > 0, shape ``(num_horizons,)``.
        levels: Quantile levels, ascending, each in (0, 1).
        temperature_celsius: Shape ``(num_levels, num_horizons)``, non-decreasing along the levels.
        limit_celsius: The slowdown limit that was used; None when unknown.
        seconds_to_slowdown: Per level the time until that temperature quantile reaches the limit, in seconds; None
            means not within the horizon. The upper quantile crosses first, so level 0.05 of the *time* is level 0.95
            of the temperature.
        model: The parameters behind it.
        warnings: What the reader should distrust, in words.
    """

    gpu: str
    issued_at: datetime
    horizons_seconds: FloatArray
    levels: tuple[float, ...]
    temperature_celsius: FloatArray
    limit_celsius: float | None
    seconds_to_slowdown: dict[float, float | None]
    model: ThermalModelInfo
    warnings: tuple[str, ...] = ()


def utc_from_timestamp(seconds: float) -> datetime:
    """Return the aware UTC time ``seconds`` after the Unix epoch."""
    return datetime.fromtimestamp(seconds, tz=UTC)
