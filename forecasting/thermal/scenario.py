"""Power scenarios: what the fleet may draw, as paths that the thermal model forecasts under.

Load changes dominate heat, so a forecast is made for several of them and each keeps its name: the expected demand and
its P90, constant power, or full power. Called by planners and by reports; pure. Powers beyond the limit are capped by
the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecasting.errors import InputError
from forecasting.thermal.fleet import FleetThermalModel
from forecasting.thermal.projection import FleetThermalForecast
from forecasting.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerScenario:
    """One path of the future.

    Attributes:
        name: Such as ``mean``, ``p90`` or ``full``.
        power_watts: Mean power of the interval that ends at each horizon, shape ``(num_gpus, num_horizons)``.
    """

    name: str
    power_watts: FloatArray


def demand_scenarios(
    *, busy_ratio: dict[str, FloatArray], idle_watts: FloatArray, busy_watts: FloatArray
) -> tuple[PowerScenario, ...]:
    """Map forecast load to watts, one scenario per quantile of the demand.

    A GPU that is busy for a share of the time draws that share of the way from idle to busy power. Both powers are
    measured, never taken from token rates: decoding alone may draw far less than the limit.

    Args:
        busy_ratio: By name (``mean``, ``p90``), share of the pool's capacity in use, shape ``(num_horizons,)``; what
            exceeds 1 waits and heats nothing.
        idle_watts: Shape ``(num_gpus,)``.
        busy_watts: Shape ``(num_gpus,)``.

    Returns:
        Scenarios in the order of ``busy_ratio``.

    Raises:
        InputError: If a ratio is negative or not finite.
    """
    scenarios = []
    for name, ratio in busy_ratio.items():
        if not np.all(np.isfinite(ratio)) or np.any(ratio < 0.0):
            raise InputError(f"busy_ratio {name!r}: must be finite and not negative; leave out what is unknown")
        share = np.minimum(ratio, 1.0)[None, :]
        watts = idle_watts[:, None] + share * (busy_watts - idle_watts)[:, None]
        scenarios.append(PowerScenario(name=name, power_watts=watts))
    return tuple(scenarios)


def full_power_scenario(model: FleetThermalModel, *, num_horizons: int) -> PowerScenario:
    """Return every GPU at its power limit: the headroom that can never be exceeded.

    Args:
        model: The GPUs.
        num_horizons: Number of horizons.

    Returns:
        The scenario ``full``.
    """
    return PowerScenario(name="full", power_watts=np.repeat(model.power_limit_watts[:, None], num_horizons, axis=1))


def forecast_scenarios(
    model: FleetThermalModel,
    *,
    horizons_seconds: FloatArray,
    scenarios: tuple[PowerScenario, ...],
    levels: tuple[float, ...] = (0.05, 0.5, 0.95),
) -> dict[str, FleetThermalForecast]:
    """Forecast every scenario from the same present.

    Args:
        model: The GPUs.
        horizons_seconds: Ascending, > 0, shape ``(num_horizons,)``.
        scenarios: With different names.
        levels: Quantile levels.

    Returns:
        Forecasts by name.

    Raises:
        InputError: If two scenarios have one name, or a shape does not fit.
    """
    if len({scenario.name for scenario in scenarios}) != len(scenarios):
        raise InputError("scenarios: two have the same name; their forecasts could not be told apart")
    return {
        scenario.name: model.forecast(
            horizons_seconds=horizons_seconds, power_watts=scenario.power_watts, levels=levels
        )
        for scenario in scenarios
    }
