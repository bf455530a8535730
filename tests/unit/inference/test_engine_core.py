"""One request's way through the engine: admission, partial images, ends of every kind, limits and bounds."""

import pytest

from inference.engine.core import DEADLINES_PER_JOB
from inference.engine.errors import DrainingError, QueueFullError, QueueLimit, UnsupportedRequestError
from inference.engine.estimates import jobs_later_than, outlook_of_request, snapshot_of
from inference.engine.events import (
    Admitted,
    Finished,
    FinishedImage,
    PartialImage,
    Progress,
    Stopped,
    StopReason,
    TokenImage,
)
from inference.engine.ports import WorkBound
from inference.engine.requests import Conditioning, ImageSize, Sampling
from inference.engine.settings import EngineSettings
from inference.runners.noise import noise_tokens
from tests.inference_samples import CURVE, GUIDED, LARGE, SMALL, VirtualEngine, noise_request


def test_events_of_one_image_come_in_order() -> None:
    """Admitted, partial images that end with a row, the image, the end; contents are what the runner drew."""
    engine = VirtualEngine()
    request = engine.submit("a", num_partial_images=3)
    assert engine.run() == 16
    admitted, *partials, image, end = engine.events("a")
    assert isinstance(admitted, Admitted)
    assert [type(event) for event in partials] == [PartialImage] * 3
    drawn = noise_tokens(request.seed, 0, 16)
    assert [event.content for event in partials if isinstance(event, PartialImage)] == [
        TokenImage(tokens=drawn[:count], size=SMALL) for count in (4, 8, 12)
    ]
    assert image == FinishedImage(image_index=0, content=TokenImage(tokens=drawn, size=SMALL))
    assert isinstance(end, Finished)
    assert (end.counts.prompt_tokens, end.counts.image_tokens, end.counts.num_images) == (1, 16, 1)
    assert end.counts.first_token_at == pytest.approx(CURVE.seconds(1))
    assert end.counts.ended_at == pytest.approx(16 * CURVE.seconds(1))


def test_progress_comes_with_every_row_of_an_image() -> None:
    """A request with progress hears of every finished row, counted over all of its images."""
    engine = VirtualEngine()
    engine.submit("a", num_images=2, with_progress=True)
    seen = []
    for _ in range(16):
        engine.step()
        seen += [event for event in engine.events("a") if isinstance(event, Progress)]
    assert seen[-1] == Progress(image_tokens_done=32, image_tokens=32)
    assert len(seen) == 4


def test_images_of_a_request_differ() -> None:
    """The images of one request have random numbers of their own."""
    engine = VirtualEngine()
    engine.submit("a", num_images=3)
    engine.run()
    contents = [event.content for event in engine.events("a") if isinstance(event, FinishedImage)]
    assert len(set(contents)) == 3


def test_cancelled_request_is_gone_before_the_next_step() -> None:
    """Cancelling frees the rows within one step, ends the stream, and counts what was drawn in vain."""
    engine = VirtualEngine()
    engine.submit("a")
    engine.submit("b")
    for _ in range(3):
        engine.step()
    engine.streams["a"].cancel()
    engine.streams["a"].cancel()
    assert engine.step() == 1
    end = engine.events("a")[-1]
    assert isinstance(end, Stopped)
    assert (end.reason, end.counts.image_tokens) == (StopReason.CANCELLED, 3)
    assert engine.core.totals.cancelled_tokens == 3
    engine.run()
    assert isinstance(engine.events("b")[-1], Finished)


def test_everything_is_free_after_a_mass_cancellation() -> None:
    """When every client goes at once, nothing waits, nothing runs and no token is counted as queued."""
    engine = VirtualEngine()
    for number in range(50):
        engine.submit(f"{number}", num_images=1 + number % 3, sampling=GUIDED if number % 2 else Sampling())
    engine.step()
    for stream in engine.streams.values():
        stream.cancel()
    assert engine.step() == 0
    snapshot = snapshot_of(engine.core, engine.now)
    assert (snapshot.num_busy_slots, snapshot.num_queued_requests, snapshot.queued_tokens) == (0, 0, 0)
    assert (snapshot.in_flight_tokens, snapshot.kv_cache_usage_ratio, snapshot.batch_size) == (0, 0.0, 0)


def test_work_that_is_too_late_is_given_up_wherever_it_stands() -> None:
    """A deadline ends a running request as well as a waiting one; work without one goes on."""
    engine = VirtualEngine(EngineSettings(num_slots=2))
    soon = 3.5 * CURVE.seconds(2)
    engine.submit("running", deadline_at=soon)
    engine.submit("patient")
    engine.submit("waiting", deadline_at=soon)
    engine.run()
    for name, tokens in (("running", 4), ("waiting", 0)):
        end = engine.events(name)[-1]
        assert isinstance(end, Stopped)
        assert (end.reason, end.counts.image_tokens) == (StopReason.DEADLINE, tokens)
    assert isinstance(engine.events("patient")[-1], Finished)


def test_an_id_that_is_used_again_has_a_deadline_of_its_own() -> None:
    """The deadline of a request that has ended does not end a later one of the same id."""
    engine = VirtualEngine()
    engine.submit("a", deadline_at=17 * CURVE.seconds(1))
    engine.run()
    engine.submit("a", deadline_at=1e9)
    engine.run()
    assert isinstance(engine.events("a")[-1], Finished)


def test_deadlines_of_what_has_ended_are_forgotten() -> None:
    """A long-running engine does not remember the far deadline of every request that it ever finished."""
    engine = VirtualEngine()
    for number in range(200):
        engine.submit(f"{number}", deadline_at=1e9)
        engine.run()
    assert len(engine.core._deadlines) <= 2 * DEADLINES_PER_JOB


def test_queue_is_bounded_in_requests_and_in_tokens() -> None:
    """Each limit refuses what exceeds it and says which one it is; one request alone is always taken."""
    engine = VirtualEngine(EngineSettings(num_slots=2, max_queued_requests=3, max_queued_tokens=64))
    engine.submit("large", size=LARGE, num_images=4)
    with pytest.raises(QueueFullError) as tokens:
        engine.submit("b")
    assert (tokens.value.limit, tokens.value.maximum, tokens.value.queued) == (QueueLimit.TOKENS, 64, 256)
    engine.core.give_up("large")
    engine.step()
    for number in range(3):
        engine.submit(f"{number}")
    with pytest.raises(QueueFullError) as requests:
        engine.submit("c")
    assert (requests.value.limit, requests.value.maximum) == (QueueLimit.REQUESTS, 3)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"size": ImageSize(width=5, height=5)}, "size"),
        ({"num_images": 0}, "n"),
        ({"num_images": 11}, "n"),
        ({"num_partial_images": 4}, "partial_images"),
        ({"sampling": Sampling(temperature=-1.0)}, "temperature"),
        ({"sampling": Sampling(temperature=float("nan"))}, "temperature"),
        ({"sampling": Sampling(temperature=1e-300)}, "temperature"),
        ({"sampling": Sampling(top_k=0)}, "top_k"),
        ({"sampling": Sampling(top_k=2**70)}, "top_k"),
        ({"sampling": Sampling(guidance_scale=0.5)}, "guidance_scale"),
        ({"sampling": Sampling(guidance_scale=11.0)}, "guidance_scale"),
        ({"conditioning": Conditioning()}, "prompt"),
        ({"priority_weight": -1.0}, "priority_weight"),
        ({"priority_weight": float("nan")}, "priority_weight"),
        ({"deadline_at": float("nan")}, "deadline_at"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    """A request outside of what the model can do is refused before it is queued, and the field is named."""
    engine = VirtualEngine()
    with pytest.raises(UnsupportedRequestError) as refused:
        engine.submit("a", **changes)
    assert refused.value.field == field
    assert not engine.core.jobs


def test_drain_takes_nothing_more_and_hands_the_rest_back() -> None:
    """Draining refuses new work, hands back at once what cannot finish in time, and finishes the rest."""
    engine = VirtualEngine(EngineSettings(num_slots=2))
    for name in ("a", "b", "c", "d"):
        engine.submit(name)
    engine.step()
    engine.core.drain_at = engine.now + 20 * CURVE.seconds(2)
    for job in jobs_later_than(engine.core, engine.core.drain_at, engine.now):
        engine.core.stop(job, StopReason.DRAINING, engine.now)
    with pytest.raises(DrainingError):
        engine.submit("e")
    ends = {name: engine.events(name)[-1] for name in ("c", "d")}
    assert {type(end) for end in ends.values()} == {Stopped}
    engine.run()
    assert all(isinstance(engine.events(name)[-1], Finished) for name in ("a", "b"))
    assert snapshot_of(engine.core, engine.now).is_drained


def test_drain_ends_at_its_deadline() -> None:
    """What still runs when the grace is over is handed back."""
    engine = VirtualEngine()
    engine.submit("a")
    engine.step()
    engine.core.drain_at = engine.now + 2 * CURVE.seconds(1)
    engine.run()
    end = engine.events("a")[-1]
    assert isinstance(end, Stopped)
    assert end.reason is StopReason.DRAINING


def test_bound_of_zero_stops_steps_but_not_cancellation() -> None:
    """At zero nothing is drawn, yet clients that go are let go, and work goes on when the bound rises."""
    engine = VirtualEngine()
    engine.submit("a")
    engine.submit("b")
    engine.step()
    engine.core.bound = WorkBound(occupancy_ratio=0.0)
    assert engine.step() == 0
    engine.streams["a"].cancel()
    assert engine.step() == 0
    assert isinstance(engine.events("a")[-1], Stopped)
    engine.core.bound = WorkBound()
    engine.run()
    assert isinstance(engine.events("b")[-1], Finished)


def test_bound_never_takes_a_slot_away() -> None:
    """A lower bound lets running images finish, slower, and admits nothing until fewer run than it allows."""
    engine = VirtualEngine(EngineSettings(num_slots=4))
    for number in range(8):
        engine.submit(f"{number}")
    engine.step()
    engine.core.bound = WorkBound(occupancy_ratio=0.5)
    began_at = engine.now
    assert [engine.step() for _ in range(15)] == [4] * 15
    assert engine.now - began_at == pytest.approx(15 * CURVE.seconds(4) / 0.5)
    assert engine.step() == 2


def test_reserved_slots_stay_free_for_their_tier() -> None:
    """With two slots reserved for paid work, free work takes two of four, and paid work starts at once."""
    engine = VirtualEngine(EngineSettings(num_slots=4, reserved_slots={"paid": 2}))
    for number in range(6):
        engine.submit(f"free {number}")
    assert engine.step() == 2
    paid = noise_request("paid", tier="paid")
    assert outlook_of_request(engine.core, paid, engine.now)[0].starts_after_seconds == 0.0
    engine.submit("paid", tier="paid")
    assert engine.step() == 3


def test_snapshot_says_what_is_there() -> None:
    """Slots, requests, tokens and ages of a snapshot are those of the moment."""
    engine = VirtualEngine(EngineSettings(num_slots=4))
    engine.submit("guided", sampling=GUIDED)
    engine.submit("pair", num_images=2)
    engine.submit("waits", size=LARGE, tier="paid")
    engine.now = 5.0
    for _ in range(3):
        engine.step()
    found = snapshot_of(engine.core, engine.now)
    assert (found.num_slots, found.num_busy_slots, found.batch_size) == (4, 4, 4)
    assert (found.num_running_requests, found.num_queued_requests, found.num_queued_images) == (2, 1, 1)
    assert (found.queued_tokens, found.queued_tokens_by_tier) == (64, {"free": 0, "paid": 64})
    assert found.in_flight_tokens == 3 * 13
    assert found.oldest_queued_age_seconds == pytest.approx(engine.now)
    assert found.image_tokens_total == 9
    assert found.num_steps_total == 3
    assert found.busy_seconds_total == pytest.approx(3 * CURVE.seconds(4))
    assert found.capacity_tokens_per_second == pytest.approx(4 / CURVE.seconds(4))


def test_inter_token_time_is_from_step_to_step() -> None:
    """The report of a step counts pauses between steps, but not the idle time before the first one."""
    engine = VirtualEngine()
    engine.now = 100.0
    engine.submit("a")
    engine.core.bound = WorkBound(duty_ratio=0.25)
    gaps = []
    for _ in range(3):
        started_at = engine.now
        work = engine.core.begin_step(started_at)
        for start in work.starts:
            engine.runner.place(start)
        engine.runner.step(work.num_rows)
        report = engine.core.end_step(work, started_at=started_at, now=started_at + 0.01)
        assert report is not None
        gaps.append((report.num_new_tokens, report.num_first_tokens, round(report.inter_token_seconds, 6)))
        engine.now = started_at + 0.04
    assert gaps == [(1, 1, 0.01), (1, 0, 0.04), (1, 0, 0.04)]
