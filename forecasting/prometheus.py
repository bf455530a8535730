"""Demand out of Prometheus: range queries planned in chunks, answers joined into regular series.

``io`` sends the requests; this module decides what to ask and what the answers mean. Stale and absent are told apart: a
query that matches nothing is an error with a cure, a series whose last sample is old is a series that ends there, and
a hole within it is a gap. Pure: it opens no connection and reads no clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

import numpy as np

from forecasting.durations import describe_duration
from forecasting.errors import ForecastingError, InputError, NotEnoughDataError
from forecasting.types import DemandSeries, SeriesKey

MAX_POINTS_PER_REQUEST = 10_000
"""Steps of one range query; Prometheus refuses more than 11,000."""

MAX_SERIES = 10_000
"""Series of one query."""

MAX_REQUESTS = 1_000
"""Requests of one query; ten million points in all."""

_MIN_POINTS = 3

Fetch = Callable[[str], bytes]
"""Sends one GET and returns the body; raises :class:`ForecastingError` when that fails for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRequest:
    """What to ask.

    Attributes:
        url: Address of Prometheus, with or without a path prefix.
        query: PromQL; each series of its answer is one series of counts per step.
        start: Start of the first interval, aware.
        end: End of the last interval, aware, after the start.
        step_seconds: Length of an interval, > 0.
    """

    url: str
    query: str
    start: datetime
    end: datetime
    step_seconds: float


def aligned_request(
    *, url: str, query: str, end: datetime, lookback_seconds: float, step_seconds: float
) -> RangeRequest:
    """Return a request whose intervals lie on multiples of the step, so that repeated runs ask for the same points.

    Args:
        url: Address of Prometheus.
        query: PromQL.
        end: Nothing later is asked for, aware.
        lookback_seconds: Length of the history, > 0.
        step_seconds: Length of an interval, > 0.

    Returns:
        The request.
    """
    last = math.floor(end.timestamp() / step_seconds + 1e-9) * step_seconds
    first = last - math.ceil(lookback_seconds / step_seconds) * step_seconds
    return RangeRequest(
        url=url,
        query=query,
        start=datetime.fromtimestamp(first, tz=UTC),
        end=datetime.fromtimestamp(last, tz=UTC),
        step_seconds=step_seconds,
    )


def request_addresses(request: RangeRequest) -> list[str]:
    """Return the addresses to fetch, oldest first, each within the server's limit of points.

    Raises:
        InputError: If the address is no HTTP address or the range needs too many requests.
    """
    if not request.url.startswith(("http://", "https://")):
        raise InputError(f"--prometheus: '{request.url}' must start with http:// or https://")
    num_steps = round((request.end - request.start).total_seconds() / request.step_seconds)
    num_requests = -(-num_steps // MAX_POINTS_PER_REQUEST)
    if num_steps < 1 or num_requests > MAX_REQUESTS:
        raise InputError(
            f"--lookback spans {num_steps} steps of {describe_duration(request.step_seconds)};"
            f" choose 1 to {MAX_REQUESTS * MAX_POINTS_PER_REQUEST}"
        )
    base = request.url.rstrip("/") + "/api/v1/query_range?"
    addresses = []
    for chunk in range(num_requests):
        # Evaluated at an interval's end a query such as increase(x[5m]) holds the counts of that interval.
        first = request.start.timestamp() + (chunk * MAX_POINTS_PER_REQUEST + 1) * request.step_seconds
        last = request.start.timestamp() + min((chunk + 1) * MAX_POINTS_PER_REQUEST, num_steps) * request.step_seconds
        parameters = {"query": request.query, "start": f"{first:.3f}", "end": f"{last:.3f}"}
        addresses.append(base + urlencode({**parameters, "step": f"{request.step_seconds:g}"}))
    return addresses


def read_range(
    request: RangeRequest, fetch: Fetch, *, leave_out_short: bool = False
) -> tuple[list[DemandSeries], list[str]]:
    """Ask for a range and return its series.

    Args:
        request: What to ask.
        fetch: Sends one request.
        leave_out_short: A series that is too short is left out with a note, instead of failing all of them.

    Returns:
        One series per region and tier, sorted by them, each ending at its last sample; and notes for the reader.

    Raises:
        InputError: If the query is wrong or matches nothing.
        NotEnoughDataError: If a series has fewer than three samples and must not be left out.
        ForecastingError: If the answer cannot be understood.
    """
    samples: dict[SeriesKey, dict[int, float]] = {}
    for address in request_addresses(request):
        for key, points in _parse_answer(fetch(address), request):
            _merge(samples.setdefault(key, {}), points, request, key)
            if len(samples) > MAX_SERIES:
                raise InputError(f"the query '{request.query}' matches more than {MAX_SERIES} series; aggregate it")
    if not samples:
        raise InputError(
            f"the query '{request.query}' matches nothing between {request.start.isoformat()} and"
            f" {request.end.isoformat()}: absent, not zero; check the metric's name and --lookback"
        )
    series, notes = [], []
    for key in sorted(samples, key=lambda each: (each.region or "", each.tier or "")):
        try:
            one = _series(key, samples[key], request)
        except NotEnoughDataError as error:
            if not leave_out_short:
                raise
            notes.append(str(error))
            continue
        stale_seconds = (request.end - one.end).total_seconds()
        if stale_seconds > request.step_seconds:
            notes.append(
                f"the series of '{request.query}' for region {key.region}, tier {key.tier} is stale:"
                f" its last sample is {describe_duration(stale_seconds)} old"
            )
        series.append(one)
    return series, notes


def _parse_answer(body: bytes, request: RangeRequest) -> Iterable[tuple[SeriesKey, list[list[object]]]]:
    try:
        answer = json.loads(body)
        if answer["status"] != "success":
            raise InputError(
                f"Prometheus refused the query '{request.query}':"
                f" {str(answer.get('error', 'no reason given')).splitlines()[0][:300]}"
            )
        if answer["data"]["resultType"] != "matrix":
            raise InputError(f"the query '{request.query}' gives no range of samples")
        for result in answer["data"]["result"]:
            labels = result["metric"]
            key = SeriesKey(region=labels.get("region") or None, tier=labels.get("tier") or None)
            # Native histograms come without values; they are no counts.
            yield key, result.get("values", [])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForecastingError(f"{request.url}: the answer is not Prometheus' JSON; is this its address?") from error


def _merge(kept: dict[int, float], points: list[list[object]], request: RangeRequest, key: SeriesKey) -> None:
    start = request.start.timestamp()
    fresh: dict[int, float] = {}
    for point in points:
        try:
            seconds, count = float(str(point[0])), float(str(point[1]))
        except (ValueError, IndexError, TypeError) as error:
            raise ForecastingError(f"{request.url}: a sample of '{request.query}' is no number") from error
        slot = round((seconds - start) / request.step_seconds) - 1
        if math.isfinite(count) and count >= 0.0:
            fresh[slot] = count
    if fresh.keys() & kept.keys():
        raise InputError(
            f"the query '{request.query}' gives several series for region {key.region}, tier {key.tier};"
            " aggregate with sum by (region, tier)"
        )
    kept.update(fresh)


def _series(key: SeriesKey, samples: dict[int, float], request: RangeRequest) -> DemandSeries:
    if len(samples) < _MIN_POINTS:
        raise NotEnoughDataError(
            f"the query '{request.query}' gives only {len(samples)} samples for region {key.region}, tier {key.tier};"
            f" a forecast needs {_MIN_POINTS}, so choose a longer --lookback"
        )
    first, last = min(samples), max(samples)
    values = np.full(last - first + 1, np.nan)
    for slot, count in samples.items():
        values[slot - first] = count
    start = request.start.timestamp() + first * request.step_seconds
    return DemandSeries(
        key=key, start=datetime.fromtimestamp(start, tz=UTC), step_seconds=request.step_seconds, values=values
    )
