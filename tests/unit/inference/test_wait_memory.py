"""Waits that were asked for a moment ago: drawn nearer by time, forgotten when the queue changes."""

from __future__ import annotations

import pytest

from inference.engine.estimates import WaitMemory, outlook_of_request
from inference.engine.pace import StepCurve
from inference.engine.ports import WorkBound
from inference.engine.settings import EngineSettings
from tests.inference_samples import VirtualEngine, noise_request


@pytest.fixture
def engine() -> VirtualEngine:
    """Two rows, and a queue of eight."""
    engine = VirtualEngine(EngineSettings(num_slots=2))
    for number in range(10):
        engine.submit(f"{number}")
    engine.step()
    return engine


def test_a_moment_later_the_wait_is_so_much_shorter(engine: VirtualEngine) -> None:
    """While nothing changes, the wait told is the first one less the time since, and then it is computed anew."""
    memory, request = WaitMemory(), noise_request("late")
    first = memory.wait_seconds(engine.core, request, engine.now)
    assert first == outlook_of_request(engine.core, request, engine.now)[0].starts_after_seconds
    assert first > 0.2
    assert memory.wait_seconds(engine.core, request, engine.now + 0.05) == pytest.approx(first - 0.05)
    engine.core.speed.start(StepCurve(base_seconds=1.0, row_seconds=1.0))
    assert memory.wait_seconds(engine.core, request, engine.now + 0.05) == pytest.approx(first - 0.05)
    assert memory.wait_seconds(engine.core, request, engine.now + 0.2) > 10.0 * first


def test_what_changes_the_queue_is_seen_at_once(engine: VirtualEngine) -> None:
    """A submission, an early end and another bound are each counted in the very next answer."""
    memory, request = WaitMemory(), noise_request("late")

    def told() -> float:
        wait_seconds = memory.wait_seconds(engine.core, request, engine.now)
        assert wait_seconds == outlook_of_request(engine.core, request, engine.now)[0].starts_after_seconds
        return wait_seconds

    first = told()
    for number in range(2):
        engine.submit(f"more-{number}")
    longer = told()
    assert longer > first
    for number in range(2):
        engine.core.give_up(f"more-{number}")
    engine.core.let_go(engine.now)
    assert told() == pytest.approx(first)
    engine.core.bound = WorkBound(duty_ratio=0.5)
    assert told() == pytest.approx(2.0 * first)
    engine.core.bound = WorkBound(duty_ratio=0.0)
    assert told() == float("inf")


def test_a_heavier_request_is_told_its_own_wait(engine: VirtualEngine) -> None:
    """Whoever goes before others is not told the wait of those."""
    memory = WaitMemory()
    light = memory.wait_seconds(engine.core, noise_request("light"), engine.now)
    heavy = memory.wait_seconds(engine.core, noise_request("heavy", tier="paid", priority_weight=100.0), engine.now)
    assert heavy < light
