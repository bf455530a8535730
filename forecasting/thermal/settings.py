"""Every constant of the thermal model, with its unit and where it comes from.

All other modules of this package read their constants here; nothing in it computes.

"Recorded sets" below are public logs of eight GPU types (laptop to 700 W data-centre parts); no constant was chosen
on one file alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalSettings:
    """Constants of the thermal model.

    Attributes:
        time_constants_seconds: Time constants of the filter bank, ascending, seconds. From the die and its spreader
            (2 s) to the room (1100 s), a little more than a factor of two apart, so that any physical step response
            is a non-negative mixture of them (Foster network).
        prior_rise_celsius: Plateau rise at the power limit that the class prior assumes, kelvin. Recorded sets of
            eight GPU types: 24..45 K at the limit.
        prior_shares: How the class prior splits that rise over the time constants; sums to 1.
        prior_relative_deviation: Standard deviation of a gain relative to its prior mean.
        prior_common_deviation: Standard deviation added to each gain, as a share of the total prior rise.
        ambient_deviation_celsius: Standard deviation of the ambient around the first sample's estimate, kelvin.
        evidence_seconds: Errors closer together than this are correlated: a sample that covers ``t`` seconds counts
            as ``t / evidence_seconds`` independent ones.
        evidence_deviation_celsius: Standard deviation of one independent error, kelvin.
        memory_seconds: Evidence fades with this time constant while the load is varied enough to replace it.
        refit_seconds: Gains are solved for again at most this often per GPU; staggered over the fleet.
        excitation_ratio: Evidence counts in full when power varied by this share of the limit (standard deviation).
        excitation_seconds: Time constant of the window over which that variation is measured.
        offset_drift_celsius: Random walk of the offset, kelvin per square root of a second.
        reading_deviation_celsius: Standard deviation of a reading about the model: whole-degree steps and phases
            shorter than a sample.
        outlier_deviations: Innovations beyond this many standard deviations are clipped.
        offset_decay_seconds: In a forecast the offset's deviation decays with this time constant.
        start_interval_factor: Widening of the model's own standard deviation before any forecast was scored.
        gap_reset_seconds: A longer gap means that the heat state is unknown: filters restart in steady state.
        restart_offset_deviation_celsius: Standard deviation of the offset after such a restart, kelvin.
        minimum_temperature_celsius: Readings below are impossible and dropped.
        maximum_temperature_celsius: Readings above are impossible and dropped.
        maximum_power_ratio: Power above this multiple of the limit is impossible and dropped.
        unknown_power_limit_watts: Stands in for a power limit that nobody knows.
        guard_celsius: Degrees to keep below the limit; temperature alone can be 2 K optimistic about the margin.
    """

    time_constants_seconds: tuple[float, ...] = (2.0, 5.0, 12.0, 30.0, 75.0, 180.0, 450.0, 1100.0)
    prior_rise_celsius: float = 40.0
    prior_shares: tuple[float, ...] = (0.45, 0.0, 0.2, 0.2, 0.1, 0.05, 0.0, 0.0)
    prior_relative_deviation: float = 0.35
    prior_common_deviation: float = 0.025
    ambient_deviation_celsius: float = 4.0
    evidence_seconds: float = 30.0
    evidence_deviation_celsius: float = 1.0
    memory_seconds: float = 3600.0
    refit_seconds: float = 15.0
    excitation_ratio: float = 0.05
    excitation_seconds: float = 300.0
    offset_drift_celsius: float = 0.05
    reading_deviation_celsius: float = 0.7
    outlier_deviations: float = 4.0
    offset_decay_seconds: float = 900.0
    start_interval_factor: float = 2.0
    gap_reset_seconds: float = 900.0
    restart_offset_deviation_celsius: float = 5.0
    minimum_temperature_celsius: float = 0.0
    maximum_temperature_celsius: float = 120.0
    maximum_power_ratio: float = 1.3
    unknown_power_limit_watts: float = 300.0
    guard_celsius: float = 3.0

    def __post_init__(self) -> None:
        """Refuse combinations that have no meaning.

        Raises:
            ValueError: If the time constants are not positive and ascending, or the shares do not match them.
        """
        constants = self.time_constants_seconds
        if not constants or constants[0] <= 0.0 or any(b <= a for a, b in pairwise(constants)):
            raise ValueError("ThermalSettings.time_constants_seconds must be positive and ascending")
        if len(self.prior_shares) != len(constants) or min(self.prior_shares) < 0.0:
            raise ValueError("ThermalSettings.prior_shares needs one non-negative share per time constant")
