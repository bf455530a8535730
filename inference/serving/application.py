"""The aiohttp application: routes, and what turns every failure into an answer in OpenAI's shape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from inference.serving.answers import error_answer
from inference.serving.handlers import Handlers
from inference.serving.pod import Pod
from inference.serving.pod_metrics import DropReason
from inference.serving.settings import MAX_BODY_BYTES, MAX_CONNECTIONS

log = structlog.get_logger()
PROBES = frozenset({"/metrics", "/healthz", "/livez", "/readyz"})
"""Paths that no limit applies to."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_application(pod: Pod) -> web.Application:
    """Return the application that serves ``pod``."""
    handlers = Handlers(pod)
    application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_failures_as_answers(pod)])
    application.add_routes(
        [
            web.post("/v1/images/generations", handlers.generate),
            web.get("/v1/models", handlers.models),
            web.get("/v1/quota", handlers.quota),
            web.get("/metrics", handlers.metrics),
            web.get("/healthz", handlers.alive),
            web.get("/livez", handlers.alive),
            web.get("/readyz", handlers.ready),
            web.get("/openapi.json", handlers.openapi),
        ]
    )
    return application


async def _deliver(request: web.Request, answer: web.StreamResponse, pod: Pod) -> None:
    """Send an answer within the time limit for slow clients; whoever does not read it is cut off."""
    try:
        async with asyncio.timeout(pod.settings.write_seconds):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        pod.metrics.dropped(DropReason.SLOW)
        if request.transport is not None:
            request.transport.abort()


def _failures_as_answers(pod: Pod) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if pod.num_connections > MAX_CONNECTIONS and request.path not in PROBES:
            answer = error_answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again", code="contended")
            answer.headers["Retry-After"] = "1"
            answer.force_close()
            return answer
        try:
            found = await handler(request)
            await _deliver(request, found, pod)
            return found
        except web.HTTPException as error:
            answer = error_answer(HTTPStatus(error.status), error.reason, code=f"http_{error.status}")
            if "Allow" in error.headers:
                answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except ConnectionError:
            # The client is gone; aiohttp finds nobody to send this to, and closes.
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        except Exception:
            # A defect of ours: the user gets an answer, the log gets the traceback, the server goes on.
            log.exception("request.failed", path=request.path)
            return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "an internal error occurred", code="internal")

    return middleware
