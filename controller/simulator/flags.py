"""Flags as the pods see them: after a delay, and only until they expire."""

from __future__ import annotations

from dataclasses import dataclass, replace

from controller.errors import InconsistentWorldError
from controller.types import FlagInForce, FlagValue


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLimits:
    """What admission enforces for one region and tier.

    Attributes:
        generation_enabled: False refuses everything.
        images_per_day: Daily quota.
        admission_ratio: Share of requests admitted, 0..1.
        batch_admitted: False defers deferrable work.
    """

    generation_enabled: bool = True
    images_per_day: int = 10**9
    admission_ratio: float = 1.0
    batch_admitted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """One written flag set and when the pods will see it."""

    visible_seconds: float
    revision: int
    flags: tuple[tuple[FlagInForce, float], ...]


class FlagStore:
    """One flag set with a revision that only grows.

    Args:
        propagation_seconds: From the write to admission that obeys it.
    """

    def __init__(self, *, propagation_seconds: float) -> None:
        """Start without limits."""
        self._propagation_seconds = propagation_seconds
        self._queue: list[_Write] = []
        self._visible = _Write(visible_seconds=0.0, revision=0, flags=())
        self._last_values: dict[tuple[str, str, str | None], FlagValue] = {}
        self.num_changes = 0

    def write(self, flags: tuple[FlagInForce, ...], *, revision: int, now_seconds: float, ttl_seconds: float) -> None:
        """Replace the whole flag set.

        Args:
            flags: The set.
            revision: Its revision, above all before it.
            now_seconds: Virtual time.
            ttl_seconds: Time to live of every flag in it.

        Raises:
            InconsistentWorldError: If the revision does not grow; a real store refuses such a write.
        """
        last = self._queue[-1].revision if self._queue else self._visible.revision
        if revision <= last:
            raise InconsistentWorldError(f"flag revision {revision} after {last}")
        expires_seconds = now_seconds + ttl_seconds
        self._queue.append(
            _Write(
                visible_seconds=now_seconds + self._propagation_seconds,
                revision=revision,
                flags=tuple((flag, expires_seconds) for flag in flags),
            )
        )
        values = {(flag.key, flag.region, flag.tier): flag.value for flag in flags}
        places = values.keys() | self._last_values.keys()
        self.num_changes += sum(1 for place in places if values.get(place) != self._last_values.get(place))
        self._last_values = values

    def advance(self, now_seconds: float) -> None:
        """Let the pods see what has reached them by now."""
        while self._queue and self._queue[0].visible_seconds <= now_seconds:
            self._visible = self._queue.pop(0)

    def in_force(self, now_seconds: float) -> tuple[FlagInForce, ...]:
        """Return the flags that pods obey now: visible and not expired."""
        return tuple(flag for flag, expires_seconds in self._visible.flags if expires_seconds > now_seconds)

    def limits(self, region: str, tier: str, normal: TierLimits, now_seconds: float) -> TierLimits:
        """Return what admission enforces for one region and tier.

        Args:
            region: The region.
            tier: The tier.
            normal: What holds without limits.
            now_seconds: Virtual time.

        Returns:
            The limits.
        """
        limits = normal
        for flag in self.in_force(now_seconds):
            if flag.region == region and flag.tier in (None, tier):
                limits = _with_flag(limits, flag.key, flag.value)
        return limits


def _with_flag(limits: TierLimits, key: str, value: FlagValue) -> TierLimits:
    """Return ``limits`` with one flag of the contract applied; other keys do not concern admission."""
    match key, value:
        case "image-generation-enabled", bool():
            return replace(limits, generation_enabled=value)
        case "images-per-day", int():
            return replace(limits, images_per_day=value)
        case "admission-ratio", int() | float():
            return replace(limits, admission_ratio=float(value))
        case "batch-admitted", bool():
            return replace(limits, batch_admitted=value)
        case _:
            return limits
