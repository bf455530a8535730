"""The engine with its thread: warm-up, waiting, cancelling, draining, breaking, closing."""

import asyncio
import threading
import time

import pytest

from inference.engine.engine import Engine
from inference.engine.errors import DrainingError, EngineFailedError
from inference.engine.events import Event, Finished, FinishedImage, Stopped, StopReason, TokenImage
from inference.engine.ports import EngineSnapshot, ImageEngine, StepReport, WorkBound
from inference.engine.requests import Conditioning
from inference.engine.settings import EngineSettings
from inference.runners.noise import NoiseRunner, noise_model, noise_tokens
from tests.inference_samples import LARGE, noise_request

PATIENCE_SECONDS = 20.0


def _engine(num_slots: int = 4, runner: NoiseRunner | None = None) -> Engine:
    made = runner or NoiseRunner(num_rows=num_slots)
    settings = EngineSettings(num_slots=num_slots, warm_up_seconds=0.05, idle_seconds=0.01)
    engine = Engine(noise_model((4, 8)), lambda: made, settings)
    engine.start()
    return engine


def _until(engine: ImageEngine, holds: object) -> EngineSnapshot:
    """Wait for a state of the engine."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        snapshot = engine.snapshot()
        if holds(snapshot):  # type: ignore[operator]
            return snapshot
        time.sleep(0.005)
    raise AssertionError(f"never came true: {engine.snapshot()}")


def _last(handle: object) -> Event:
    """Read a stream to its end."""
    while True:
        event = handle.next_event(PATIENCE_SECONDS)  # type: ignore[attr-defined]
        assert event is not None, "a stream did not end"
        if isinstance(event, Finished | Stopped):
            return event


@pytest.fixture
def held() -> threading.Event:
    """While it is not set, steps of a held runner do not end."""
    return threading.Event()


def _held_runner(held: threading.Event) -> NoiseRunner:
    is_warm = {"steps": 0}

    def wait(seconds: float) -> None:
        is_warm["steps"] += 1
        # The warm-up's steps pass; those of requests wait.
        if is_warm["steps"] > 2 * LARGE.width * LARGE.height:
            held.wait(PATIENCE_SECONDS)

    return NoiseRunner(num_rows=4, step_seconds=lambda num_rows: 1e-6, sleep=wait)


def test_many_clients_get_their_own_images() -> None:
    """Requests from many threads and event loops at once each end once, with the image of their seed."""
    engine = _engine(num_slots=7)

    async def ask(name: str) -> None:
        request = noise_request(name, num_images=2)
        events = [event async for event in engine.submit(request).events()]
        assert isinstance(events[-1], Finished)
        images = [event for event in events if isinstance(event, FinishedImage)]
        for image in images:
            assert isinstance(image.content, TokenImage)
            assert image.content.tokens == noise_tokens(request.seed, image.image_index, 16)
        assert len(images) == 2

    async def ask_all(thread: int) -> None:
        await asyncio.gather(*(ask(f"{thread}-{number}") for number in range(20)))

    threads = [threading.Thread(target=lambda number=number: asyncio.run(ask_all(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    snapshot = engine.snapshot()
    assert (snapshot.image_tokens_total, snapshot.num_busy_slots) == (4 * 20 * 2 * 16, 0)
    assert engine.close(PATIENCE_SECONDS)


def test_warm_engine_tells_its_speed_and_beats() -> None:
    """A warm engine knows its capacity, and its heartbeat goes on while it has nothing to do."""
    engine = _engine()
    first = _until(engine, lambda state: state.is_warm)
    assert first.capacity_tokens_per_second > 0.0
    _until(engine, lambda state: state.heartbeat_at > first.heartbeat_at)
    assert engine.close(PATIENCE_SECONDS)


def test_bound_of_zero_holds_and_lets_go() -> None:
    """At zero no step is made while the heart beats and clients may cancel; when it rises, work goes on at once."""
    engine = _engine()
    _until(engine, lambda state: state.is_warm)
    engine.set_bound(WorkBound(duty_ratio=0.0))
    kept, gone = engine.submit(noise_request("kept")), engine.submit(noise_request("gone"))
    before = engine.snapshot()
    assert engine.estimated_wait_seconds(noise_request("next")) == float("inf")
    gone.cancel()
    end = _last(gone)
    assert isinstance(end, Stopped)
    assert end.reason is StopReason.CANCELLED
    after = _until(engine, lambda state: state.heartbeat_at > before.heartbeat_at)
    assert after.num_steps_total == 0
    engine.set_bound(WorkBound())
    assert isinstance(_last(kept), Finished)
    assert engine.close(PATIENCE_SECONDS)


def test_a_step_that_hangs_shows_in_the_heartbeat_and_holds_up_nobody(held: threading.Event) -> None:
    """While a step hangs the heartbeat stands still, yet snapshots, submissions and cancellations return."""
    engine = _engine(runner=_held_runner(held))
    _until(engine, lambda state: state.is_warm)
    handle = engine.submit(noise_request("a"))
    stuck = _until(engine, lambda state: state.num_busy_slots == 1)
    engine.submit(noise_request("b"))
    handle.cancel()
    assert engine.snapshot().num_queued_requests == 1
    time.sleep(0.05)
    assert engine.snapshot().heartbeat_at == stuck.heartbeat_at
    held.set()
    assert isinstance(_last(handle), Stopped)
    assert engine.close(PATIENCE_SECONDS)


def test_drain_finishes_what_runs_and_takes_no_more() -> None:
    """After the drain begins nothing is admitted, what there is ends well, and the engine says that it is done."""
    engine = _engine()
    _until(engine, lambda state: state.is_warm)
    handles = [engine.submit(noise_request(f"{number}")) for number in range(10)]
    engine.begin_drain(time.monotonic() + PATIENCE_SECONDS)
    with pytest.raises(DrainingError):
        engine.submit(noise_request("late"))
    assert all(isinstance(_last(handle), Finished) for handle in handles)
    assert _until(engine, lambda state: state.is_drained).is_draining
    assert engine.close(PATIENCE_SECONDS)


class _Broken(NoiseRunner):
    def step(self, num_rows: int) -> None:
        """Fail when the first request is there."""
        if self._rows[0].start.prompt_tokens == (7,):
            raise RuntimeError("device lost")
        super().step(num_rows)


def test_a_broken_engine_tells_everybody() -> None:
    """When the runner fails, every request ends with the reason, and new ones are refused with it."""
    engine = _engine(runner=_Broken(num_rows=4))
    _until(engine, lambda state: state.is_warm)
    handle = engine.submit(noise_request("a", conditioning=Conditioning(tokens=(7,))))
    end = _last(handle)
    assert isinstance(end, Stopped)
    assert end.reason is StopReason.ERROR
    assert engine.snapshot().failure == "RuntimeError: device lost"
    assert not engine.snapshot().is_warm
    with pytest.raises(EngineFailedError, match="device lost"):
        engine.submit(noise_request("b"))
    assert engine.close(PATIENCE_SECONDS)


def test_a_model_that_cannot_be_opened_is_a_failure_not_a_hang() -> None:
    """An error while loading shows in the snapshot, so that readiness and liveness can tell."""

    def fail() -> NoiseRunner:
        raise OSError("no weights")

    engine = Engine(noise_model(), fail, EngineSettings())
    engine.start()
    assert "no weights" in str(_until(engine, lambda state: state.failure is not None).failure)
    assert engine.close(PATIENCE_SECONDS)


def test_closing_ends_every_stream(held: threading.Event) -> None:
    """An engine that is closed in the middle leaves no reader waiting."""
    engine = _engine(runner=_held_runner(held))
    _until(engine, lambda state: state.is_warm)
    handles = [engine.submit(noise_request(f"{number}")) for number in range(6)]
    _until(engine, lambda state: state.num_busy_slots == 4)
    held.set()
    assert engine.close(PATIENCE_SECONDS)
    assert all(isinstance(_last(handle), Finished | Stopped) for handle in handles)


class _Reports:
    def __init__(self) -> None:
        self.seen: list[StepReport] = []

    def step_finished(self, report: StepReport) -> None:
        """Keep it."""
        self.seen.append(report)


def test_observer_sees_every_token_once() -> None:
    """The step reports add up to the tokens drawn, with one first token for each image."""
    engine = _engine()
    reports = _Reports()
    engine.set_observer(reports)
    assert isinstance(_last(engine.submit(noise_request("a", num_images=3))), Finished)
    _until(engine, lambda state: sum(report.num_new_tokens for report in reports.seen) == 48)
    assert sum(report.num_first_tokens for report in reports.seen) == 3
    assert engine.close(PATIENCE_SECONDS)


def test_a_closed_engine_takes_nothing() -> None:
    """After it is closed an engine refuses what comes, so that nobody waits for a stream that never ends."""
    engine = _engine()
    assert engine.close(PATIENCE_SECONDS)
    with pytest.raises(DrainingError):
        engine.submit(noise_request("late"))


def test_draining_before_the_model_is_there_hands_everything_back(held: threading.Event) -> None:
    """A pod that is stopped while it loads gives its queue back at once instead of at the end of the grace."""

    def load() -> NoiseRunner:
        held.wait(PATIENCE_SECONDS)
        return NoiseRunner(num_rows=4)

    engine = Engine(noise_model(), load, EngineSettings(num_slots=4, warm_up_seconds=0.05))
    engine.start()
    handle = engine.submit(noise_request("a", size=LARGE))
    engine.begin_drain(time.monotonic() + PATIENCE_SECONDS)
    end = _last(handle)
    assert isinstance(end, Stopped)
    assert end.reason is StopReason.DRAINING
    held.set()
    assert engine.close(PATIENCE_SECONDS)


def test_a_small_duty_is_kept() -> None:
    """At a twentieth of the time the steps of many images take a twentieth of the time, or less."""
    runner = NoiseRunner(num_rows=4, step_seconds=lambda num_rows: 0.002)
    engine = _engine(runner=runner)
    before = _until(engine, lambda state: state.is_warm)
    engine.set_bound(WorkBound(duty_ratio=0.05))
    handle = engine.submit(noise_request("a"))
    assert isinstance(_last(handle), Finished)
    after = engine.snapshot()
    busy_seconds = after.busy_seconds_total - before.busy_seconds_total
    # The pause after the last step may still be under way.
    assert busy_seconds <= 0.05 * (after.taken_at - before.taken_at) * 16 / 15 + 0.02
    assert engine.close(PATIENCE_SECONDS)
