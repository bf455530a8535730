"""HTTP answers: JSON bodies, errors in OpenAI's shape, and limited requests with Retry-After. No I/O."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from aiohttp import web

from inference.admission.languages import Language, refusal_sentence
from inference.admission.verdicts import LimitReason, Refusal
from inference.serving.api import ApiError, ErrorResponse

JSON_TYPE = "application/json"


class BadRequestError(Exception):
    """A request that cannot be met as it stands; becomes an answer of 400 unless it names another status.

    Attributes:
        message: What is wrong, and what would be right.
        param: The field that is meant; None for the whole body.
        code: Id of the error for programs.
        status: The HTTP status.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_value",
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
    ) -> None:
        """Keep what the answer says."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


def json_answer(body: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type=JSON_TYPE)


def error_answer(
    status: HTTPStatus, message: str, *, param: str | None = None, code: str | None = None
) -> web.Response:
    """Return an error in OpenAI's shape.

    Args:
        status: The HTTP status, 400 or above.
        message: What the user reads.
        param: The field that is meant.
        code: Id of the error for programs.

    Returns:
        The answer.
    """
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return json_answer(ErrorResponse(ApiError(message=message, type=kind, param=param, code=code)), status)


def refusal_answer(refusal: Refusal, language: Language, guard_ratio: float) -> web.Response:
    """Return the answer to a limited request.

    Args:
        refusal: Which limit, and why.
        language: What the user reads.
        guard_ratio: Share of full work that the local guard allows now; told where heat is the reason.

    Returns:
        429, 403 or 503 with Retry-After.
    """
    response = json_answer(ErrorResponse(refusal_error(refusal, language, guard_ratio)), refusal.code.status)
    response.headers["Retry-After"] = str(whole_seconds(refusal.retry_after_seconds))
    response.headers["Content-Language"] = language.value
    return response


def refusal_error(refusal: Refusal, language: Language, guard_ratio: float) -> ApiError:
    """Return the error that a limited request gets.

    Args:
        refusal: Which limit, and why.
        language: What the user reads.
        guard_ratio: Share of full work that the local guard allows now.

    Returns:
        The body.
    """
    unset = msgspec.UNSET
    kinds = {HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error", HTTPStatus.FORBIDDEN: "permission_error"}
    is_warm = refusal.reason is LimitReason.THERMAL_GUARD or guard_ratio < 1.0
    return ApiError(
        message=refusal_sentence(refusal, language),
        type=kinds.get(refusal.code.status, "server_error"),
        code=refusal.code.value,
        limit=refusal.limit,
        reason=refusal.reason.value,
        flag_reason=refusal.flag_reason or unset,
        maximum=unset if refusal.maximum is None else refusal.maximum,
        remaining=unset if refusal.remaining is None else refusal.remaining,
        resets_at=unset if refusal.resets_at_unix is None else timestamp(refusal.resets_at_unix),
        retry_after_seconds=round(refusal.retry_after_seconds, 3),
        thermal_guard_ratio=round(guard_ratio, 3) if is_warm else unset,
    )


def whole_seconds(seconds: float) -> int:
    """Return seconds as ``Retry-After`` takes them: whole, rounded up, at least 1."""
    return max(math.ceil(seconds), 1)


def timestamp(unix: float) -> str:
    """Return a Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
