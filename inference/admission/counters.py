"""Counters of images in windows of time: where they are kept, and what a pod remembers of them. Used by ``quotas``."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MAX_COUNTERS = 200_000
"""Counters in this process's memory; the least recently used one goes first."""
MAX_REMEMBERED = 100_000


class Window(StrEnum):
    """Windows of the quotas."""

    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> int:
        """Length."""
        return 3_600 if self is Window.HOUR else 86_400


class CounterStore(Protocol):
    """The part of a ``limits`` storage that quotas need."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter.

        Args:
            key: Which.
            expiry: Seconds of the window that begins when it is new.
            amount: What to add; may be negative.

        Returns:
            Its value after that.
        """
        ...

    async def get(self, key: str) -> int:
        """Return a counter, 0 when there is none."""
        ...

    async def get_expiry(self, key: str) -> float:
        """Return when a counter ends, Unix seconds."""
        ...

    async def check(self) -> bool:
        """Return whether the store answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """One window of one user.

    Attributes:
        window: Which.
        limit: Images that it allows.
        used: Images counted in it, those of the present request included once it is admitted.
        resets_at_unix: When it ends, Unix seconds; None before its first image.
    """

    window: Window
    limit: int
    used: int
    resets_at_unix: float | None

    @property
    def remaining(self) -> int:
        """Images left."""
        return max(self.limit - self.used, 0)

    def plus(self, amount: int, ends_at: float) -> QuotaUse:
        """Return the window with ``amount`` more images, ending at ``ends_at``."""
        return QuotaUse(window=self.window, limit=self.limit, used=max(self.used + amount, 0), resets_at_unix=ends_at)

    def less(self, amount: int) -> QuotaUse:
        """Return the window with ``amount`` images fewer."""
        used = max(self.used - amount, 0)
        return QuotaUse(window=self.window, limit=self.limit, used=used, resets_at_unix=self.resets_at_unix)


def counter_key(user: str, tier: str, window: Window) -> str:
    """Return a counter's name in the store.

    Args:
        user: Whose.
        tier: The user's tier.
        window: Which window.

    Returns:
        The key.
    """
    return f"meltguard/quota/{window.value}/{tier}/{user}"


def seconds_left(ends_at: float, now: float) -> int:
    """Return the whole seconds until ``ends_at``, at least 1."""
    return max(math.ceil(ends_at - now), 1)


class MemoryCounters:
    """Counters in this process, bounded in number.

    Instead of the ``limits`` library's own memory, which walks through every counter at each count: 14 ms with 50,000
    of them (docs/decisions/0097).
    """

    def __init__(self, max_counters: int = MAX_COUNTERS) -> None:
        """Keep at most ``max_counters``."""
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._max_counters = max_counters

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter.

        Args:
            key: Which.
            expiry: Seconds of the window that begins when it is new.
            amount: What to add; may be negative.

        Returns:
            Its value after that.
        """
        now = time.time()
        value, ends_at = self._counters.pop(key, (0, 0.0))
        if ends_at <= now:
            value, ends_at = 0, now + expiry
        self._counters[key] = (value + amount, ends_at)
        if len(self._counters) > self._max_counters:
            self._counters.popitem(last=False)
        return value + amount

    async def get(self, key: str) -> int:
        """Return a counter, 0 when there is none."""
        value, ends_at = self._counters.get(key, (0, 0.0))
        return value if ends_at > time.time() else 0

    async def get_expiry(self, key: str) -> float:
        """Return when a counter ends, Unix seconds; now when there is none."""
        return self._counters.get(key, (0, time.time()))[1]

    async def check(self) -> bool:
        """Memory always answers."""
        return True


def counter_store(redis_url: str | None, timeout_seconds: float = 0.25) -> CounterStore:
    """Return the store: Redis (or Valkey) at an address, or this process's memory.

    Args:
        redis_url: Such as ``redis://HOST:6379/0``; None keeps counters in memory.
        timeout_seconds: Longest wait for an answer of Redis.

    Returns:
        The store.
    """
    if redis_url is None:
        return MemoryCounters()
    from limits.aio.storage import RedisStorage

    return RedisStorage(
        f"async+{redis_url}",
        implementation="redispy",
        key_prefix="meltguard",
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        max_connections=64,
    )


@dataclass(slots=True, kw_only=True)
class Remembered:
    """What a pod knows of a counter.

    Attributes:
        floor: What the store holds at the least: its last answer, and what was sent without an answer since.
        pending: Counted by the pod since and not sent, while the store was gone.
        ends_at: End of the window, Unix seconds.
    """

    floor: int = 0
    pending: int = 0
    ends_at: float


class CounterMemory:
    """What a pod remembers of the counters that it used lately."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counters: OrderedDict[str, Remembered] = OrderedDict()

    def use(self, user: str, tier: str, window: Window, limit: int) -> QuotaUse:
        """Return a window by what is remembered.

        Args:
            user: Whose.
            tier: The user's tier.
            window: Which.
            limit: Images that it allows.

        Returns:
            The window; unused where nothing is remembered.
        """
        known = self._counters.get(counter_key(user, tier, window))
        if known is None or known.ends_at <= time.time():
            return QuotaUse(window=window, limit=limit, used=0, resets_at_unix=None)
        used = max(known.floor + known.pending, 0)
        return QuotaUse(window=window, limit=limit, used=used, resets_at_unix=known.ends_at)

    def answered(self, key: str, value: int, ends_at: float) -> None:
        """Take over what the store said.

        Args:
            key: Which counter.
            value: Its value there.
            ends_at: End of its window, Unix seconds.
        """
        self._take(key, ends_at).floor = value

    def sent(self, key: str, amount: int, ends_at: float) -> None:
        """Note an amount that was sent to the store without an answer: it may count there, or not.

        As part of the floor it is made up for at the next settlement exactly if it did not arrive.

        Args:
            key: Which counter.
            amount: What was sent.
            ends_at: End of its window, Unix seconds.
        """
        self._take(key, ends_at).floor += amount

    def kept(self, key: str, amount: int, ends_at: float) -> None:
        """Note an amount that the store has not been told.

        Args:
            key: Which counter.
            amount: What was counted here.
            ends_at: End of its window, Unix seconds.
        """
        self._take(key, ends_at).pending += amount

    def unsettled(self) -> list[tuple[str, Remembered]]:
        """Return every counter whose window still runs; forget the others."""
        now = time.time()
        for key in [key for key, known in self._counters.items() if known.ends_at <= now]:
            del self._counters[key]
        return list(self._counters.items())

    def _take(self, key: str, ends_at: float) -> Remembered:
        known = self._counters.pop(key, None)
        if known is None or known.ends_at <= time.time():
            known = Remembered(ends_at=ends_at)
        known.ends_at = ends_at
        self._counters[key] = known
        if len(self._counters) > MAX_REMEMBERED:
            self._counters.popitem(last=False)
        return known
