"""Laws of the quotas, with a store that fails at any call, before or after it did what it was asked."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from inference.admission import quotas
from inference.admission.counters import MemoryCounters, Window
from inference.admission.quotas import QuotaLedger, QuotaRefusal, Reservation

LIMITS = {Window.HOUR: 6, Window.DAY: 9}


class FailingStore(MemoryCounters):
    """A store that fails as it is told: not reached, or done but its answer lost; it may also lose its counters."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []
        self.is_gone = False

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        how = self.failures.pop() if self.failures else ""
        if self.is_gone or how == "not reached":
            raise ConnectionError("gone")
        value = await super().incr(key, expiry, amount)
        if how == "answer lost":
            raise TimeoutError("no answer")
        return value

    async def get(self, key: str) -> int:
        if self.is_gone:
            raise ConnectionError("gone")
        return await super().get(key)

    async def check(self) -> bool:
        return not self.is_gone

    def lose_everything(self) -> None:
        self._counters.clear()


async def settled(ledger: QuotaLedger) -> None:
    """Let the ledger find its store again."""
    for _ in range(100):
        ledger._next_look_at = 0.0
        if ledger._is_up():
            return
        await asyncio.sleep(0)
    raise AssertionError("the store was not found again")


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("draw"), st.integers(1, 4)),
            st.tuples(st.sampled_from(["gone", "back", "lost", "give back"]), st.just(0)),
            st.tuples(st.sampled_from(["not reached", "answer lost"]), st.just(0)),
        ),
        max_size=30,
    )
)
def test_what_is_admitted_is_counted_exactly(steps: list[tuple[str, int]]) -> None:
    """Whatever happens to the store, in the end it holds what was admitted less what was given back.

    Never more, and less only by what was given back without an answer. While no tier fails open, nobody ever holds more
    than the least window allows.
    """

    async def play() -> None:
        store = FailingStore()
        ledger = QuotaLedger(store)
        held: list[Reservation] = []
        in_doubt = 0
        for what, number in steps:
            if what == "draw":
                reserved = await ledger.reserve("ann", "free", number, LIMITS, fails_open=False)
                if isinstance(reserved, Reservation):
                    held.append(reserved)
                else:
                    assert isinstance(reserved, QuotaRefusal)
            elif what == "give back" and held:
                last = held.pop()
                in_doubt += last.num_images if "answer lost" in store.failures else 0
                await ledger.give_back(last, last.num_images)
            elif what == "gone":
                store.is_gone = True
            elif what == "lost":
                store.lose_everything()
                ledger._lost(ConnectionError("restarted"))
            elif what == "back":
                store.is_gone = False
                in_doubt += sum(each.num_images for each in held) if "answer lost" in store.failures else 0
                await settled(ledger)
            else:
                store.failures = [what]
            expected = sum(each.num_images for each in held)
            assert expected <= min(LIMITS.values()) + in_doubt
        store.is_gone, store.failures = False, []
        await settled(ledger)
        for use in await ledger.usage("ann", "free", LIMITS):
            expected = sum(each.num_images for each in held)
            assert max(expected - in_doubt, 0) <= use.used <= expected
        await ledger.close()

    asyncio.run(play())


@given(st.lists(st.integers(1, 5), max_size=20))
def test_many_at_once_never_take_more_than_there_is(numbers: list[int]) -> None:
    """Requests of one user that race each other get no more together than the least window holds."""

    async def play() -> None:
        ledger = QuotaLedger(MemoryCounters())
        found = await asyncio.gather(
            *(ledger.reserve("ann", "free", number, LIMITS, fails_open=False) for number in numbers)
        )
        taken = sum(each.num_images for each in found if isinstance(each, Reservation))
        assert taken <= 6
        uses = await ledger.usage("ann", "free", LIMITS)
        assert {use.used for use in uses} == {taken}

    asyncio.run(play())


def test_a_tier_that_fails_open_is_admitted_beyond_its_limit_while_the_store_is_gone() -> None:
    """Paid goes on whatever the count, and what it drew is counted afterwards."""

    async def play() -> None:
        store = FailingStore()
        ledger = QuotaLedger(store)
        store.is_gone = True
        for _ in range(5):
            assert isinstance(await ledger.reserve("ann", "paid", 4, LIMITS, fails_open=True), Reservation)
        assert ledger.health.num_failed_open == 5
        store.is_gone = False
        await settled(ledger)
        assert [use.used for use in await ledger.usage("ann", "paid", LIMITS)] == [20, 20]
        assert isinstance(await ledger.reserve("ann", "paid", 1, LIMITS, fails_open=True), QuotaRefusal)

    asyncio.run(play())


def test_the_memory_of_counters_is_bounded() -> None:
    """The least recently used counter goes first."""

    async def play() -> None:
        store = MemoryCounters(max_counters=3)
        for name in "abcad":
            await store.incr(name, 60)
        assert [await store.get(name) for name in "abcd"] == [2, 0, 1, 1]

    asyncio.run(play())
    assert quotas.RECOVERY_SECONDS > 0
