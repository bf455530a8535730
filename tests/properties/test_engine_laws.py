"""Laws of the engine in virtual time, whatever comes in whatever order."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.errors import QueueFullError
from inference.engine.estimates import outlook_of_request, snapshot_of
from inference.engine.events import Finished, FinishedImage, PartialImage, Stopped, TokenImage
from inference.engine.ports import WorkBound
from inference.engine.requests import Sampling
from inference.engine.settings import EngineSettings
from inference.runners.noise import noise_tokens
from tests.inference_samples import GUIDED, LARGE, SMALL, VirtualEngine, noise_request

requests = st.fixed_dictionaries(
    {
        "size": st.sampled_from([SMALL, LARGE]),
        "num_images": st.integers(1, 3),
        "sampling": st.sampled_from([Sampling(), GUIDED]),
        "tier": st.sampled_from(["free", "paid"]),
        "priority_weight": st.sampled_from([0.0, 1.0]),
        "num_partial_images": st.integers(0, 3),
    }
)
settings = st.builds(
    EngineSettings,
    num_slots=st.integers(4, 7),
    reserved_slots=st.sampled_from([{}, {"paid": 1}, {"paid": 2}]),
    max_queued_requests=st.just(20),
    max_queued_tokens=st.just(2000),
)


@given(settings, st.data())
def test_every_request_ends_once_with_its_own_pixels(engine_settings: EngineSettings, data: st.DataObject) -> None:
    """Under arrivals, cancellations and bounds: one end each, every image right, tokens add up, and nothing is left."""
    engine = VirtualEngine(engine_settings)
    submitted: dict[str, int] = {}
    refused = 0
    for number in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["submit", "submit", "step", "step", "cancel", "bound"]))
        if action == "submit":
            try:
                submitted[f"{number}"] = engine.submit(f"{number}", **data.draw(requests)).seed
            except QueueFullError:
                refused += 1
        elif action == "step":
            for _ in range(data.draw(st.integers(1, 20))):
                engine.step()
        elif action == "cancel" and engine.core.jobs:
            engine.streams[data.draw(st.sampled_from(sorted(engine.core.jobs)))].cancel()
        elif action == "bound":
            engine.core.bound = WorkBound(occupancy_ratio=data.draw(st.sampled_from([0.0, 0.3, 1.0])))
    engine.core.bound = WorkBound()
    engine.run()
    tokens = 0
    for name, seed in submitted.items():
        events = engine.events(name)
        ends = [event for event in events if isinstance(event, Finished | Stopped)]
        assert ends == [events[-1]]
        tokens += ends[0].counts.image_tokens
        for event in events:
            if isinstance(event, FinishedImage | PartialImage):
                assert isinstance(event.content, TokenImage)
                drawn = event.content.tokens
                assert drawn == noise_tokens(seed, event.image_index, len(drawn))
    assert tokens == engine.core.totals.image_tokens
    left = snapshot_of(engine.core, engine.now)
    assert (left.num_busy_slots, left.num_queued_images, left.queued_tokens, left.in_flight_tokens) == (0, 0, 0, 0)


@given(settings, st.lists(requests, min_size=1, max_size=12), st.sampled_from([1.0, 0.5, 0.2]))
def test_wait_that_was_told_is_the_wait_that_came(
    engine_settings: EngineSettings, arrivals: list[dict[str, object]], occupancy: float
) -> None:
    """With nothing later to overtake or to leave, told wait and finish are exact, guard and reservations included."""
    engine = VirtualEngine(engine_settings)
    engine.core.bound = WorkBound(occupancy_ratio=occupancy)
    for number, changes in enumerate(arrivals):
        # The same weight for all: what comes later does not overtake.
        engine.submit(f"{number}", **changes | {"priority_weight": 0.0})
        engine.step()
    last = noise_request("last", size=LARGE)
    first_image, last_image = outlook_of_request(engine.core, last, engine.now)
    submitted_at = engine.now
    engine.submit("last", size=LARGE)
    engine.run()
    end = engine.events("last")[-1]
    assert isinstance(end, Finished)
    assert end.counts.admitted_at is not None
    assert end.counts.ended_at is not None
    assert end.counts.admitted_at - submitted_at == pytest.approx(first_image.starts_after_seconds, rel=0.05, abs=0.01)
    assert end.counts.ended_at - submitted_at == pytest.approx(last_image.ends_after_seconds, rel=0.05, abs=0.02)


@given(st.sampled_from([0.05, 0.3, 0.7]), st.integers(1, 10))
def test_work_over_time_stays_within_the_bound(occupancy: float, num_requests: int) -> None:
    """Row-seconds of steps over any busy stretch stay within the bound, once images from before it have ended."""
    engine = VirtualEngine(EngineSettings(num_slots=8))
    engine.core.bound = WorkBound(occupancy_ratio=occupancy)
    for number in range(num_requests):
        engine.submit(f"{number}")
    engine.run()
    assert engine.busy_row_seconds <= occupancy * 8 * engine.now * (1 + 1e-9)


def _order(weights: list[float], submit: Callable[[VirtualEngine, int, float], None]) -> list[int]:
    engine = VirtualEngine(EngineSettings(num_slots=2, seconds_per_weight=30.0))
    for number, weight in enumerate(weights):
        submit(engine, number, weight)
    engine.run()
    starts = {}
    for number in range(len(weights)):
        end = engine.events(f"{number}")[-1]
        assert isinstance(end, Finished)
        assert end.counts.admitted_at is not None
        starts[number] = end.counts.admitted_at
    return sorted(starts, key=lambda number: (starts[number], number))


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=10))
def test_heavier_goes_first_among_what_came_together(weights: list[float]) -> None:
    """What arrives together goes by weight, and by arrival among equals."""

    def submit(engine: VirtualEngine, number: int, weight: float) -> None:
        # Guided, so that two rows hold one image.
        engine.submit(f"{number}", priority_weight=weight, sampling=GUIDED)

    assert _order(weights, submit) == sorted(range(len(weights)), key=lambda number: (-weights[number], number))
