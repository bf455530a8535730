"""What a limited request is told, as values; no text and no HTTP. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

MIN_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 86_400.0


class Outcome(StrEnum):
    """Value of the label ``outcome`` of the offered load."""

    ADMITTED = "admitted"
    QUOTA = "quota"
    CONTENDED = "contended"
    SHED = "shed"
    REGION_DISABLED = "region_disabled"
    INVALID = "invalid"


class ErrorCode(StrEnum):
    """The field ``code`` of an error."""

    QUOTA_EXCEEDED = "quota_exceeded"
    CONTENDED = "contended"
    REGION_DISABLED = "region_disabled"
    NO_CAPACITY = "no_capacity"
    DRAINING = "draining"

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status: 429 concerns this user or this moment, 403 this region, 503 this pod."""
        if self is ErrorCode.REGION_DISABLED:
            return HTTPStatus.FORBIDDEN
        if self in {ErrorCode.NO_CAPACITY, ErrorCode.DRAINING}:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.TOO_MANY_REQUESTS


class LimitReason(StrEnum):
    """Why; picks the sentence that the user reads."""

    DAILY_QUOTA = "daily_quota"
    HOURLY_QUOTA = "hourly_quota"
    CONCURRENCY = "concurrency"
    TOO_MANY_AT_ONCE = "too_many_at_once"
    ADMISSION_RATIO = "admission_ratio"
    BATCH_DEFERRED = "batch_deferred"
    QUEUE_FULL = "queue_full"
    QUEUE_WAIT = "queue_wait"
    REGION_DISABLED = "region_disabled"
    THERMAL_GUARD = "thermal_guard"
    STARTING = "starting"
    ENGINE_FAILED = "engine_failed"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request that is not admitted.

    Attributes:
        code: What kind of limit; gives the HTTP status.
        outcome: The label of the offered load.
        limit: Name of the limit: a flag's key, or the pod's own.
        reason: Why.
        retry_after_seconds: When asking again makes sense, from now.
        maximum: The limit's value, in images or tokens; None where it is no number.
        remaining: What is left of it; None where that means nothing.
        resets_at_unix: When it ends, Unix seconds; None where nobody knows.
        flag_reason: The controller's own id of the reason; empty when it gave none.
    """

    code: ErrorCode
    outcome: Outcome
    limit: str
    reason: LimitReason
    retry_after_seconds: float
    maximum: int | None = None
    remaining: int | None = None
    resets_at_unix: float | None = None
    flag_reason: str = ""
