"""Runs the inference front on loopback inside the test process, over the stand-in engine, and asks it over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from inference.admission.callers import DEFAULT_TRUSTED, parse_networks
from inference.engine.ports import ImageEngine
from inference.serving.server import InferenceServer
from inference.serving.settings import ServeSettings
from inference.stepped.engine import SteppedEngine

START_SECONDS = 20.0
GENERATIONS = "/v1/images/generations"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error that the body holds."""
        return self.json["error"]


@dataclass(kw_only=True)
class RunningServer:
    """A server that answers."""

    url: str
    server: InferenceServer
    engine: ImageEngine
    loop: asyncio.AbstractEventLoop

    def get(self, path: str, **headers: str) -> Answer:
        """Return the answer to a GET; underscores in names of headers stand for dashes."""
        return self._send(urllib.request.Request(self.url + path), headers)

    def post(self, body: object, **headers: str) -> Answer:
        """Return the answer to a request for images; bytes are sent as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + GENERATIONS, data=data, method="POST")
        return self._send(request, {"Content-Type": "application/json", **headers})

    def draw(self, prompt: str = "seven", *, user: str = "ann", tier: str = "free", **fields: object) -> Answer:
        """Ask for an image as a user of a tier, by way of a trusted gateway."""
        return self.post({"prompt": prompt, **fields}, X_Meltguard_User=user, X_Meltguard_Tier=tier)

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return every sample of one scrape."""
        page = self.get("/metrics").body.decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels."""
        wanted = set(labels.items())
        found = [value for (sample, pairs), value in self.samples().items() if sample == name and wanted <= set(pairs)]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def wait(self, holds: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until ``holds``."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not within {seconds} s"
            time.sleep(0.02)

    def run(self, coroutine: Any) -> Any:
        """Run something in the server's event loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=60)

    def _send(self, request: urllib.request.Request, headers: Mapping[str, str]) -> Answer:
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(status=answer.status, headers=answer.headers, body=answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(status=error.code, headers=error.headers, body=error.read())


def serve_settings(**changes: Any) -> ServeSettings:
    """Return settings for tests: loopback is a trusted gateway, and the port is chosen by the system."""
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "region": "eu",
        "other_regions": ("us",),
        "trusted": parse_networks(DEFAULT_TRUSTED),
        "grace_seconds": 5.0,
    }
    return ServeSettings(**{**settings, **changes})


@contextmanager
def running_server(
    engine: ImageEngine | None = None, *, awaits_warmth: bool = True, **changes: Any
) -> Iterator[RunningServer]:
    """Run a server in a thread of its own; it is stopped at the end, and must stop."""
    engine = engine or SteppedEngine(tokens_per_second=20_000.0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server-loop", daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=60)

    async def create() -> InferenceServer:
        return InferenceServer(serve_settings(**changes), engine)

    server = run(create())
    try:
        address = run(server.start())
        running = RunningServer(url=address.url, server=server, engine=engine, loop=loop)
        if awaits_warmth:
            running.wait(lambda: engine.snapshot().is_warm, START_SECONDS)
        yield running
    finally:
        run(server.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
    assert not thread.is_alive()
