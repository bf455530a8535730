"""A forecast is found again when its truth arrives, and no later."""

from __future__ import annotations

import numpy as np

from forecasting.demand.origins import OriginSlots

STEPS = np.array([1, 2, 6], dtype=np.int64)


def test_what_was_said_waits_until_its_truth_arrives() -> None:
    """At each interval the slots hold what was said one, two and six steps before."""
    slots, said = OriginSlots(STEPS), np.full(9, -1)
    assert slots.num_slots == said.size
    for index in range(30):
        if index >= 6:
            assert slots.are_ready(index).all()
            assert list(said[slots.at(index)]) == [index - 1, index - 2, index - 6]
        said[slots.at(index)] = index
        slots.mark(index)


def test_nothing_is_ready_before_it_was_said() -> None:
    """In the first steps only the near horizons have a forecast behind them."""
    slots = OriginSlots(STEPS)
    assert not slots.are_ready(0).any()
    slots.mark(0)
    assert list(slots.are_ready(1)) == [True, False, False]
    assert list(slots.are_ready(2)) == [False, True, False]


def test_a_skipped_interval_is_not_mistaken_for_an_older_one() -> None:
    """Where nothing was said at an origin, what an earlier lap left in its slot does not count."""
    slots = OriginSlots(STEPS)
    for index in range(20):
        if index != 15:
            slots.mark(index)
    assert list(slots.are_ready(21)) == [False, True, False]
    assert list(slots.are_ready(20)) == [True, True, True]
