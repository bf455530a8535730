"""Thermal forecasts: degrees and seconds to slowdown for every GPU.

The incremental core needs numpy only, so that the exporter can afford it; ``io`` and ``cli`` are imported by name.
The names below are imported when they are first used, so that the command line can read ``cli`` without numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forecasting.thermal.fleet import FleetThermalModel
    from forecasting.thermal.projection import FleetThermalForecast
    from forecasting.thermal.settings import ThermalSettings

__all__ = ["FleetThermalForecast", "FleetThermalModel", "ThermalSettings"]

_HOMES = {
    "FleetThermalForecast": "forecasting.thermal.projection",
    "FleetThermalModel": "forecasting.thermal.fleet",
    "ThermalSettings": "forecasting.thermal.settings",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use.

    Raises:
        AttributeError: If the package has no such name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
