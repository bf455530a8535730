"""Thermal forecasts: degrees and seconds to slowdown for every GPU.

The incremental core needs numpy only, so that the exporter can afford it; ``io`` and ``cli`` are imported by name.
"""

from forecasting.thermal.fleet import FleetThermalModel
from forecasting.thermal.projection import FleetThermalForecast
from forecasting.thermal.settings import ThermalSettings

__all__ = ["FleetThermalForecast", "FleetThermalModel", "ThermalSettings"]
