"""Where readings come from: the port that NVML, the simulation and the replay implement.

Used by ``exporters.collector`` in the collector process. A source is opened once; then each GPU is read by a thread of
its own, so that a call that hangs holds up its own GPU only.
"""

from __future__ import annotations

from typing import Protocol

from exporters.calls import CallTracker
from exporters.errors import SettingsError
from exporters.messages import DeviceIdentity, FastReading, SlowReading, XidEvent

DEFAULT_SIMULATED_GPUS = 8
MAX_SIMULATED_GPUS = 64


class DeviceReader(Protocol):
    """Reads one GPU; used by one thread only."""

    def read_fast(self) -> FastReading:
        """Return what changes within seconds.

        Raises:
            DeviceLostError: If the GPU is gone.
            DriverGoneError: If the driver is gone.
        """
        ...

    def read_slow(self) -> SlowReading:
        """Return what changes rarely; raises like ``read_fast``."""
        ...


class Source(Protocol):
    """A set of GPUs."""

    def open(self, tracker: CallTracker) -> tuple[DeviceIdentity, ...]:
        """Open the source and return its GPUs; calls go through ``tracker``.

        Raises:
            SourceError: If the source cannot be used.
        """
        ...

    @property
    def driver_version(self) -> str:
        """Version of the driver; valid after ``open``."""
        ...

    def reader(self, device: DeviceIdentity, tracker: CallTracker) -> DeviceReader:
        """Return the reader of ``device``, whose calls go through ``tracker``."""
        ...

    def wait_for_events(self, timeout_seconds: float) -> list[XidEvent]:
        """Return the events of the next ``timeout_seconds`` at most; blocks."""
        ...

    def topology(self) -> str:
        """Return a text that changes when GPUs are added or removed."""
        ...


def make_source(spec: str, nvml_library: str | None) -> Source:
    """Make the source that ``--source`` names.

    Args:
        spec: ``nvml``, ``simulated``, ``simulated:N`` or ``replay:FILE``.
        nvml_library: A library to use instead of the system's; None takes the system's.

    Returns:
        The source, not opened yet.

    Raises:
        SettingsError: If ``spec`` names none of them.
    """
    kind, _, argument = spec.partition(":")
    if kind == "nvml" and not argument:
        from exporters.nvml.source import NvmlSource  # pynvml costs 18 MiB; only this source needs it

        return NvmlSource(nvml_library)
    if kind == "simulated":
        from exporters.simulated import SimulatedSource  # only this source needs it

        return SimulatedSource(_num_simulated(argument))
    if kind == "replay" and argument:
        from exporters.replay import ReplaySource  # only this source needs it

        return ReplaySource(argument)
    raise SettingsError(f"--source {spec}: use nvml, simulated, simulated:N or replay:FILE")


def _num_simulated(argument: str) -> int:
    if not argument:
        return DEFAULT_SIMULATED_GPUS
    if argument.isdecimal() and 1 <= int(argument) <= MAX_SIMULATED_GPUS:
        return int(argument)
    raise SettingsError(f"--source simulated:{argument}: the number of GPUs must be 1 to {MAX_SIMULATED_GPUS}")
