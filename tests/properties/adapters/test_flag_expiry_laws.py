"""Laws of limits that nobody renews, over any positions, users and times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.flags.stages import MAX_EXPIRY_SECONDS
from controller.types import Rung
from tests.flag_samples import Consumer, first_of, policy, rendered_ago

AUTOMATIC = st.integers(0, first_of(Rung.DISABLE_FREE))
SECONDS = st.floats(-100.0, MAX_EXPIRY_SECONDS + 100.0)


def _generosity(position: int, seconds: float, user: str) -> tuple[float, float, float]:
    """Return how much a user of the free tier may have: generation, share admitted, quota."""
    consumer = Consumer(rendered_ago({"r0": position}, seconds_past_expiry=seconds))
    where = {"region": "r0", "tier": "free", "user": user}
    enabled = consumer.boolean("image-generation-enabled", **where)
    quota = consumer.integer("images-per-day", **where)
    ratio = consumer.ratio("admission-ratio", **where)
    return (1.0, ratio, float("inf") if quota < 0 else float(quota)) if enabled else (0.0, 0.0, 0.0)


@given(position=AUTOMATIC, first=SECONDS, second=SECONDS, user=st.text(min_size=1, max_size=8))
def test_an_unrenewed_limit_only_ever_eases(position: int, first: float, second: float, user: str) -> None:
    """Whoever is asked, and whenever: later is never stricter than earlier."""
    before = _generosity(position, min(first, second), user)
    after = _generosity(position, max(first, second), user)
    assert all(later >= sooner for sooner, later in zip(before, after, strict=True))


@given(position=st.integers(0, len(policy().ladder.steps) - 1), user=st.text(max_size=8))
def test_every_limit_is_gone_in_time(position: int, user: str) -> None:
    """After the bound nothing is limited any more, from whichever position it started."""
    assert _generosity(position, MAX_EXPIRY_SECONDS + 2.0, user) == (1.0, 1.0, float("inf"))
