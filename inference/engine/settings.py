"""Settings of the engine; the front reads them from its configuration, the engine checks them when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inference.engine.errors import EngineError


class EngineSettingsError(EngineError):
    """A setting, or two together, cannot be; the message names them."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Bounds and constants of the engine.

    Attributes:
        num_slots: Rows of a full batch; a guided image takes two.
        max_queued_requests: Requests that may wait for their first slot.
        max_queued_tokens: Image tokens that may wait for a slot; one request alone is always taken.
        reserved_slots: Slots by tier that other tiers leave free for it. At least two slots stay unreserved.
        seconds_per_weight: Head start in the queue of one unit of a request's priority weight.
        idle_seconds: How often an idle loop goes round, which bounds how old a heartbeat can be.
        warm_up_seconds: How long speed is measured before the engine is warm, at most.
        num_threads: Threads of one step on a CPU. More than one rarely helps small models and hurts under load.
    """

    num_slots: int = 16
    max_queued_requests: int = 256
    max_queued_tokens: int = 65_536
    reserved_slots: Mapping[str, int] = field(default_factory=dict)
    seconds_per_weight: float = 30.0
    idle_seconds: float = 0.1
    warm_up_seconds: float = 2.0
    num_threads: int = 1

    def __post_init__(self) -> None:
        if self.num_slots < 2:
            raise EngineSettingsError(f"num_slots is {self.num_slots}; a guided image needs 2")
        for name in ("max_queued_requests", "max_queued_tokens", "num_threads"):
            if getattr(self, name) < 1:
                raise EngineSettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("seconds_per_weight", "idle_seconds", "warm_up_seconds"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise EngineSettingsError(f"{name} is {getattr(self, name)}; it must be positive and finite")
        if any(count < 0 for count in self.reserved_slots.values()):
            raise EngineSettingsError("reserved_slots holds a negative number")
        reserved = sum(self.reserved_slots.values())
        if reserved > self.num_slots - 2:
            raise EngineSettingsError(
                f"reserved_slots takes {reserved} of {self.num_slots} slots; leave at least 2 for everybody"
            )
