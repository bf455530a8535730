"""The constants of the demand forecaster, each with its unit and its reason.

Callers build one :class:`ForecastSettings` at the edge and hand it to every forecaster. The defaults are the one
configuration that the benchmarks measure; nothing here is fitted to a data set.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSettings:
    """Constants of one demand forecaster.

    Attributes:
        season_seconds: Lengths of the seasons that may repeat, in seconds; a day and a week, because people do.
        scored_horizons: Horizons in steps at which past forecasts are scored; those between are interpolated and
            those beyond take the last. Ascending, starting at 1.
        max_slots_per_season: Bound on the slots that one seasonal shape keeps; a week at half an hour needs 336.
        residual_window: Scored forecasts kept per expert and horizon; bounds memory and sets how fast old weather
            is forgotten.
        refresh_steps: Steps between two computations of the experts' own quantiles; the only expensive part of an
            observation.
        loss_memory_steps: Steps over which an expert's P90 pinball loss is remembered (exponential window).
        weight_sharpness: Exponent on the inverse loss that makes an expert's weight; 0 averages, large picks the best.
        fast_smoothing: Gain of the fast level, 0..1 per step.
        slow_smoothing: Gain of the slow level, 0..1 per step.
        trend_smoothing: Gain of the log growth rate, 0..1 per step.
        trend_damping_steps: Steps after which a growth rate has lost 63 % of its force.
        season_memory: Seasons over which a seasonal shape is averaged.
        volatility_smoothing: Gain of the running absolute change that scales residuals, 0..1 per step.
        growth_floor: Factor over the level that the P99 reaches while too few residuals exist to say better; the
            30-minute growth factor of recorded model-serving load has its 99th percentile at 1.66 to 1.87.
        min_residuals: Scored forecasts below which the growth floor holds.
    """

    season_seconds: tuple[float, ...] = (86400.0, 604800.0)
    scored_horizons: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36, 60)
    max_slots_per_season: int = 336
    residual_window: int = 256
    refresh_steps: int = 16
    loss_memory_steps: float = 200.0
    weight_sharpness: float = 6.0
    fast_smoothing: float = 0.5
    slow_smoothing: float = 0.1
    trend_smoothing: float = 0.3
    trend_damping_steps: float = 6.0
    season_memory: float = 5.0
    volatility_smoothing: float = 0.05
    growth_floor: float = 1.9
    min_residuals: int = 30

    def __post_init__(self) -> None:
        """Refuse combinations that cannot work.

        Raises:
            ValueError: If a constant is outside its range; the message names it.
        """
        if not self.season_seconds or min(self.season_seconds) <= 0.0:
            raise ValueError("ForecastSettings.season_seconds must hold positive lengths in seconds")
        horizons = self.scored_horizons
        if not horizons or horizons[0] != 1 or any(b <= a for a, b in zip(horizons, horizons[1:], strict=False)):
            raise ValueError("ForecastSettings.scored_horizons must ascend from 1")
        for name in ("fast_smoothing", "slow_smoothing", "trend_smoothing", "volatility_smoothing"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"ForecastSettings.{name} must lie in (0, 1]")
        for name in ("max_slots_per_season", "residual_window", "refresh_steps", "min_residuals"):
            if getattr(self, name) < 1:
                raise ValueError(f"ForecastSettings.{name} must be at least 1")
