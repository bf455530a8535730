"""Thermal forecasts: degrees and seconds to slowdown for every GPU.

The incremental core needs numpy only, so that the exporter can afford it. Names are imported when they are first used:
the command line lists its commands without loading numpy.
"""

from __future__ import annotations

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
    """Import an exported name from its module (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
