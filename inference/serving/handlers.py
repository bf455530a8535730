"""The HTTP handlers. Each parses, asks the pod and answers; errors become answers in ``application``."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from importlib.metadata import version

import msgspec
from aiohttp import web

from inference.admission.decision import MAX_QUEUE_RETRY_SECONDS, backlog_seconds, retry_within
from inference.admission.gate import Sender
from inference.admission.languages import Language, language_of
from inference.admission.verdicts import ErrorCode, LimitReason, Outcome, Refusal
from inference.engine.errors import UnsupportedRequestError
from inference.engine.events import ImageContent
from inference.serving import api
from inference.serving.answers import (
    BadRequestError,
    error_answer,
    json_answer,
    refusal_answer,
    refusal_error,
    timestamp,
)
from inference.serving.event_stream import (
    HEADERS,
    EventWriter,
    SlowClientError,
    stream_events,
    tell_error,
    tell_place,
)
from inference.serving.generation import Generation
from inference.serving.openapi import openapi_document
from inference.serving.pod import Pod
from inference.serving.pod_metrics import DropReason, Ending
from inference.serving.traces import trace_id_of
from inference.serving.wishes import Wish, generation_request, parse_body, wish_of

PLAIN = "text/plain"
ESTIMATE_HEADER = "X-Meltguard-Estimated-Wait-Seconds"
"""Wait for a slot, as told at admission."""
WAIT_HEADER = "X-Meltguard-Wait-Seconds"
"""Wait for a slot, as it came."""


class Handlers:
    """What the routes call."""

    def __init__(self, pod: Pod) -> None:
        """Serve ``pod``."""
        self._pod = pod
        self._openapi = msgspec.json.encode(openapi_document(version("meltguard")))

    # --- probes, scrapes, documents: no limit applies ---

    async def metrics(self, request: web.Request) -> web.Response:
        """``GET /metrics``."""
        page, content_type = self._pod.metrics_page(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    async def alive(self, _: web.Request) -> web.Response:
        """``GET /healthz`` and ``/livez``."""
        if self._pod.is_alive():
            return web.Response(text="ok\n", content_type=PLAIN)
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return web.Response(text="the engine hangs or broke\n", status=status, content_type=PLAIN)

    async def ready(self, _: web.Request) -> web.Response:
        """``GET /readyz``."""
        missing = self._pod.missing()
        flags = self._pod.provider.state()
        body = api.ReadyResponse(
            ready=not missing, missing=missing, flags_revision=flags.revision, flags_problem=flags.problem
        )
        return json_answer(body, HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK)

    async def openapi(self, _: web.Request) -> web.Response:
        """``GET /openapi.json``."""
        return web.Response(body=self._openapi, content_type="application/json")

    async def models(self, _: web.Request) -> web.Response:
        """``GET /v1/models``."""
        model = self._pod.engine.model
        entry = api.ModelEntry(
            id=model.name,
            object="model",
            created=model.created,
            owned_by="meltguard",
            draws=model.draws,
            sizes=[str(size) for size in model.tokens_by_size],
        )
        return json_answer(api.ModelList(object="list", data=[entry]))

    async def quota(self, request: web.Request) -> web.Response:
        """``GET /v1/quota``."""
        caller = self._pod.gate.caller_of(request.headers, request.remote or "", request.query.get("user"))
        flags, uses, num_in_work = await self._pod.gate.usage(caller)
        windows = [
            api.QuotaWindow(
                window=use.window.value,
                limit=use.limit,
                used=use.used,
                remaining=use.remaining,
                resets_at=None if use.resets_at_unix is None else timestamp(use.resets_at_unix),
            )
            for use in uses
        ]
        wait = backlog_seconds(self._pod.engine.snapshot())
        body = api.QuotaResponse(
            schema=api.QUOTA_SCHEMA,
            tier=caller.tier,
            region=caller.region,
            generation_enabled=flags.generation_enabled,
            admission_ratio=flags.admission_ratio,
            max_concurrent_images=flags.max_concurrent_images,
            images_in_work=num_in_work,
            windows=windows,
            limit_reason=None if flags.limit_reason in {"", "none"} else flags.limit_reason,
            estimated_wait_seconds=round(retry_within(wait, 0.0), 3),
            flags_revision=self._pod.provider.state().revision,
        )
        return json_answer(body)

    # --- generation ---

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/images/generations``."""
        language = language_of(request.headers.get("Accept-Language", ""))
        sender: Sender | None = None
        try:
            body = parse_body(await _body(request, self._pod.settings.body_seconds))
            sender = self._pod.gate.sender_of(request.headers, request.remote or "", body.user)
            wish = wish_of(body, self._pod.engine, language)
            generation = await self._admit(sender, wish, trace_id_of(request.headers.get("traceparent", "")))
        except (BadRequestError, UnsupportedRequestError) as error:
            sender = sender or self._pod.gate.sender_of(request.headers, request.remote or "", None)
            self._pod.metrics.received(sender, Outcome.INVALID, 0)
            return _bad_request(error)
        if isinstance(generation, Refusal):
            return refusal_answer(generation, language, self._pod.guard_ratio)
        try:
            if wish.streams:
                return await self._stream(request, generation, language)
            return await self._collect(generation, language)
        except (ConnectionError, asyncio.CancelledError):
            # aiohttp cancels the handler when the client goes.
            self._pod.metrics.dropped(DropReason.VANISHED)
            raise

    async def _admit(self, sender: Sender, wish: Wish, trace_id: str) -> Generation | Refusal:
        deciding = asyncio.create_task(self._decide(sender, wish, trace_id))
        try:
            # A client may go while the store of quotas is asked; what was counted by then must be given back.
            return await asyncio.shield(deciding)
        except asyncio.CancelledError:
            self._pod.metrics.dropped(DropReason.VANISHED)
            self._pod.runner.abandon(deciding)
            raise

    async def _decide(self, sender: Sender, wish: Wish, trace_id: str) -> Generation | Refusal:
        pod, tier = self._pod, sender.tier
        defaults = pod.engine.model.default_sampling
        asked = generation_request(wish, defaults, tier=tier.name, priority_weight=tier.priority_weight)
        admission = await pod.gate.admit(sender, asked, wish.num_tokens)
        if isinstance(admission, Refusal):
            pod.metrics.received(sender, admission.outcome, wish.num_tokens)
            pod.metrics.refused(sender, admission)
            return admission
        pod.metrics.received(sender, Outcome.ADMITTED, wish.num_tokens)
        return Generation(wish=wish, admission=admission, trace_id=trace_id)

    async def _collect(self, generation: Generation, language: Language) -> web.Response:
        contents = await self._pod.runner.collect(generation)
        if generation.ending is not Ending.COMPLETED:
            return self._stopped_answer(generation, language)
        wish = generation.wish
        response = api.ImagesResponse(
            created=int(time.time()),
            data=[await self._image(content, wish) for content in contents],
            size=str(wish.size),
            quality=wish.body.quality or "auto",
            background="opaque",
            output_format=wish.output_format,
            usage=_usage(wish),
        )
        answer = json_answer(response)
        answer.headers[ESTIMATE_HEADER] = f"{generation.admission.estimated_wait_seconds:.3f}"
        if generation.counts.admitted_at is not None:
            answer.headers[WAIT_HEADER] = f"{generation.counts.admitted_at - generation.counts.submitted_at:.3f}"
        return answer

    async def _image(self, content: ImageContent, wish: Wish) -> api.ImageData:
        data = await self._pod.encoder.base64(content, wish.output_format, wish.body.output_compression)
        if wish.body.response_format == "url":
            return api.ImageData(url=f"data:image/{wish.output_format};base64,{data}")
        return api.ImageData(b64_json=data)

    async def _stream(self, request: web.Request, generation: Generation, language: Language) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        writer = EventWriter(request, response, self._pod.settings.write_seconds)
        runner, options = self._pod.runner, generation.wish.body.stream_options
        try:
            await response.prepare(request)
            if options is not None and options.include_progress:
                await tell_place(writer, generation)
            await stream_events(writer, generation, runner, self._pod.encoder, _usage(generation.wish))
            if generation.ending is not Ending.COMPLETED:
                await tell_error(writer, self._stopped_error(generation, language))
            await response.write_eof()
        except SlowClientError:
            self._pod.metrics.dropped(DropReason.SLOW)
        finally:
            runner.settle_if_unread(generation)
        return response

    def _stopped_answer(self, generation: Generation, language: Language) -> web.Response:
        if generation.ending is Ending.DRAINING:
            return refusal_answer(self._handed_back(), language, self._pod.guard_ratio)
        error = self._stopped_error(generation, language)
        return json_answer(api.ErrorResponse(error), HTTPStatus.INTERNAL_SERVER_ERROR)

    def _stopped_error(self, generation: Generation, language: Language) -> api.ApiError:
        if generation.ending is Ending.DRAINING:
            return refusal_error(self._handed_back(), language, self._pod.guard_ratio)
        message = f"the request was stopped: {generation.message or generation.ending.value}"
        return api.ApiError(message=message, type="server_error", code=f"stopped_{generation.ending.value}")

    def _handed_back(self) -> Refusal:
        seconds = retry_within(backlog_seconds(self._pod.engine.snapshot()), most=MAX_QUEUE_RETRY_SECONDS)
        return Refusal(
            code=ErrorCode.DRAINING,
            outcome=Outcome.SHED,
            limit="pod",
            reason=LimitReason.DRAINING,
            retry_after_seconds=seconds,
        )


def _bad_request(error: BadRequestError | UnsupportedRequestError) -> web.Response:
    if isinstance(error, BadRequestError):
        return error_answer(error.status, error.message, param=error.param, code=error.code)
    return error_answer(HTTPStatus.BAD_REQUEST, str(error), param=error.field, code="unsupported")


async def _body(request: web.Request, body_seconds: float) -> bytes:
    """Return the request's body, if it comes in time and is JSON by its type."""
    if request.content_type != "application/json":
        message = f"send application/json, not {request.content_type}"
        raise BadRequestError(message, code="unsupported_media_type", status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        async with asyncio.timeout(body_seconds):
            return await request.read()
    except TimeoutError:
        message = f"the body did not come within {body_seconds:g} s"
        raise BadRequestError(message, code="body_timeout", status=HTTPStatus.REQUEST_TIMEOUT) from None


def _usage(wish: Wish) -> api.Usage:
    text = len(wish.conditioning.tokens) * wish.num_images
    return api.Usage(
        total_tokens=text + wish.num_tokens,
        input_tokens=text,
        output_tokens=wish.num_tokens,
        input_tokens_details=api.TokenDetails(text_tokens=text, image_tokens=0),
    )
