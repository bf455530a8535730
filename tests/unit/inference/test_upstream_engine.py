"""A server behind us: its images come through, its failures are told, and our queue stands before it."""

import asyncio
import base64
import threading
import time
from collections.abc import Iterator

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")

from aiohttp import web  # noqa: E402

from inference.engine.errors import QueueFullError  # noqa: E402
from inference.engine.events import Admitted, EncodedImage, Finished, FinishedImage, Stopped, StopReason  # noqa: E402
from inference.engine.ports import WorkBound  # noqa: E402
from inference.engine.requests import GenerationRequest, ImageSize  # noqa: E402
from inference.engine.settings import EngineSettings  # noqa: E402
from inference.upstream.client import UpstreamSettings  # noqa: E402
from inference.upstream.engine import UpstreamEngine  # noqa: E402

PATIENCE_SECONDS = 20.0


class ImageServer:
    """An OpenAI-compatible server on loopback that draws nothing but echoes, when it is let."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_open.set()
        self.asked: list[dict[str, object]] = []
        self.num_running = 0
        self.max_running = 0
        self.num_aborted = 0
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Stop listening."""
        self.is_open.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _listen(self) -> None:
        application = web.Application()
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/images/generations", self._draw)
        self._runner = web.AppRunner(application, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        [address] = self._runner.addresses
        self.url = f"http://127.0.0.1:{address[1]}"
        self._ready.set()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "painter"}]})

    async def _draw(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.num_running += 1
        self.max_running = max(self.max_running, self.num_running)
        try:
            while not self.is_open.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.num_aborted += 1
            raise
        finally:
            self.num_running -= 1
        prompt = body["prompt"]
        if prompt == "broken":
            return web.Response(status=500, text="out of memory")
        if prompt == "empty":
            return web.json_response({"data": []})
        if prompt == "garbage":
            return web.Response(text="<html>")
        data = base64.b64encode(f"{prompt} {body['seed']}".encode()).decode()
        return web.json_response({"data": [{"b64_json": data}]})


@pytest.fixture
def server() -> Iterator[ImageServer]:
    """A server that is up."""
    made = ImageServer()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def engine(server: ImageServer) -> Iterator[UpstreamEngine]:
    """An engine before it, warm."""
    settings = EngineSettings(num_slots=2, max_queued_requests=4, idle_seconds=0.01)
    made = UpstreamEngine(UpstreamSettings(url=server.url, probe_seconds=0.2), settings)
    made.start()
    _until(lambda: made.snapshot().is_warm)
    yield made
    assert made.close(PATIENCE_SECONDS)


def _until(holds: object) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < give_up_at, "never came true"
        time.sleep(0.005)


def _request(engine: UpstreamEngine, prompt: str, **changes: object) -> GenerationRequest:
    fields: dict[str, object] = {
        "request_id": prompt,
        "conditioning": engine.prompts.read(prompt),
        "size": ImageSize(width=256, height=256),
        "seed": 7,
    }
    return GenerationRequest(**fields | changes)  # type: ignore[arg-type]


def _events(handle: object) -> list[object]:
    found: list[object] = []
    while not found or not isinstance(found[-1], Finished | Stopped):
        event = handle.next_event(PATIENCE_SECONDS)  # type: ignore[attr-defined]
        assert event is not None, "a stream did not end"
        found.append(event)
    return found


def test_images_of_the_server_come_through(engine: UpstreamEngine, server: ImageServer) -> None:
    """Every image is asked for once, with a seed of its own, and arrives as the server sent it."""
    events = _events(engine.submit(_request(engine, "a cat", num_images=3, num_partial_images=2)))
    assert isinstance(events[0], Admitted)
    images = [event for event in events if isinstance(event, FinishedImage)]
    found = {image.image_index: image.content for image in images}
    assert found == {index: EncodedImage(data=f"a cat {7 + index}".encode()) for index in range(3)}
    assert engine.codec.png(found[0]) == b"a cat 7"
    assert {(body["model"], body["size"], body["n"]) for body in server.asked} == {("painter", "256x256", 1)}
    assert isinstance(events[-1], Finished)
    assert events[-1].counts.num_images == 3
    assert engine.snapshot().image_tokens_total == 3 * 256


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("broken", "answered 500: out of memory"), ("empty", "without an image"), ("garbage", "does not answer in JSON")],
)
def test_a_failing_server_is_quoted(engine: UpstreamEngine, prompt: str, message: str) -> None:
    """An error of the server ends the request with what it said, and the next one is served."""
    end = _events(engine.submit(_request(engine, prompt)))[-1]
    assert isinstance(end, Stopped)
    assert end.reason is StopReason.ERROR
    assert message in end.message
    assert isinstance(_events(engine.submit(_request(engine, "next")))[-1], Finished)


def test_calls_and_queue_are_bounded(engine: UpstreamEngine, server: ImageServer) -> None:
    """No more calls run than there are slots, no more requests wait than may, and waits are told."""
    server.is_open.clear()
    handles = [engine.submit(_request(engine, f"{number}")) for number in range(2)]
    _until(lambda: server.num_running == 2)
    handles += [engine.submit(_request(engine, f"{number}")) for number in range(2, 6)]
    with pytest.raises(QueueFullError):
        engine.submit(_request(engine, "too many"))
    snapshot = engine.snapshot()
    assert (snapshot.num_busy_slots, snapshot.num_queued_requests) == (2, 4)
    assert engine.estimated_wait_seconds(_request(engine, "next")) > 0.0
    server.is_open.set()
    assert all(isinstance(_events(handle)[-1], Finished) for handle in handles)
    assert server.max_running == 2


def test_cancelled_calls_are_hung_up(engine: UpstreamEngine, server: ImageServer) -> None:
    """Giving a request up closes its connection, and the slot is free for the next one."""
    server.is_open.clear()
    handles = [engine.submit(_request(engine, f"{number}")) for number in range(3)]
    _until(lambda: server.num_running == 2)
    handles[0].cancel()
    assert isinstance(_events(handles[0])[-1], Stopped)
    _until(lambda: server.num_aborted == 1 and server.num_running == 2)
    server.is_open.set()
    assert all(isinstance(_events(handle)[-1], Finished) for handle in handles[1:])


def test_guard_bounds_the_calls(engine: UpstreamEngine, server: ImageServer) -> None:
    """Under a bound of zero nothing is called for; when it rises, what waited is."""
    engine.set_bound(WorkBound(occupancy_ratio=0.0))
    handle = engine.submit(_request(engine, "a"))
    beat = engine.snapshot().heartbeat_at
    _until(lambda: engine.snapshot().heartbeat_at > beat)
    assert not server.asked
    engine.set_bound(WorkBound())
    assert isinstance(_events(handle)[-1], Finished)


def test_drain_hands_back_what_is_not_done_in_time(engine: UpstreamEngine, server: ImageServer) -> None:
    """At the end of the grace what still runs is handed back, and the engine is drained."""
    server.is_open.clear()
    handle = engine.submit(_request(engine, "a"))
    _until(lambda: server.num_running == 1)
    engine.begin_drain(time.monotonic() + 0.05)
    end = _events(handle)[-1]
    assert isinstance(end, Stopped)
    assert end.reason is StopReason.DRAINING
    _until(lambda: engine.snapshot().is_drained)


def test_nothing_is_admitted_while_the_server_is_away() -> None:
    """An engine whose server does not answer is not warm, keeps what waits, and can be closed."""
    upstream = UpstreamSettings(url="http://127.0.0.1:1", probe_seconds=0.05)
    engine = UpstreamEngine(upstream, EngineSettings(num_slots=2, idle_seconds=0.01))
    engine.start()
    handle = engine.submit(_request(engine, "a"))
    beat = engine.snapshot().heartbeat_at
    _until(lambda: engine.snapshot().heartbeat_at > beat)
    snapshot = engine.snapshot()
    assert (snapshot.is_warm, snapshot.num_queued_requests, snapshot.failure) == (False, 1, None)
    assert engine.close(PATIENCE_SECONDS)
    assert isinstance(_events(handle)[-1], Stopped)
