"""A value that was read somewhere, with its age and what that age means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Freshness(StrEnum):
    """Whether a sample may be acted on.

    FRESH may lower capacity and lift limits; the others may not, for no data is never read as zero.
    """

    FRESH = "fresh"
    STALE = "stale"
    ABSENT = "absent"
    CONTRADICTORY = "contradictory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Generic[Value]):
    """One reading.

    Attributes:
        value: What was read; None exactly when absent.
        as_of: When it was true, aware UTC; None exactly when absent.
        freshness: Whether it may be acted on.
    """

    value: Value | None
    as_of: datetime | None
    freshness: Freshness

    def __post_init__(self) -> None:
        """Refuse a sample that is absent and has a value, or the reverse.

        Raises:
            ValueError: If value, time and freshness contradict each other.
        """
        absent = self.freshness is Freshness.ABSENT
        if absent != (self.value is None) or absent != (self.as_of is None):
            raise ValueError("a sample is absent exactly when it has neither value nor time")

    @classmethod
    def fresh(cls, value: Value, as_of: datetime) -> Sample[Value]:
        """Return a sample that may be acted on."""
        return cls(value=value, as_of=as_of, freshness=Freshness.FRESH)

    @classmethod
    def absent(cls) -> Sample[Value]:
        """Return a sample of something that was not there."""
        return cls(value=None, as_of=None, freshness=Freshness.ABSENT)

    @property
    def is_fresh(self) -> bool:
        """Whether the value may be used to lower capacity or lift a limit."""
        return self.freshness is Freshness.FRESH

    def age_seconds(self, now: datetime) -> float | None:
        """Return the age at ``now`` in seconds; None when absent."""
        return None if self.as_of is None else (now - self.as_of).total_seconds()

    def aged(self, now: datetime, *, stale_after_seconds: float) -> Sample[Value]:
        """Return this sample, marked stale when it is older than ``stale_after_seconds`` at ``now``."""
        age_seconds = self.age_seconds(now)
        if age_seconds is None or self.freshness is not Freshness.FRESH or age_seconds <= stale_after_seconds:
            return self
        return Sample(value=self.value, as_of=self.as_of, freshness=Freshness.STALE)
