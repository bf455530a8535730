"""Gates that implausible samples do not pass. Pure: time comes with the reading.

The fleet state sends every reading through ``FastGate`` before anything else sees it. A value out of range, or one that
moved faster than physics allows, is dropped (None) and counted; never replaced by zero or an old value. A jump that
persists is accepted after three readings that agree with each other: then it was the old value that was wrong, or the
counter was reset by a driver reload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from exporters.messages import FastReading

NUM_CONFIRMATIONS = 3


class Rejection(StrEnum):
    """Why a sample was dropped."""

    RANGE = "range"
    SLOPE = "slope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How fast a quantity may move.

    Attributes:
        step: Free allowance on top of the rates, in the quantity's unit (quantisation, two sensors, late readings).
        rise_per_second: Fastest rise.
        fall_per_second: Fastest fall; 0 for counters.
    """

    step: float
    rise_per_second: float
    fall_per_second: float


# Dies of the H100 class moved 25 degrees in 3 seconds after load removal; 20 + 15 per second leaves a factor of three.
_HEAT = Slope(step=20.0, rise_per_second=15.0, fall_per_second=15.0)

# Zero is what drivers say when they do not know; a die in service is above it, and a powered board draws power.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature_celsius": (1.0, 125.0),
    "memory_temperature_celsius": (1.0, 125.0),
    "margin_celsius": (-60.0, 125.0),
    "power_watts": (1.0, 3000.0),
    "power_average_watts": (1.0, 3000.0),
    "power_instant_watts": (1.0, 5000.0),
    "energy_joules": (0.0, 1e13),
    "utilization_ratio": (0.0, 1.0),
    "memory_utilization_ratio": (0.0, 1.0),
    "encoder_utilization_ratio": (0.0, 1.0),
    "decoder_utilization_ratio": (0.0, 1.0),
    "memory_used_bytes": (0.0, 4e12),
    "memory_total_bytes": (1e6, 4e12),
    "memory_reserved_bytes": (0.0, 4e12),
    "performance_state": (0, 15),
    "pcie_replays": (0.0, 1e12),
    "throttle_bits": (0, 2**32),
}
_SLOPES: dict[str, Slope] = {
    "temperature_celsius": _HEAT,
    "memory_temperature_celsius": _HEAT,
    "margin_celsius": _HEAT,
    "energy_joules": Slope(step=10_000.0, rise_per_second=5_000.0, fall_per_second=0.0),
}
_MAPS: dict[str, tuple[tuple[float, float], Slope | None]] = {
    "engine_ratios": ((0.0, 1.0), None),
    "clocks_hertz": ((1e6, 1e10), None),
    "throttled_seconds": ((0.0, 1e10), Slope(step=5.0, rise_per_second=1.5, fall_per_second=0.0)),
    "nvlink_bytes": ((0.0, 1e20), Slope(step=1e12, rise_per_second=5e12, fall_per_second=0.0)),
    "pcie_bytes": ((0.0, 1e20), Slope(step=1e11, rise_per_second=1e12, fall_per_second=0.0)),
}


class SlopeGate:
    """Remembers the last accepted value of one quantity."""

    def __init__(self, slope: Slope) -> None:
        """Accept whatever comes first."""
        self._slope = slope
        self._accepted: tuple[float, float] | None = None
        self._candidate: tuple[float, float] | None = None
        self._num_agreeing = 0

    def _follows(self, before: tuple[float, float], now_seconds: float, value: float) -> bool:
        elapsed = max(now_seconds - before[0], 0.0)
        change = value - before[1]
        if change >= 0.0:
            return change <= self._slope.step + self._slope.rise_per_second * elapsed
        if self._slope.fall_per_second == 0.0:
            return False
        return -change <= self._slope.step + self._slope.fall_per_second * elapsed

    def accepts(self, now_seconds: float, value: float) -> bool:
        """Whether ``value`` at ``now_seconds`` can be true, and remember it."""
        if self._accepted is None or self._follows(self._accepted, now_seconds, value):
            self._accept(now_seconds, value)
            return True
        if self._candidate is not None and self._follows(self._candidate, now_seconds, value):
            self._num_agreeing += 1
        else:
            self._num_agreeing = 1
        self._candidate = (now_seconds, value)
        if self._num_agreeing < NUM_CONFIRMATIONS:
            return False
        self._accept(now_seconds, value)
        return True

    def _accept(self, now_seconds: float, value: float) -> None:
        self._accepted = (now_seconds, value)
        self._candidate = None
        self._num_agreeing = 0


def _in_range(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


class FastGate:
    """The gates of one GPU.

    Attributes:
        num_rejected: Dropped samples by reading and why; bounded by the number of readings.
    """

    def __init__(self) -> None:
        """Begin without a past."""
        self.num_rejected: dict[tuple[str, Rejection], int] = {}
        self._slopes: dict[tuple[str, str], SlopeGate] = {}

    def admit(self, reading: FastReading) -> FastReading:
        """Return ``reading`` without its implausible values."""
        now = reading.taken_at_monotonic
        changes: dict[str, object] = {}
        for name, bounds in _RANGES.items():
            value = getattr(reading, name)
            if value is not None and not self._admits(name, "", value, now, bounds, _SLOPES.get(name)):
                changes[name] = None
        for name, (bounds, slope) in _MAPS.items():
            values: Mapping[str, float] = getattr(reading, name)
            kept = {key: value for key, value in values.items() if self._admits(name, key, value, now, bounds, slope)}
            if len(kept) != len(values):
                changes[name] = kept
        if "memory_used_bytes" not in changes and _exceeds(reading.memory_used_bytes, reading.memory_total_bytes):
            changes["memory_used_bytes"] = None
            self._count("memory_used_bytes", Rejection.RANGE)
        return msgspec.structs.replace(reading, **changes) if changes else reading

    def _admits(
        self, name: str, key: str, value: float, now: float, bounds: tuple[float, float], slope: Slope | None
    ) -> bool:
        if not _in_range(value, bounds):
            self._count(name, Rejection.RANGE)
            return False
        if slope is None:
            return True
        gate = self._slopes.get((name, key))
        if gate is None:
            gate = self._slopes[name, key] = SlopeGate(slope)
        if gate.accepts(now, value):
            return True
        self._count(name, Rejection.SLOPE)
        return False

    def _count(self, name: str, why: Rejection) -> None:
        self.num_rejected[name, why] = self.num_rejected.get((name, why), 0) + 1


def _exceeds(part: float | None, whole: float | None) -> bool:
    return part is not None and whole is not None and part > whole * 1.01
