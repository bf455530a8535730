"""The engine: one thread that admits, steps and emits; everything else may be called from any thread.

The lock guards the core's state and is never held while the runner works, so that a scrape or a submission waits for
microseconds and not for a step. The front constructs it through `inference.models.opening`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from inference.engine.core import EngineCore, StepWork
from inference.engine.errors import DrainingError, EngineFailedError
from inference.engine.estimates import WaitMemory, jobs_later_than, snapshot_of
from inference.engine.events import StopReason
from inference.engine.pace import pause_seconds
from inference.engine.ports import EngineSnapshot, GenerationHandle, ImageCodec, PromptReader, StepObserver, WorkBound
from inference.engine.requests import GenerationRequest, ModelDescription
from inference.engine.runner import DrawingModel, Runner
from inference.engine.settings import EngineSettings
from inference.engine.stream import EventStream
from inference.engine.warm_up import warm_up

log = structlog.get_logger(__name__)


class Engine:
    """Generates images on a runner; an `inference.engine.ports.ImageEngine`.

    Args:
        model: What is served.
        open_runner: Loads and checks the model; called in the engine's thread.
        settings: Bounds.
    """

    def __init__(self, model: DrawingModel, open_runner: Callable[[], Runner], settings: EngineSettings) -> None:
        self._model = model
        self._settings = settings
        self._open_runner = open_runner
        self._runner: Runner | None = None
        self._core = EngineCore(model, settings, self._read_tokens)
        self._waits = WaitMemory()
        self._observer: StepObserver | None = None
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_warm = False
        self._failure: str | None = None
        self._heartbeat_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def model(self) -> ModelDescription:
        """The model that it serves."""
        return self._model.description

    @property
    def prompts(self) -> PromptReader:
        """Reads prompts for that model."""
        return self._model.prompts

    @property
    def codec(self) -> ImageCodec:
        """Encodes what that model generates."""
        return self._model.codec

    # ------------------------------------------------------------------------------------------ from any thread

    def start(self) -> None:
        """Begin to load, check and warm up in the background; the snapshot says when that is done, or failed."""
        self._thread.start()

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request.

        Args:
            request: What to generate.

        Returns:
            Its handle.

        Raises:
            EngineFailedError: It broke.
            DrainingError: It is closed. Other refusals are those of `EngineCore.submit`.
        """
        stream = EventStream(request, self._cancel)
        with self._changed:
            if self._failure is not None:
                raise EngineFailedError(self._failure)
            if self._is_closing:
                raise DrainingError("the server has stopped")
            self._core.submit(request, stream, time.monotonic())
            self._changed.notify_all()
        return stream

    def _cancel(self, request_id: str) -> None:
        with self._changed:
            self._core.give_up(request_id)
            self._changed.notify_all()

    def estimated_wait_seconds(self, request: GenerationRequest) -> float:
        """Return how long the request's first image would wait for a slot, if it were submitted now."""
        with self._changed:
            return self._waits.wait_seconds(self._core, request, time.monotonic())

    def set_bound(self, bound: WorkBound) -> None:
        """Bound the work from the next step on; the last one holds."""
        with self._changed:
            self._core.bound = bound
            self._changed.notify_all()

    def set_observer(self, observer: StepObserver | None) -> None:
        """Report every step to this observer from now on."""
        self._observer = observer

    def begin_drain(self, deadline_at: float) -> None:
        """Take no more requests, and finish what is there until a monotonic time."""
        now = time.monotonic()
        with self._changed:
            core = self._core
            core.drain_at = deadline_at if core.drain_at is None else min(core.drain_at, deadline_at)
            for job in jobs_later_than(core, core.drain_at, now):
                core.stop(job, StopReason.DRAINING, now)
            self._changed.notify_all()

    def snapshot(self) -> EngineSnapshot:
        """Return the state now; cheap enough for every scrape and every admission."""
        with self._changed:
            return replace(
                snapshot_of(self._core, time.monotonic()),
                is_warm=self._is_warm and self._failure is None,
                failure=self._failure,
                heartbeat_at=self._heartbeat_at,
            )

    def close(self, timeout_seconds: float) -> bool:
        """Stop everything and wait; False if it did not stop in time."""
        with self._changed:
            self._is_closing = True
            self._core.stop_all(StopReason.CANCELLED, time.monotonic(), "the server stopped")
            self._changed.notify_all()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    # ------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            runner = self._open_runner()
            self._runner = runner
            curve = warm_up(runner, self._model, self._settings)
            with self._changed:
                self._core.speed.start(curve)
                self._is_warm = True
            log.info("engine.warmed", num_slots=self._settings.num_slots, step_seconds=curve.seconds(1))
            while not self._is_closing:
                self._round(runner)
        # Whatever breaks here, everybody who waits has to be told, and liveness has to see it.
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = f"{type(error).__name__}: {error}"
            self._core.stop_all(StopReason.ERROR, time.monotonic(), "the engine failed")
        # Last, so that a log that cannot be written keeps nobody waiting.
        log.error("engine.failed", exc_info=error)

    def _round(self, runner: Runner) -> None:
        """Admit, step, emit; then rest as long as the bound asks, or until something comes."""
        with self._changed:
            started_at = self._heartbeat_at = time.monotonic()
            work = self._core.begin_step(started_at)
        self._step(runner, work)
        with self._changed:
            ended_at = time.monotonic()
            report = self._core.end_step(work, started_at=started_at, now=ended_at)
            if report is None:
                if not self._is_closing:
                    self._changed.wait(self._settings.idle_seconds)
                return
        observer = self._observer
        if observer is not None:
            observer.step_finished(report)
        if work.duty_ratio < 1.0:
            self._rest(pause_seconds(report.step_seconds, work.duty_ratio))

    def _step(self, runner: Runner, work: StepWork) -> None:
        for move in work.moves:
            runner.move(move)
        for conditional_row, unconditional_row in work.pairs:
            runner.pair(conditional_row, unconditional_row)
        for start in work.starts:
            runner.place(start)
        if work.num_rows:
            runner.step(work.num_rows)

    def _rest(self, seconds: float) -> None:
        """Pause, but let go of what is cancelled, and notice a bound that changes."""
        until = time.monotonic() + seconds
        bound = self._core.bound
        with self._changed:
            while not self._is_closing and self._core.bound == bound:
                self._heartbeat_at = time.monotonic()
                remaining_seconds = until - self._heartbeat_at
                if remaining_seconds <= 0.0:
                    return
                self._changed.wait(min(remaining_seconds, self._settings.idle_seconds))
                self._core.let_go(time.monotonic())

    def _read_tokens(self, row: int, num_tokens: int) -> tuple[int, ...]:
        assert self._runner is not None, "an image was drawn before the runner was opened"
        return self._runner.tokens(row, num_tokens)
