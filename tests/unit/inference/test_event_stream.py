"""The stream of events between the engine's thread and one reader."""

import asyncio
import threading

from inference.engine.events import Admitted, Counts, Event, Finished, Progress
from inference.engine.requests import Conditioning, GenerationRequest, ImageSize
from inference.engine.stream import EventStream

REQUEST = GenerationRequest(
    request_id="a", conditioning=Conditioning(tokens=(1,)), size=ImageSize(width=8, height=8), seed=0
)


def _stream() -> EventStream:
    return EventStream(REQUEST, lambda request_id: None)


def test_progress_replaces_progress_that_nobody_took() -> None:
    """A reader that comes late gets the latest progress only, so that a slow reader costs no memory."""
    stream = _stream()
    stream.put(Admitted(at=1.0))
    for done in range(1000):
        stream.put(Progress(image_tokens_done=done, image_tokens=1000))
    assert stream.next_event(0.0) == Admitted(at=1.0)
    assert stream.next_event(0.0) == Progress(image_tokens_done=999, image_tokens=1000)
    assert stream.next_event(0.0) is None


def test_nothing_follows_the_end() -> None:
    """The end is the last event, and there is one of it."""
    stream = _stream()
    end = Finished(counts=Counts())
    for event in (end, end, Admitted(at=1.0)):
        stream.put(event)
    assert stream.next_event(0.0) == end
    assert stream.next_event(10.0) is None


def test_event_loop_reads_what_another_thread_puts() -> None:
    """A reader in an event loop gets every event of the engine's thread in order, and its iteration ends."""
    stream = _stream()
    sent: list[Event] = [Admitted(at=1.0), Finished(counts=Counts())]

    async def read() -> list[Event]:
        threading.Thread(target=lambda: [stream.put(event) for event in sent]).start()
        return [event async for event in stream.events()]

    assert asyncio.run(asyncio.wait_for(read(), 10.0)) == sent


def test_engine_outlives_its_readers_event_loop() -> None:
    """Events for a reader whose event loop is gone are dropped without an error."""
    stream = _stream()

    async def read_one() -> Event:
        stream.put(Admitted(at=1.0))
        events = stream.events()
        first = await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        return first

    assert asyncio.run(read_one()) == Admitted(at=1.0)
    stream.put(Finished(counts=Counts()))


def test_cancelling_names_the_request() -> None:
    """Cancelling a handle asks the engine to give up that request."""
    asked: list[str] = []
    EventStream(REQUEST, asked.append).cancel()
    assert asked == ["a"]
