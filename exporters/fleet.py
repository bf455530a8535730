"""The GPUs of this node as the serving process knows them: takes in messages, keeps every GPU ever seen. Pure state.

The supervisor feeds it what collectors say; rendering reads it. A GPU that is gone stays in the list, down and with a
reason: silence is never the way to report a loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporters.gpu_state import IMPLAUSIBLE, MISSING, NEVER_READ, STALE, STUCK, UNIDENTIFIED, UP, GpuState
from exporters.messages import (
    PLACEHOLDER_PREFIX,
    CallInFlight,
    DeviceIdentity,
    Down,
    FastReading,
    Heartbeat,
    Hello,
    Message,
    SlowReading,
    XidEvent,
)

MAX_GPUS = 128
"""GPUs ever seen that are kept; beyond it the one that has been missing longest gives way."""
MAX_CALL_NAMES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCost:
    """What one driver function has cost since the exporter started, over all collectors.

    Attributes:
        max_seconds: Slowest call of the last report.
    """

    num_calls: int = 0
    total_seconds: float = 0.0
    max_seconds: float = 0.0


class Fleet:
    """All GPUs of the node.

    Attributes:
        gpus: By UUID, in the driver's order.
        driver_version: As the last collector said.
        num_readings: Fast readings taken in.
        call_costs: By driver function.
        failure: Reason and detail of the last collector that could not work; None while one works.
    """

    def __init__(self) -> None:
        """Begin without a GPU."""
        self.gpus: dict[str, GpuState] = {}
        self.driver_version = ""
        self.num_readings = 0
        self.call_costs: dict[str, CallCost] = {}
        self.failure: tuple[str, str] | None = None

    def apply(self, message: Message) -> None:
        """Take in what a collector says; messages on unknown GPUs are ignored."""
        match message:
            case Hello():
                self._meet(message)
            case FastReading() if message.uuid in self.gpus:
                self.num_readings += 1
                self.gpus[message.uuid].apply_fast(message)
            case SlowReading() if message.uuid in self.gpus:
                self.gpus[message.uuid].apply_slow(message)
            case Down() if message.uuid in self.gpus:
                self.gpus[message.uuid].apply_down(message.reason)
            case XidEvent() if message.uuid in self.gpus:
                self.gpus[message.uuid].apply_xid(message)
            case _:
                return

    def _meet(self, hello: Hello) -> None:
        self.failure = None
        self.driver_version = hello.driver_version
        present = {device.uuid for device in hello.devices}
        self._drop_placeholders(present)
        # A GPU that hides behind its index is one that is known, where the known one of that index is absent.
        absent = {gpu.identity.index for uuid, gpu in self.gpus.items() if uuid not in present}
        for device in hello.devices[:MAX_GPUS]:
            if device.uuid.startswith(PLACEHOLDER_PREFIX) and device.index in absent:
                continue
            known = self.gpus.get(device.uuid)
            if known is None:
                self._make_room()
                self.gpus[device.uuid] = GpuState(device)
            else:
                known.identity = device
                if known.reason not in {UP, STALE, IMPLAUSIBLE, STUCK}:
                    known.reason = NEVER_READ
        for uuid, gpu in self.gpus.items():
            if uuid not in present and gpu.reason in {UP, STALE, NEVER_READ, IMPLAUSIBLE}:
                gpu.reason = MISSING
        self.gpus = dict(sorted(self.gpus.items(), key=lambda item: (item[1].identity.index, item[0])))

    def _drop_placeholders(self, present: set[str]) -> None:
        """Forget GPUs that were known by their index only and now have a name."""
        for uuid in [uuid for uuid in self.gpus if uuid.startswith(PLACEHOLDER_PREFIX) and uuid not in present]:
            del self.gpus[uuid]

    def _make_room(self) -> None:
        if len(self.gpus) >= MAX_GPUS:
            oldest = max(self.gpus.values(), key=lambda gpu: gpu.age_seconds(0.0) if gpu.is_up else float("inf"))
            del self.gpus[oldest.identity.uuid]

    def add_heartbeat(self, heartbeat: Heartbeat, before: dict[str, tuple[int, float]]) -> None:
        """Add a collector's call costs.

        Args:
            heartbeat: What it reported; counts are since that collector began.
            before: Count and seconds by call of its previous report; updated.
        """
        for report in heartbeat.statistics:
            if report.call not in self.call_costs and len(self.call_costs) >= MAX_CALL_NAMES:
                continue
            num_before, seconds_before = before.get(report.call, (0, 0.0))
            have = self.call_costs.get(report.call, CallCost())
            self.call_costs[report.call] = CallCost(
                num_calls=have.num_calls + max(report.num_calls - num_before, 0),
                total_seconds=have.total_seconds + max(report.total_seconds - seconds_before, 0.0),
                max_seconds=report.max_seconds,
            )
            before[report.call] = (report.num_calls, report.total_seconds)

    def mark_stuck(self, call: CallInFlight) -> None:
        """Take a GPU for stuck in ``call``."""
        gpu = self.gpus.get(call.uuid)
        if gpu is not None:
            gpu.apply_down(STUCK)
            gpu.stuck_call = call

    def mark_failed(self, reason: str, detail: str) -> None:
        """Note that no collector works, and why: every GPU is down for that reason."""
        self.failure = (reason, detail)
        for gpu in self.gpus.values():
            if gpu.reason in {UP, STALE, NEVER_READ, IMPLAUSIBLE}:
                gpu.reason = reason

    def expire(self, now_monotonic: float, stale_after_seconds: float) -> None:
        """Take for down whatever has not been read for too long."""
        for gpu in self.gpus.values():
            gpu.expire(now_monotonic, stale_after_seconds)

    def newest_age_seconds(self, now_monotonic: float) -> float | None:
        """Return the age of the newest reading of any GPU; None before the first."""
        ages = [gpu.age_seconds(now_monotonic) for gpu in self.gpus.values() if gpu.fast is not None]
        return min(ages, default=None)

    def first_expiry(self, stale_after_seconds: float) -> float:
        """Return the monotonic time at which the next GPU that is up becomes stale; infinite if none is up."""
        times = [gpu.fast.taken_at_monotonic for gpu in self.gpus.values() if gpu.is_up and gpu.fast is not None]
        return min(times, default=float("inf")) + stale_after_seconds

    def lost(self) -> Iterable[DeviceIdentity]:
        """Yield the GPUs that only a fresh enumeration may bring back."""
        for gpu in self.gpus.values():
            if gpu.reason in {MISSING, UNIDENTIFIED, "lost", "reset_required"}:
                yield gpu.identity
