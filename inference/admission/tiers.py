"""The classes of users and what each may have when nothing is limited. Pure.

Flags replace these numbers while a limit is in force; when the flags name nothing, these hold.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A class of users.

    Attributes:
        name: Its name in flags and metrics.
        priority_weight: Head start in the engine's queue, 0 or more.
        images_per_day: Daily quota of a user, above 0.
        images_per_hour: Hourly quota of a user, above 0.
        max_concurrent_images: Images of one user in work at once, above 0.
        queue_share_ratio: Share of the engine's queue limits that this tier's arrivals may fill, 0..1; what is left
            beyond it is for the tiers above.
        is_deferrable: Batch work, which the flag ``batch-admitted`` can defer.
        fails_open: Whether its users are admitted without a count while the store of quotas is gone.
    """

    name: str
    priority_weight: float = 0.0
    images_per_day: int = 100
    images_per_hour: int = 50
    max_concurrent_images: int = 4
    queue_share_ratio: float = 1.0
    is_deferrable: bool = False
    fails_open: bool = False


FREE = Tier(name="free", priority_weight=1.0, queue_share_ratio=0.8)
PAID = Tier(
    name="paid",
    priority_weight=10.0,
    images_per_day=1_000,
    images_per_hour=300,
    max_concurrent_images=20,
    fails_open=True,
)
BATCH = Tier(
    name="batch",
    priority_weight=0.0,
    images_per_day=100_000,
    images_per_hour=20_000,
    max_concurrent_images=50,
    queue_share_ratio=0.6,
    is_deferrable=True,
)
DEFAULT_TIERS: tuple[Tier, ...] = (FREE, PAID, BATCH)
"""What a pod knows by default; a caller of no known tier is of the first one."""
