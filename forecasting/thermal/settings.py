"""Every constant of the thermal model, with its unit and where it comes from.

All other modules of this package read their constants here; nothing in it computes.

"Recorded sets" below are public logs of eight GPU types (laptop to 700 W data-centre parts). The constants were
informed by them and by simulations, so errors on those sets are not errors on unseen data.
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
        saturation: Concavity ``c`` of the map from power to heat carried, ``(1 + c) u - c u^2``; 0 is linear. Fans and
            warm surfaces carry more per degree at high load; recorded slopes fall by about a third from idle to full.
        prior_relative_deviation: Standard deviation of a gain relative to its prior mean.
        prior_common_deviation: Standard deviation added to each gain, as a share of the total prior rise.
        smallest_gain_deviation_celsius: Floor of that standard deviation, kelvin; keeps the prior proper.
        smallest_rise_celsius: A total rise below this counts as this, where it divides.
        unseen_ambient_celsius: Ambient of a GPU that was never read.
        ambient_deviation_celsius: Standard deviation of the ambient around the first sample's estimate, kelvin.
        evidence_seconds: Errors closer together than this are correlated: a sample that covers ``t`` seconds counts
            as ``t / evidence_seconds`` independent ones.
        evidence_deviation_celsius: Standard deviation of one independent error, kelvin.
        memory_seconds: Evidence fades with this time constant while the load is varied enough to replace it.
        refit_seconds: Gains are solved for again at most this often per GPU; staggered over the fleet.
        excitation_ratio: Evidence counts in full when power varied by this share of the limit (standard deviation).
        excitation_seconds: Time constant of the window over which that variation is measured.
        start_offset_deviation_celsius: Standard deviation of the offset of a new GPU, kelvin.
        offset_drift_celsius: Random walk of the offset, kelvin per square root of a second.
        reading_deviation_celsius: Standard deviation of a reading about the model: whole-degree steps and phases
            shorter than a sample.
        outlier_deviations: Innovations beyond this many standard deviations are clipped.
        offset_decay_seconds: In a forecast the offset's deviation decays with this time constant.
        noise_seconds: Time constant over which the size of the innovations is averaged for the intervals.
        smallest_noise_celsius: Floor of that size, kelvin.
        structural_ratio: Error of the model's form, as a share of the forecast change in rise.
        calibration_horizons_seconds: Horizons at which intervals are calibrated; others are interpolated.
        calibration_spacing_seconds: Distance between the snapshots that are scored later.
        calibration_rate: Step of the log factor per missed interval.
        shared_rate: Step of the part that all horizons share, relative to ``calibration_rate``.
        miss_rate: Share of intervals that may miss: 0.1 for central 90 % intervals.
        start_interval_factor: Widening of the model's own standard deviation before any forecast was scored.
        smallest_factor: Floor of each part of the factor.
        largest_factor: Ceiling of each part of the factor.
        stale_drift_celsius: Extra random walk of the offset while nothing is read, kelvin per square root of a second.
        gap_reset_seconds: A longer gap means that the heat state is unknown: filters restart in steady state.
        restart_offset_deviation_celsius: Standard deviation of the offset after such a restart, kelvin.
        minimum_temperature_celsius: Readings below are impossible and dropped.
        maximum_temperature_celsius: Readings above are impossible and dropped.
        maximum_power_ratio: Power above this multiple of the limit is impossible and dropped.
        largest_power_watts: Power above is impossible where the limit is unknown.
        sensor_alert_samples: Impossible readings in a row that mean a broken sensor.
        frozen_power_watts: Powers closer than this are identical.
        frozen_samples: Identical powers in a row that are still believed.
        frozen_seconds: Seconds of identical power that are still believed.
        frozen_whole_watt_samples: The same for sensors that report whole watts.
        frozen_whole_watt_seconds: The same for sensors that report whole watts.
        busy_utilization_ratio: Utilisation above this is busy.
        busy_power_ratio: Without utilisation, power above this share of the limit is busy.
        fitted_seconds: Seconds of varied load after which the gains count as fitted.
        unknown_power_limit_watts: Stands in for a power limit that nobody knows.
        guard_celsius: Degrees to keep below the limit; temperature alone can be 2 K optimistic about the margin.
        unfitted_guard_celsius: The same for a GPU whose gains were never learned (plateau error 6.9 K from idle alone).
    """

    time_constants_seconds: tuple[float, ...] = (2.0, 5.0, 12.0, 30.0, 75.0, 180.0, 450.0, 1100.0)
    prior_rise_celsius: float = 40.0
    prior_shares: tuple[float, ...] = (0.45, 0.0, 0.2, 0.2, 0.1, 0.05, 0.0, 0.0)
    prior_relative_deviation: float = 0.35
    saturation: float = 0.17
    prior_common_deviation: float = 0.05
    smallest_gain_deviation_celsius: float = 1e-3
    smallest_rise_celsius: float = 1.0
    unseen_ambient_celsius: float = 25.0
    ambient_deviation_celsius: float = 4.0
    evidence_seconds: float = 30.0
    evidence_deviation_celsius: float = 1.0
    memory_seconds: float = 3600.0
    refit_seconds: float = 15.0
    excitation_ratio: float = 0.05
    excitation_seconds: float = 300.0
    start_offset_deviation_celsius: float = 2.0
    offset_drift_celsius: float = 0.1
    reading_deviation_celsius: float = 0.7
    outlier_deviations: float = 4.0
    offset_decay_seconds: float = 900.0
    noise_seconds: float = 300.0
    smallest_noise_celsius: float = 0.5
    structural_ratio: float = 0.06
    calibration_horizons_seconds: tuple[float, ...] = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
    calibration_spacing_seconds: float = 20.0
    calibration_rate: float = 0.1
    shared_rate: float = 0.5
    miss_rate: float = 0.1
    start_interval_factor: float = 1.4
    smallest_factor: float = 0.2
    largest_factor: float = 8.0
    stale_drift_celsius: float = 0.2
    gap_reset_seconds: float = 900.0
    restart_offset_deviation_celsius: float = 5.0
    minimum_temperature_celsius: float = 0.0
    maximum_temperature_celsius: float = 120.0
    maximum_power_ratio: float = 1.3
    largest_power_watts: float = 3000.0
    sensor_alert_samples: int = 5
    frozen_power_watts: float = 0.01
    frozen_samples: int = 3
    frozen_seconds: float = 10.0
    frozen_whole_watt_samples: int = 30
    frozen_whole_watt_seconds: float = 600.0
    busy_utilization_ratio: float = 0.05
    busy_power_ratio: float = 0.3
    fitted_seconds: float = 60.0
    unknown_power_limit_watts: float = 300.0
    guard_celsius: float = 3.0
    unfitted_guard_celsius: float = 7.0

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
        if not 0.0 <= self.saturation < 1.0:
            raise ValueError("ThermalSettings.saturation must be in [0, 1): beyond, more power would cool")
        horizons = self.calibration_horizons_seconds
        if not horizons or horizons[0] <= 0.0 or any(b <= a for a, b in pairwise(horizons)):
            raise ValueError("ThermalSettings.calibration_horizons_seconds must be positive and ascending")
