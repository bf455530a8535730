"""Instant queries to Prometheus: one batched query a signal, answers typed, failures as words instead of exceptions.

Range queries, for the demand forecasts, go through ``forecasting.prometheus``. Both share the bounded HTTP reading of
``forecasting.io``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from forecasting.errors import ForecastingError
from forecasting.io import HttpLimits, fetch_http

QUERY_LIMITS = HttpLimits(timeout_seconds=2.0, max_attempts=2, first_delay_seconds=0.1, max_body_bytes=64 * 1024 * 1024)
"""A pass waits for its metrics; what does not answer in time is absent this time."""

MAX_SERIES = 100_000
"""Series of one answer; more is a query that somebody forgot to aggregate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One series of an instant query.

    Attributes:
        labels: Its labels.
        value: Its value; may be infinite, never NaN.
    """

    labels: Mapping[str, str]
    value: float


class _Row(msgspec.Struct, gc=False):
    """A series as Prometheus writes it: its labels, and its time with its value as text."""

    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct, rename="camel"):
    """The data of an answer."""

    result_type: str
    result: list[_Row]


class _Body(msgspec.Struct):
    """An answer; ``data`` is read only when there is success."""

    status: str
    data: msgspec.Raw = msgspec.Raw()
    error: str = "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave.

    Attributes:
        readings: Its series without the NaN ones.
        num_not_a_number: Series that were NaN.
        problem: Why there is no answer, in one sentence; None when there is one, even an empty one.
        reached: Whether Prometheus answered at all; asking on is of no use while it does not.
    """

    readings: tuple[Reading, ...] = ()
    num_not_a_number: int = 0
    problem: str | None = None
    reached: bool = True


class PrometheusClient:
    """Sends instant queries.

    Args:
        url: Address of Prometheus, with or without a path prefix.
        limits: Bounds of each request.
        fetch: Sends one GET; the default is the real one.
    """

    def __init__(
        self,
        url: str,
        limits: HttpLimits = QUERY_LIMITS,
        *,
        fetch: Callable[[str, HttpLimits], bytes] = fetch_http,
    ) -> None:
        """Remember the address; nothing is sent yet."""
        self.url = url.rstrip("/")
        self._limits = limits
        self._fetch = fetch

    def instant(self, query: str, now: datetime) -> Answer:
        """Evaluate a query.

        Args:
            query: PromQL.
            now: Evaluation time.

        Returns:
            The answer; with a problem when there is none.
        """
        parameters = urlencode({"query": query, "time": f"{now.timestamp():.3f}"})
        try:
            return parse_vector(self._fetch(f"{self.url}/api/v1/query?{parameters}", self._limits))
        except ForecastingError as error:
            return Answer(problem=str(error), reached=False)


def parse_vector(body: bytes) -> Answer:
    """Return the answer to an instant query.

    Args:
        body: What Prometheus sent.

    Returns:
        The readings, or the problem.
    """
    try:
        answer = msgspec.json.decode(body, type=_Body)
        if answer.status != "success":
            return Answer(problem=f"Prometheus refused the query: {answer.error[:300]}")
        data = msgspec.json.decode(answer.data, type=_Data)
        if data.result_type != "vector":
            return Answer(problem="the query gives no instant vector")
        if len(data.result) > MAX_SERIES:
            return Answer(problem=f"the query matches more than {MAX_SERIES} series; aggregate it")
        values = [float(row.value[1]) for row in data.result]
    except (msgspec.MsgspecError, ValueError) as error:
        return Answer(problem=f"the answer is not Prometheus' JSON ({type(error).__name__}); is this its address?")
    rows = zip(data.result, values, strict=True)
    readings = tuple(Reading(labels=row.metric, value=value) for row, value in rows if not math.isnan(value))
    return Answer(readings=readings, num_not_a_number=len(values) - len(readings))
