"""Images per user, day and hour: reserved before work begins, given back when it yields none.

A window begins with a user's first image and ends a day or an hour later, so everybody's quota returns at a time of
their own, and not everybody's at midnight. Counters live in a store: this process's memory, or Redis shared by all
pods, through the ``limits`` library.

When Redis is gone (docs/decisions/0097) the pod goes on by what it knows: what it last read plus what it admitted
since. Tiers that fail open are admitted whatever the count; the others up to their limits. When Redis is back, counters
that it lost are raised to what was last read, and what was admitted meanwhile is added; only then it is asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

import structlog

from inference.admission.counters import CounterMemory, CounterStore, QuotaUse, Window, counter_key, seconds_left

log = structlog.get_logger()
RECOVERY_SECONDS = 0.5
"""Between two looks whether a lost store is back."""
MAX_SETTLEMENT_ROUNDS = 10
MAX_USERS_OF_GAUGE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a request took; hand it back with `QuotaLedger.give_back` for images that were not made.

    Attributes:
        user: Whose.
        tier: The user's tier.
        num_images: How many.
        uses: The windows after it.
    """

    user: str
    tier: str
    num_images: int
    uses: tuple[QuotaUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRefusal:
    """The window that has too little left; the one that ends last when both have."""

    use: QuotaUse
    uses: tuple[QuotaUse, ...]


@dataclass(slots=True, kw_only=True)
class StoreHealth:
    """Whether the store answers, for metrics.

    Attributes:
        is_up: It answered last time.
        num_failures: Calls that failed.
        num_failed_open: Requests admitted without a limit while it was gone.
        num_counted_locally: Requests judged by this pod's own count while it was gone.
    """

    is_up: bool = True
    num_failures: int = 0
    num_failed_open: int = 0
    num_counted_locally: int = 0


class QuotaLedger:
    """Reserves, gives back and reports."""

    def __init__(self, store: CounterStore) -> None:
        """Keep counters in ``store``."""
        self._store = store
        self._memory = CounterMemory()
        self._next_look_at = 0.0
        self._recovery: asyncio.Task[None] | None = None
        self._left_today: dict[str, OrderedDict[str, QuotaUse]] = {}
        self.health = StoreHealth()

    async def reserve(
        self, user: str, tier: str, num_images: int, limits: dict[Window, int], *, fails_open: bool
    ) -> Reservation | QuotaRefusal:
        """Count ``num_images`` if every window has room for them.

        Args:
            user: Whose quota.
            tier: The user's tier, part of the counter's name: a change of tier begins anew.
            num_images: How many, above 0.
            limits: What each window allows now; usage counts whatever the limit was when it happened.
            fails_open: Whether to admit while the store is gone.

        Returns:
            The reservation, or the window that refuses; a refusal counts nothing.
        """
        uses = [self._memory.use(user, tier, window, limit) for window, limit in limits.items()]
        if any(use.remaining < num_images for use in uses) and not (fails_open and not self.health.is_up):
            # What was used in a window never grows less but by what is given back, which this pod would know of unless
            # another pod did it: ask before refusing.
            uses = list(await self.usage(user, tier, limits))
            if any(use.remaining < num_images for use in uses) and not (fails_open and not self.health.is_up):
                return _refusal(uses, num_images)
        counted = [await self._count(user, tier, use, num_images) for use in uses]
        self._note_left(user, tier, counted)
        reservation = Reservation(user=user, tier=tier, num_images=num_images, uses=tuple(counted))
        if not self.health.is_up:
            self.health.num_failed_open += fails_open
            self.health.num_counted_locally += not fails_open
            if fails_open:
                return reservation
        if any(use.used > use.limit for use in counted):
            # Somebody else of the same user was quicker.
            await self.give_back(reservation, num_images)
            return _refusal([use.less(num_images) for use in counted], num_images)
        return reservation

    async def give_back(self, reservation: Reservation, num_images: int) -> None:
        """Return images that were not made to the windows that they were taken from, if those still run."""
        for use in reservation.uses:
            if num_images > 0 and use.resets_at_unix is not None and use.resets_at_unix > time.time():
                await self._count(reservation.user, reservation.tier, use, -num_images)

    async def usage(self, user: str, tier: str, limits: dict[Window, int]) -> tuple[QuotaUse, ...]:
        """Return a user's windows without counting anything.

        Args:
            user: Whose.
            tier: The user's tier.
            limits: What each window allows now.

        Returns:
            The windows, in the order of ``limits``.
        """
        if self._is_up():
            try:
                return tuple([await self._stored_use(user, tier, window, limit) for window, limit in limits.items()])
            except Exception as error:
                # Whatever the store's client raises (limits wraps several), the policy is the same.
                self._lost(error)
        return tuple(self._memory.use(user, tier, window, limit) for window, limit in limits.items())

    def remaining_by_tier(self, tiers: tuple[str, ...]) -> dict[str, int]:
        """Return the images left today over the users seen lately, by tier."""
        now = time.time()
        return {
            tier: sum(
                use.remaining
                for use in self._left_today.get(tier, {}).values()
                if use.resets_at_unix is not None and use.resets_at_unix > now
            )
            for tier in tiers
        }

    def _note_left(self, user: str, tier: str, uses: list[QuotaUse]) -> None:
        users = self._left_today.setdefault(tier, OrderedDict())
        users.pop(user, None)
        for use in uses:
            if use.window is Window.DAY:
                users[user] = use
        if len(users) > MAX_USERS_OF_GAUGE:
            users.popitem(last=False)

    async def close(self) -> None:
        """End the attempts to reach a lost store."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)

    async def _count(self, user: str, tier: str, use: QuotaUse, amount: int) -> QuotaUse:
        """Add to one window, in the store or, while it is gone, in memory; return the window after it."""
        key, now = counter_key(user, tier, use.window), time.time()
        ends_at = use.resets_at_unix if use.resets_at_unix is not None else now + use.window.seconds
        if not self._is_up():
            self._memory.kept(key, amount, ends_at)
            return use.plus(amount, ends_at)
        length = use.window.seconds if use.resets_at_unix is None else seconds_left(ends_at, now)
        try:
            value = await self._store.incr(key, length, amount)
        except Exception as error:
            self._lost(error)
            # What is taken is made up for exactly if it did not arrive. What is given back cannot be told from what
            # other pods took, so it is given again: at worst twice, in the user's favour.
            note = self._memory.sent if amount > 0 else self._memory.kept
            note(key, amount, ends_at)
            return use.plus(amount, ends_at)
        if use.resets_at_unix is None:
            try:
                ends_at = await self._store.get_expiry(key)
            except Exception as error:
                self._lost(error)
        self._memory.answered(key, value, ends_at)
        return QuotaUse(window=use.window, limit=use.limit, used=value, resets_at_unix=ends_at)

    async def _stored_use(self, user: str, tier: str, window: Window, limit: int) -> QuotaUse:
        key = counter_key(user, tier, window)
        value = await self._store.get(key)
        if value <= 0:
            return QuotaUse(window=window, limit=limit, used=0, resets_at_unix=None)
        ends_at = await self._store.get_expiry(key)
        self._memory.answered(key, value, ends_at)
        return QuotaUse(window=window, limit=limit, used=value, resets_at_unix=ends_at)

    # --- loss and recovery of the store ---

    def _lost(self, error: Exception) -> None:
        self.health.num_failures += 1
        self._next_look_at = time.monotonic() + RECOVERY_SECONDS
        if self.health.is_up:
            self.health.is_up = False
            log.warning("quotas.store_lost", error=str(error), policy="paid tiers fail open, others by local count")

    def _is_up(self) -> bool:
        """Return whether to ask the store; look after a lost one in the background."""
        is_looking = self._recovery is not None and not self._recovery.done()
        if not self.health.is_up and not is_looking and time.monotonic() >= self._next_look_at:
            self._recovery = asyncio.create_task(self._recover())
        return self.health.is_up

    async def _recover(self) -> None:
        try:
            if not await self._store.check():
                self._next_look_at = time.monotonic() + RECOVERY_SECONDS
                return
            num_settled = 0
            # What is counted while this runs is pending again; each round is shorter than the one before.
            for _ in range(MAX_SETTLEMENT_ROUNDS):
                num_now = await self._settle()
                num_settled += num_now
                if num_now == 0:
                    break
        except Exception as error:
            self._lost(error)
            return
        self.health.is_up = True
        log.info("quotas.store_back", num_counters_settled=num_settled)

    async def _settle(self) -> int:
        """Bring a store that is back up to date; return how many counters needed it."""
        num_settled = 0
        for key, known in self._memory.unsettled():
            value = await self._store.get(key)
            amount = max(known.floor - value, 0) + known.pending
            if amount == 0:
                known.floor, known.pending = value, 0
                continue
            # Should the next call fail, it stands as sent without an answer, or as not given back yet: see `_count`.
            known.floor, known.pending = (value + amount, 0) if amount > 0 else (value, amount)
            known.floor = await self._store.incr(key, seconds_left(known.ends_at, time.time()), amount)
            known.pending -= min(amount, 0)
            num_settled += 1
        return num_settled


def _refusal(uses: list[QuotaUse], num_images: int) -> QuotaRefusal:
    short = [use for use in uses if use.remaining < num_images]
    last = max(short, key=lambda use: use.resets_at_unix or 0.0)
    return QuotaRefusal(use=last, uses=tuple(uses))
