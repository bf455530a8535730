"""Plays the Service before the inference pods: each request goes to the ready pod with the fewest under way."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
from aiohttp import web

from tools.real_parts.processes import LOOPBACK, RealPartError

START_SECONDS = 10.0
STOP_SECONDS = 5.0
REQUEST_SECONDS = 120.0
MAX_TRIES = 3
HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"})


class Front:
    """An HTTP proxy in a thread of its own.

    Attributes:
        url: Its address.
    """

    def __init__(self) -> None:
        """Know no pod yet."""
        self.url = ""
        self._under_way: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._end: asyncio.Event | None = None

    def start(self) -> None:
        """Begin to serve.

        Raises:
            RealPartError: If it does not come up.
        """
        self._thread.start()
        if not self._is_up.wait(START_SECONDS):
            raise RealPartError("the front did not start")

    def stop(self) -> None:
        """End."""
        if self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(STOP_SECONDS)

    def serve_from(self, *addresses: str) -> None:
        """Send requests to these pods from now on, ``host:port`` each."""
        self._loop.call_soon_threadsafe(self._replace, addresses)

    def _replace(self, addresses: tuple[str, ...]) -> None:
        self._under_way = {address: self._under_way.get(address, 0) for address in addresses}

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        # A pod closes idle connections; a request that meets one on its way would be lost, and is no fault of the pod.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=1.0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", lambda request: self._forward(session, request))
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, LOOPBACK, 0)
            await site.start()
            self.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
            self._is_up.set()
            await self._end.wait()
            await runner.cleanup()

    async def _forward(self, session: aiohttp.ClientSession, request: web.Request) -> web.Response:
        """Pass a request on; a pod that takes no connection is passed over."""
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS}
        tried: set[str] = set()
        for _ in range(MAX_TRIES):
            choices = [address for address in self._under_way if address not in tried]
            if not choices:
                break
            address = min(choices, key=lambda name: self._under_way[name])
            tried.add(address)
            self._under_way[address] += 1
            try:
                url = f"http://{address}{request.rel_url}"
                async with session.request(request.method, url, data=body, headers=headers) as answer:
                    kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_HEADERS}
                    return web.Response(status=answer.status, body=await answer.read(), headers=kept)
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, TimeoutError):
                return web.Response(status=502, text="the pod ended during the request\n")
            finally:
                if address in self._under_way:
                    self._under_way[address] -= 1
        return web.Response(status=503, text="no pod takes requests\n", headers={"Retry-After": "1"})
