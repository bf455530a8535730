"""The constants of the demand forecaster, each with its unit and its reason.

Callers build one :class:`ForecastSettings` at the edge and hand it to every forecaster. The defaults are the one
configuration that the benchmarks measure; nothing here is fitted to a data set.
"""

from __future__ import annotations

from dataclasses import dataclass

from forecasting.capacity import CohortKernel

_GAINS = ("fast_gain", "middle_gain", "slow_gain", "base_gain", "growth_gain", "volatility_gain", "calibration_gain")
_COUNTS = (
    "max_slots_per_season",
    "num_bins",
    "refresh_steps",
    "calibration_stride",
    "min_residuals",
    "min_surge_residuals",
    "quiet_days",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSettings:
    """Constants of one demand forecaster. Gains lie in (0, 1] per step; memories are in steps.

    Attributes:
        season_seconds: Lengths of the seasons that may repeat, in seconds; a day and a week, because people do.
        scored_horizons: Horizons in steps at which past forecasts are scored; those between are interpolated and
            those beyond take the last. Ascending, starting at 1.
        max_slots_per_season: Bound on the slots that one seasonal shape keeps; a week at half an hour needs 336.
        season_memory: Seasons over which a seasonal shape is averaged.
        fast_gain: Gain of the fast level; half of what is new is believed.
        middle_gain: Gain of the middle level, about five steps.
        slow_gain: Gain of the slow level, about ten steps.
        base_gain: Gain of the base, about three hundred steps: the usual size of the series.
        growth_gain: Gain of the log growth rate.
        growth_damping_steps: Steps after which a growth rate has lost 63 % of its force.
        volatility_gain: Gain of the running absolute change.
        record_memory: Steps after which a record has lost 63 % of its height.
        stack_memory: Steps after which an observation counts 1/e in the regressions.
        stack_prior_steps: Observations that "tomorrow is like now" is worth in the regressions.
        outlier_factor: Errors beyond this many mean absolute errors are clipped in the regressions.
        num_bins: Bins of a residual histogram; with 96 a bin is a sixth of the residual wide in the tail.
        residual_memory: Steps after which a residual counts 1/e; long, because the P99 needs hundreds.
        loss_memory: Steps over which an expert's pinball loss is remembered.
        weight_sharpness: Exponent on the inverse loss that makes an expert's weight; 0 averages, large picks the best.
        refresh_steps: Observations between two readings of the experts' own quantiles for the scoring.
        calibration_gain: Step of the online conformal level correction per scored forecast.
        calibration_stride: Steps between two forecasts that the calibration scores; spares nine tenths of the work.
        growth_floor: Factor over the level that the P99 reaches while too few residuals exist to say better; the
            30-minute growth factor of recorded model-serving load has its 99th percentile at 1.66 to 1.87.
        growth_cap: Factor over the present level, grown at the present rate, that the highest quantile does not
            exceed unless the record does; the P99 and those below stop at ``growth_floor``. The largest 30-minute
            growth factor of recorded model-serving load is 3.3.
        growth_limit: Factor that the growth of a surge is extrapolated to at most within an hour; the steepest recorded
            wave multiplied sign-ups by 13 within two readings.
        min_residuals: Scored forecasts below which the growth floor holds in calm.
        min_surge_residuals: Forecasts scored in surges until which the surge's own growth is a floor in a surge, one
            that makes way in proportion to those scored.
        quiet_days: Days without a surge in which the trigger may raise one false alarm.
        kernel: Requests per sign-up by age, for the cohort expert.
    """

    season_seconds: tuple[float, ...] = (86400.0, 604800.0)
    scored_horizons: tuple[int, ...] = (1, 2, 3, 6, 12, 24, 60)
    max_slots_per_season: int = 336
    season_memory: float = 5.0
    fast_gain: float = 0.5
    middle_gain: float = 0.2
    slow_gain: float = 0.1
    base_gain: float = 0.003
    growth_gain: float = 0.3
    growth_damping_steps: float = 6.0
    volatility_gain: float = 0.05
    record_memory: float = 4000.0
    stack_memory: float = 2000.0
    stack_prior_steps: float = 10.0
    outlier_factor: float = 3.0
    num_bins: int = 96
    residual_memory: float = 8000.0
    loss_memory: float = 200.0
    weight_sharpness: float = 15.0
    refresh_steps: int = 16
    calibration_gain: float = 0.01
    calibration_stride: int = 4
    growth_floor: float = 1.9
    growth_cap: float = 3.3
    growth_limit: float = 10.0
    min_residuals: int = 30
    min_surge_residuals: int = 120
    quiet_days: int = 30
    kernel: CohortKernel = CohortKernel()

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work.

        Raises:
            ValueError: If a constant is outside its range; the message names it.
        """
        if not 1 <= len(self.season_seconds) <= 2 or min(self.season_seconds) <= 0.0:
            raise ValueError("ForecastSettings.season_seconds must hold one or two positive lengths in seconds")
        if list(self.season_seconds) != sorted(self.season_seconds):
            raise ValueError("ForecastSettings.season_seconds must ascend")
        horizons = self.scored_horizons
        if not horizons or horizons[0] != 1 or any(b <= a for a, b in zip(horizons, horizons[1:], strict=False)):
            raise ValueError("ForecastSettings.scored_horizons must ascend from 1")
        for name in _GAINS:
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"ForecastSettings.{name} must lie in (0, 1]")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"ForecastSettings.{name} must be at least 1")
        for name in ("growth_damping_steps", "record_memory", "stack_memory", "residual_memory", "loss_memory"):
            if not getattr(self, name) >= 1.0:
                raise ValueError(f"ForecastSettings.{name} must be at least one step")
