"""What the front relies on in every engine: the same tests hold the stand-in and the real one to the seam.

The real engine runs here on a runner that needs no torch: it draws noise at a stated speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest

from inference.engine.engine import Engine
from inference.engine.errors import DrainingError, QueueFullError, UnsupportedPromptError, UnsupportedRequestError
from inference.engine.events import Admitted, Event, Finished, FinishedImage, PartialImage, Stopped, StopReason
from inference.engine.ports import GenerationHandle, ImageEngine, WorkBound
from inference.engine.requests import GenerationRequest, ImageSize
from inference.engine.settings import EngineSettings
from inference.runners.noise import NoiseRunner, noise_model
from inference.stepped.engine import SteppedEngine

WAIT_SECONDS = 20.0


def stepped() -> ImageEngine:
    return SteppedEngine(num_slots=2, tokens_per_second=2_000.0, max_queued_requests=4, max_queued_tokens=1_000)


def real() -> ImageEngine:
    settings = EngineSettings(num_slots=2, max_queued_requests=4, max_queued_tokens=1_000, warm_up_seconds=0.1)
    runner = NoiseRunner(num_rows=2, step_seconds=lambda num_rows: 0.001)
    return Engine(noise_model((8, 16)), lambda: runner, settings)


@pytest.fixture(params=[stepped, real])
def engine(request: pytest.FixtureRequest) -> Iterator[ImageEngine]:
    made = request.param()
    made.start()
    wait(lambda: made.snapshot().is_warm)
    yield made
    assert made.close(WAIT_SECONDS)


def wait(holds) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def asked(engine: ImageEngine, name: str, **changes: object) -> GenerationRequest:
    fields = {
        "conditioning": engine.prompts.read("draw a 7 in noise"),
        "size": engine.model.default_size,
        "seed": 1,
        **changes,
    }
    return GenerationRequest(request_id=name, **fields)


def events_of(handle: GenerationHandle) -> list[Event]:
    """Read a stream to its end."""
    found: list[Event] = []
    while not found or not isinstance(found[-1], Finished | Stopped):
        event = handle.next_event(WAIT_SECONDS)
        assert event is not None, "the stream did not end"
        found.append(event)
    return found


def test_a_stream_begins_with_a_slot_and_ends_once(engine: ImageEngine) -> None:
    """Admitted, partial images in order, the complete image, one end; and the codec paints what is there."""
    found = events_of(engine.submit(asked(engine, "a", num_partial_images=3)))
    kinds = [type(event) for event in found]
    assert kinds == [Admitted, PartialImage, PartialImage, PartialImage, FinishedImage, Finished]
    assert [event.partial_index for event in found if isinstance(event, PartialImage)] == [0, 1, 2]
    pictures = [event for event in found if isinstance(event, PartialImage | FinishedImage)]
    assert all(engine.codec.png(event.content).startswith(b"\x89PNG") for event in pictures)
    end = found[-1]
    assert isinstance(end, Finished)
    counts = end.counts
    assert (counts.num_images, counts.image_tokens) == (1, engine.model.tokens_by_size[engine.model.default_size])
    assert counts.admitted_at is not None and counts.first_token_at is not None and counts.ended_at is not None
    assert counts.submitted_at <= counts.admitted_at <= counts.first_token_at <= counts.ended_at


def test_a_seed_reproduces_images_in_any_company(engine: ImageEngine) -> None:
    """The same request gives the same images alone and in a batch."""

    def images(name: str) -> list[object]:
        found = events_of(engine.submit(asked(engine, name, num_images=2)))
        return [event.content for event in found if isinstance(event, FinishedImage)]

    alone = images("alone")
    engine.submit(asked(engine, "company", seed=9))
    assert images("together") == alone


def test_cancelling_frees_the_slot_and_ends_the_stream(engine: ImageEngine) -> None:
    """Given up, a request ends as cancelled, whether it ran or waited; twice is as good as once."""
    handles = [engine.submit(asked(engine, str(number), num_images=2)) for number in range(3)]
    for handle in handles:
        handle.cancel()
        handle.cancel()
        end = events_of(handle)[-1]
        assert isinstance(end, Stopped | Finished)
    wait(lambda: engine.snapshot().num_busy_slots == 0)
    snapshot = engine.snapshot()
    assert (snapshot.queued_tokens, snapshot.in_flight_tokens, snapshot.num_queued_requests) == (0, 0, 0)


def test_limits_of_the_queue_are_told(engine: ImageEngine) -> None:
    """Beyond its limits in requests or tokens the engine refuses, and nothing is started."""
    engine.set_bound(WorkBound(occupancy_ratio=0.0, duty_ratio=0.0))
    with pytest.raises(QueueFullError) as caught:
        for number in range(5):
            engine.submit(asked(engine, str(number)))
    assert (caught.value.limit, caught.value.maximum) == ("requests", 4)
    with pytest.raises(UnsupportedRequestError) as unsupported:
        engine.submit(asked(engine, "size", size=ImageSize(width=7, height=7)))
    assert unsupported.value.field == "size"
    with pytest.raises(UnsupportedPromptError):
        engine.prompts.read("a cat")


def test_a_bound_of_zero_stops_all_steps_and_waits_for_ever(engine: ImageEngine) -> None:
    """Nothing runs and every estimate is infinite until the bound is lifted; the heart beats on."""
    engine.set_bound(WorkBound(occupancy_ratio=0.0, duty_ratio=0.0))
    handle = engine.submit(asked(engine, "held"))
    assert engine.estimated_wait_seconds(asked(engine, "next")) == math.inf
    steps, beat = engine.snapshot().num_steps_total, engine.snapshot().heartbeat_at
    wait(lambda: engine.snapshot().heartbeat_at > beat)
    assert engine.snapshot().num_steps_total <= steps + 1
    engine.set_bound(WorkBound())
    assert isinstance(events_of(handle)[-1], Finished)


def test_estimates_grow_with_the_queue_and_shrink_with_weight(engine: ImageEngine) -> None:
    """A wait counts what goes before: more with more of it, less with a head start."""
    lone = asked(engine, "lone")
    assert engine.estimated_wait_seconds(lone) == pytest.approx(0.0, abs=0.05)
    for number in range(3):
        engine.submit(asked(engine, str(number), num_images=3))
    waits = engine.estimated_wait_seconds(lone)
    assert waits > 0.05
    assert engine.estimated_wait_seconds(asked(engine, "heavy", priority_weight=100.0)) < waits


def test_draining_finishes_or_hands_back(engine: ImageEngine) -> None:
    """After a drain began nothing is taken; what cannot finish in time ends as handed back."""
    handles = [engine.submit(asked(engine, str(number), num_images=3)) for number in range(3)]
    wait(lambda: engine.snapshot().num_busy_slots > 0)
    engine.begin_drain(time.monotonic() + 0.05)
    with pytest.raises(DrainingError):
        engine.submit(asked(engine, "late"))
    ends = [events_of(handle)[-1] for handle in handles]
    stopped = [end.reason for end in ends if isinstance(end, Stopped)]
    assert stopped and set(stopped) == {StopReason.DRAINING}
    wait(lambda: engine.snapshot().is_drained)


def test_a_deadline_ends_work_that_is_of_no_use(engine: ImageEngine) -> None:
    """Work past its deadline is given up wherever it stands."""
    engine.set_bound(WorkBound(occupancy_ratio=0.5, duty_ratio=0.05))
    end = events_of(engine.submit(asked(engine, "late", deadline_at=time.monotonic() + 0.05)))[-1]
    assert isinstance(end, Stopped) and end.reason is StopReason.DEADLINE
