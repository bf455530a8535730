"""What the serving process knows of one GPU: its last readings, its past, and whether it answers. Pure state.

``exporters.fleet`` feeds it; ``exporters.samples``, ``exporters.dcgm`` and ``exporters.api`` read it. Times are on the
monotonic clock and come from outside.
"""

from __future__ import annotations

import statistics
from collections import deque

from exporters.margin import absolute_limits_celsius, thermal_margin_celsius
from exporters.messages import CallInFlight, DeviceIdentity, FastReading, SlowReading, XidEvent
from exporters.plausibility import FastGate
from exporters.window import Window, WindowSample
from exporters.xids import ALWAYS_PUBLISHED, MAX_XIDS_PER_GPU

UP = "ok"
NEVER_READ = "starting"
STALE = "stale"
STUCK = "stuck"
MISSING = "missing"
IMPLAUSIBLE = "implausible"
UNIDENTIFIED = "unidentified"

THROTTLE_BITS: dict[str, int] = {
    "applications_clocks": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
    "display_clock": 0x100,
}
MAX_INTEGRATION_SECONDS = 5.0
"""Time between two readings that may count as throttled; a longer gap is unknown time."""
NUM_LIMIT_SAMPLES = 31


class GpuState:
    """One GPU.

    Attributes:
        identity: What it is.
        fast: Last plausible reading; None before the first.
        slow: Last slow reading; None before the first.
        reason: ``ok`` while it answers, else why not.
        stuck_call: The call that hangs, while one does.
        gate: Its plausibility gates.
        window: Its readings of the last minutes.
        xids: Count and last Unix time by XID.
        throttled_seconds: Cumulative throttled time by reason.
        nvlink_bytes_per_second: Both directions, between the last two readings; None before.
        pcie_bytes_per_second: By direction, likewise.
    """

    def __init__(self, identity: DeviceIdentity) -> None:
        """Begin with nothing read."""
        self.identity = identity
        self.fast: FastReading | None = None
        self.slow: SlowReading | None = None
        self.reason = NEVER_READ
        self.stuck_call: CallInFlight | None = None
        self.gate = FastGate()
        self.window = Window()
        self.xids: dict[int, tuple[int, float]] = dict.fromkeys(ALWAYS_PUBLISHED, (0, 0.0))
        self.throttled_seconds: dict[str, float] = {}
        self.nvlink_bytes_per_second: float | None = None
        self.pcie_bytes_per_second: dict[str, float] = {}
        self._counted_by_hardware: set[str] = set()
        self._references: deque[float] = deque(maxlen=NUM_LIMIT_SAMPLES)

    @property
    def is_up(self) -> bool:
        """Whether its readings may be published."""
        return self.reason == UP and self.fast is not None

    def apply_fast(self, raw: FastReading) -> None:
        """Take in a reading; one that is older than the last (a collector on its way out) is ignored."""
        before = self.fast
        if before is not None and raw.taken_at_monotonic <= before.taken_at_monotonic:
            return
        reading = self.gate.admit(raw)
        self.fast = reading
        self.stuck_call = None
        unreadable = reading.temperature_celsius is None and reading.power_watts is None
        self.reason = IMPLAUSIBLE if unreadable else UP
        self._integrate_throttling(before, reading)
        self._derive_rates(before, reading)
        if reading.temperature_celsius is not None and reading.margin_celsius is not None:
            self._references.append(reading.temperature_celsius + reading.margin_celsius)
        self.window.add(
            WindowSample(
                at_seconds=reading.taken_at_monotonic,
                temperature_celsius=reading.temperature_celsius,
                margin_celsius=self.margin_celsius,
                power_watts=self.power_watts,
                utilization_ratio=reading.utilization_ratio,
            )
        )

    def apply_slow(self, reading: SlowReading) -> None:
        """Take in a slow reading."""
        self.slow = reading

    def apply_down(self, reason: str) -> None:
        """Note that it does not answer, and why."""
        self.reason = reason

    def apply_xid(self, event: XidEvent) -> None:
        """Count an XID; numbers beyond the bound count together as 0."""
        xid = event.xid if event.xid in self.xids or len(self.xids) < MAX_XIDS_PER_GPU else 0
        count, _ = self.xids.get(xid, (0, 0.0))
        self.xids[xid] = (count + 1, event.at_unix)

    def expire(self, now_monotonic: float, stale_after_seconds: float) -> None:
        """Take it for down when its last reading is too old."""
        if self.reason in {UP, IMPLAUSIBLE} and self.age_seconds(now_monotonic) > stale_after_seconds:
            self.reason = STALE

    def age_seconds(self, now_monotonic: float) -> float:
        """Return the age of the last reading; infinite before the first."""
        return float("inf") if self.fast is None else max(now_monotonic - self.fast.taken_at_monotonic, 0.0)

    @property
    def margin_celsius(self) -> float | None:
        """Degrees to the first thermal intervention, on every generation."""
        if self.fast is None:
            return None
        return thermal_margin_celsius(
            temperature_celsius=self.fast.temperature_celsius,
            memory_temperature_celsius=self.fast.memory_temperature_celsius,
            driver_margin_celsius=self.fast.margin_celsius,
            thresholds_celsius={} if self.slow is None else self.slow.thresholds_celsius,
        )

    @property
    def limits_celsius(self) -> dict[str, float]:
        """Absolute limits by name.

        Temperature and margin are whole degrees read one after the other, so their sum flickers by one; the median of
        the last readings does not.
        """
        if self.slow is None:
            return {}
        reference = statistics.median_low(self._references) if self._references else None
        return absolute_limits_celsius(
            temperature_celsius=reference,
            driver_margin_celsius=None if reference is None else 0.0,
            limit_offsets_celsius=self.slow.limit_offsets_celsius,
            thresholds_celsius=self.slow.thresholds_celsius,
        )

    @property
    def first_limit_celsius(self) -> float | None:
        """Core temperature of the first thermal intervention (``gpu_max``, else ``slowdown``)."""
        limits = self.limits_celsius
        if "gpu_max" not in limits and self._references:
            return statistics.median_low(self._references)
        return limits.get("gpu_max", limits.get("slowdown"))

    @property
    def power_watts(self) -> float | None:
        """The most immediate power at hand."""
        if self.fast is None:
            return None
        instant = self.fast.power_instant_watts
        return instant if instant is not None else self.fast.power_watts

    @property
    def throttled_now(self) -> list[str]:
        """Reasons for which the clocks are held down now."""
        bits = 0 if self.fast is None else self.fast.throttle_bits or 0
        return [reason for reason, bit in THROTTLE_BITS.items() if bits & bit]

    @property
    def last_xid(self) -> int:
        """Number of the most recent XID; 0 before the first."""
        return max(((last, xid) for xid, (count, last) in self.xids.items() if count), default=(0.0, 0))[1]

    def _integrate_throttling(self, before: FastReading | None, reading: FastReading) -> None:
        """Take the hardware's counters; where there are none, count the time between readings with the bit set."""
        for reason, seconds in reading.throttled_seconds.items():
            self._counted_by_hardware.add(reason)
            self.throttled_seconds[reason] = seconds
        if reading.throttle_bits is None:
            return
        elapsed = 0.0 if before is None else reading.taken_at_monotonic - before.taken_at_monotonic
        counted = elapsed if elapsed <= MAX_INTEGRATION_SECONDS else 0.0
        for reason, bit in THROTTLE_BITS.items():
            if reason not in self._counted_by_hardware:
                active_seconds = counted if reading.throttle_bits & bit else 0.0
                self.throttled_seconds[reason] = self.throttled_seconds.get(reason, 0.0) + active_seconds

    def _derive_rates(self, before: FastReading | None, reading: FastReading) -> None:
        """Turn byte counters into rates, for the names that want rates."""
        self.nvlink_bytes_per_second, self.pcie_bytes_per_second = None, {}
        if before is None:
            return
        seconds = reading.taken_at_monotonic - before.taken_at_monotonic
        if not 0.0 < seconds <= MAX_INTEGRATION_SECONDS:
            return
        if reading.nvlink_bytes.keys() and reading.nvlink_bytes.keys() == before.nvlink_bytes.keys():
            moved = sum(reading.nvlink_bytes.values()) - sum(before.nvlink_bytes.values())
            self.nvlink_bytes_per_second = max(moved, 0.0) / seconds
        for direction in reading.pcie_bytes.keys() & before.pcie_bytes.keys():
            moved = reading.pcie_bytes[direction] - before.pcie_bytes[direction]
            self.pcie_bytes_per_second[direction] = max(moved, 0.0) / seconds
