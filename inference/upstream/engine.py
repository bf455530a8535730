"""An image server behind our front, as an engine: our queue, priorities, limits, drain and waits; its pictures.

One thread runs an event loop. Where our own engine has rows of a batch, this has calls under way: an image is admitted
into a row, called for, and delivered. How far a call has come is not known, so the work left is told from how long
images took lately. The thermal guard bounds how many calls run at a time; it cannot slow a call down.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import aiohttp
import structlog

from inference.engine.core import EngineCore
from inference.engine.errors import DrainingError, EngineFailedError
from inference.engine.estimates import WaitMemory, jobs_later_than, snapshot_of
from inference.engine.events import EncodedImage, ImageContent, StopReason
from inference.engine.pace import StepCurve
from inference.engine.ports import EngineSnapshot, GenerationHandle, ImageCodec, PromptReader, StepObserver, WorkBound
from inference.engine.requests import Conditioning, GenerationRequest, ImageSize, ModelDescription
from inference.engine.runner import DrawingModel
from inference.engine.settings import EngineSettings
from inference.engine.stream import EventStream
from inference.engine.work import ImageTask
from inference.upstream.client import UpstreamClient, UpstreamError, UpstreamSettings

DEFAULT_TOKENS_BY_SIZE: Mapping[ImageSize, int] = {
    ImageSize(width=1024, height=1024): 4096,
    ImageSize(width=512, height=512): 1024,
    ImageSize(width=256, height=256): 256,
}
"""Sizes that may be asked for, and what each weighs: one token for 16x16 pixels, as most image tokenizers have it."""
FIRST_IMAGE_SECONDS = 30.0
"""How long the largest image is taken to last until one was seen."""
SPEED_IMAGES = 8.0
"""Images over which the speed is averaged."""

log = structlog.get_logger(__name__)


class _AsItCame:
    """The codec of images that are encoded already."""

    def png(self, content: ImageContent) -> bytes:
        """Return the file as the server sent it."""
        assert isinstance(content, EncodedImage), "a server behind us sends encoded images"
        return content.data


class _AnyPrompt:
    """Understands every prompt: the server behind us decides what it makes of it."""

    def read(self, prompt: str) -> Conditioning:
        """Return the prompt as it is."""
        return Conditioning(tokens=(0,), text=prompt)


class UpstreamEngine:
    """Has images drawn by a server; an `inference.engine.ports.ImageEngine`.

    Args:
        upstream: The server.
        settings: Bounds; ``num_slots`` is how many images it is asked for at a time.
        tokens_by_size: What may be asked for; the first is the default.
    """

    def __init__(
        self,
        upstream: UpstreamSettings,
        settings: EngineSettings,
        tokens_by_size: Mapping[ImageSize, int] = DEFAULT_TOKENS_BY_SIZE,
    ) -> None:
        self._upstream = upstream
        description = ModelDescription(
            name=upstream.model or "upstream",
            draws="whatever the server behind this one draws",
            tokens_by_size=tokens_by_size,
            default_size=next(iter(tokens_by_size)),
            can_seed=False,
        )
        columns = {size: max(1, round(count**0.5)) for size, count in tokens_by_size.items()}
        drawing = DrawingModel(
            description=description, prompts=_AnyPrompt(), codec=_AsItCame(), columns_by_size=columns
        )
        self._model = drawing
        self._settings = settings
        self._core = EngineCore(drawing, settings, lambda row, num_tokens: ())
        self._waits = WaitMemory()
        self._token_seconds = FIRST_IMAGE_SECONDS / max(tokens_by_size.values())
        self._began_at: dict[ImageTask, float] = {}
        self._calls: dict[ImageTask, asyncio.Task[None]] = {}
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._model_name: str | None = None
        self._heartbeat_at = time.monotonic()
        self._is_closing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._set_speed()

    @property
    def model(self) -> ModelDescription:
        """What may be asked for."""
        return self._model.description

    @property
    def prompts(self) -> PromptReader:
        """Takes every prompt."""
        return self._model.prompts

    @property
    def codec(self) -> ImageCodec:
        """Passes images on."""
        return self._model.codec

    # ------------------------------------------------------------------------------------------ from any thread

    def start(self) -> None:
        """Begin to look for the server; the engine is warm while it answers."""
        self._thread.start()

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request.

        Args:
            request: What to generate; partial images are not to be had.

        Returns:
            Its handle.

        Raises:
            EngineFailedError: It broke.
            DrainingError: It is closed. Other refusals are those of `EngineCore.submit`.
        """
        stream = EventStream(request, self._cancel)
        with self._lock:
            if self._failure is not None:
                raise EngineFailedError(self._failure)
            if self._is_closing:
                raise DrainingError("the server has stopped")
            self._core.submit(replace(request, num_partial_images=0), stream, time.monotonic())
        self._nudge()
        return stream

    def _cancel(self, request_id: str) -> None:
        with self._lock:
            self._core.give_up(request_id)
        self._nudge()

    def estimated_wait_seconds(self, request: GenerationRequest) -> float:
        """Return how long the request's first image would wait for its call, if it were submitted now."""
        with self._lock:
            now = self._count_progress()
            return self._waits.wait_seconds(self._core, request, now)

    def set_bound(self, bound: WorkBound) -> None:
        """Bound how many calls run at a time from now on; those that run go on."""
        with self._lock:
            self._core.bound = bound
        self._nudge()

    def set_observer(self, observer: StepObserver | None) -> None:
        """Do nothing: the steps are the server's, and unseen."""

    def begin_drain(self, deadline_at: float) -> None:
        """Take no more requests, and finish what is there until a monotonic time."""
        with self._lock:
            now, core = self._count_progress(), self._core
            core.drain_at = deadline_at if core.drain_at is None else min(core.drain_at, deadline_at)
            for job in jobs_later_than(core, core.drain_at, now):
                core.stop(job, StopReason.DRAINING, now)
        self._nudge()

    def snapshot(self) -> EngineSnapshot:
        """Return the state now; cheap enough for every scrape and every admission."""
        with self._lock:
            now = self._count_progress()
            return replace(
                snapshot_of(self._core, now),
                is_warm=self._model_name is not None and self._failure is None,
                failure=self._failure,
                heartbeat_at=self._heartbeat_at,
                batch_size=self._core.rows.num_busy,
            )

    def close(self, timeout_seconds: float) -> bool:
        """Stop everything and wait; False if it did not stop in time."""
        with self._lock:
            self._is_closing = True
            self._core.stop_all(StopReason.CANCELLED, time.monotonic(), "the server stopped")
        self._nudge()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _nudge(self) -> None:
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            try:
                loop.call_soon_threadsafe(wake.set)
            except RuntimeError:
                pass  # the loop has ended: nothing is left to wake

    def _count_progress(self) -> float:
        """Take images under way to be as far as images of late were after this time; returns the time."""
        now = time.monotonic()
        for image, began_at in self._began_at.items():
            image.num_done = min(image.num_tokens - 1, int((now - began_at) / self._token_seconds))
        return now

    def _set_speed(self) -> None:
        self._core.speed.start(StepCurve(base_seconds=self._token_seconds, row_seconds=0.0))

    # ------------------------------------------------------------------------------------------ the event loop

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        # Whatever breaks here, everybody who waits has to be told, and liveness has to see it.
        except Exception as error:
            log.exception("upstream.failed")
            with self._lock:
                self._failure = f"{type(error).__name__}: {error}"
                self._core.stop_all(StopReason.ERROR, time.monotonic(), "the engine failed")

    async def _serve(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        connector = aiohttp.TCPConnector(limit=self._settings.num_slots + 1)
        async with aiohttp.ClientSession(connector=connector) as session:
            client = UpstreamClient(session, self._upstream)
            probe = asyncio.create_task(self._probe(client))
            while not self._is_closing:
                self._wake.clear()
                self._round(client)
                try:
                    await asyncio.wait_for(self._wake.wait(), self._settings.idle_seconds)
                except TimeoutError:
                    pass  # the heartbeat and the deadlines want a round now and then
            pending = [probe, *self._calls.values()]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _probe(self, client: UpstreamClient) -> None:
        """Look whether the server answers, for as long as the engine runs."""
        while True:
            try:
                name = await client.first_model()
                self._model_name = self._upstream.model or name
            except UpstreamError as error:
                if self._model_name is not None:
                    log.warning("upstream.lost", reason=str(error))
                self._model_name = None
            self._nudge()
            await asyncio.sleep(self._upstream.probe_seconds)

    def _round(self, client: UpstreamClient) -> None:
        """Let go, admit, and call for what was admitted."""
        with self._lock:
            now = self._heartbeat_at = self._count_progress()
            self._core.let_go(now)
            if self._model_name is not None:
                # Nothing is admitted while the server is not there; what waits keeps its place.
                for image in self._core.begin_step(now).images:
                    self._began_at[image] = now
                    self._calls[image] = asyncio.create_task(self._call(client, image, self._model_name))
            for image in [image for image in self._calls if not image.rows]:
                # Given up: the connection is closed, which is how the server learns of it.
                self._calls.pop(image).cancel()
                self._began_at.pop(image, None)

    async def _call(self, client: UpstreamClient, image: ImageTask, model: str) -> None:
        began_at = time.monotonic()
        try:
            content = await client.image(image.job.request, model, image.image_index)
        except UpstreamError as error:
            self._ended(image, str(error))
            return
        with self._lock:
            seconds = (time.monotonic() - began_at) / image.num_tokens
            self._token_seconds += (seconds - self._token_seconds) / SPEED_IMAGES
            self._set_speed()
        self._ended(image, content)

    def _ended(self, image: ImageTask, outcome: EncodedImage | str) -> None:
        """Deliver an image, or end its request with the reason why there is none."""
        now = time.monotonic()
        with self._lock:
            self._calls.pop(image, None)
            began_at = self._began_at.pop(image, now)
            if image.rows:
                self._core.totals.busy_seconds += now - began_at
                if isinstance(outcome, EncodedImage):
                    self._core.deliver(image, outcome, now)
                    self._core.last_step_at = now
                else:
                    image.num_done = 0
                    self._core.stop(image.job, StopReason.ERROR, now, outcome)
        self._nudge()
