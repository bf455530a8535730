"""What ``meltguard serve`` does once its options are checked: makes the engine and runs the server."""

from __future__ import annotations

import asyncio
import gc
import json
import sys

import structlog

from inference.engine.ports import ImageEngine
from inference.serving.server import InferenceServer
from inference.serving.settings import ServeSettings

log = structlog.get_logger()
SCHEMA = "meltguard.serve/v1"
SWITCH_SECONDS = 0.0002
"""After which a waiting thread may have the interpreter; why: docs/decisions/0131-two-threads-one-interpreter.md."""


def run_server(settings: ServeSettings, engine: ImageEngine, *, announces: bool) -> None:
    """Serve until told to stop.

    Args:
        settings: What the server was told.
        engine: What generates.
        announces: Whether the address is also written to standard output, as JSON.
    """
    # A step of the engine gives the interpreter up at each of its operations and has to wait for it each time, at the
    # default for up to 5 ms while a request is handled: longer than a step takes.
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(_serve(settings, engine, announces=announces))


async def _serve(settings: ServeSettings, engine: ImageEngine, *, announces: bool) -> None:
    server = InferenceServer(settings, engine)
    address = await server.start()
    log.info("server.listening", address=address.url, model=engine.model.name, region=settings.region)
    if announces:
        print(json.dumps({"schema": SCHEMA, "event": "server.listening", "address": address.url}), flush=True)
    # What is alive now lives on: the collector of garbage need not look at it again during requests.
    gc.collect()
    gc.freeze()
    await server.serve()
