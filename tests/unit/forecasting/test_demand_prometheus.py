"""What to ask Prometheus, and what its answers mean."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from forecasting.errors import ForecastingError, InputError, NotEnoughDataError
from forecasting.prometheus import MAX_POINTS_PER_REQUEST, RangeRequest, aligned_request, read_range, request_addresses


def make_request(num_steps: int = 6, *, url: str = "http://prometheus/prefix/") -> RangeRequest:
    """Return a request for minutes from the epoch on."""
    return RangeRequest(
        url=url,
        query="x",
        start=datetime.fromtimestamp(0, tz=UTC),
        end=datetime.fromtimestamp(60 * num_steps, tz=UTC),
        step_seconds=60.0,
    )


def answer(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> bytes:
    """Return a matrix as Prometheus writes it."""
    result = [{"metric": labels, "values": [list(point) for point in points]} for labels, points in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


def test_samples_stand_at_the_end_of_their_interval() -> None:
    """A sample at minute three counts the third minute; a missing minute is a gap, as are NaN and negative counts."""
    body = answer(({"region": "eu"}, [(60, "1"), (180, "3"), (240, "NaN"), (300, "-2"), (360, "6")]))
    series = read_range(make_request(), lambda _: body)[0][0]
    assert series.start == datetime.fromtimestamp(0, tz=UTC)
    assert series.values[[0, 2, 5]] == pytest.approx([1.0, 3.0, 6.0])
    assert np.isnan(series.values[[1, 3, 4]]).all()


def test_chunks_cover_the_range_once() -> None:
    """The requests together ask for every step once, each within the server's limit."""
    num_steps = 2 * MAX_POINTS_PER_REQUEST + 5
    asked: list[float] = []
    for address in request_addresses(make_request(num_steps)):
        parameters = parse_qs(urlsplit(address).query)
        times = np.arange(float(parameters["start"][0]), float(parameters["end"][0]) + 1.0, 60.0)
        assert times.size <= MAX_POINTS_PER_REQUEST
        asked.extend(times)
    assert asked == [60.0 * (step + 1) for step in range(num_steps)]


def test_a_request_is_aligned_to_its_step() -> None:
    """Two runs within one step ask for the same points."""
    requests = [
        aligned_request(
            url="http://p", query="x", end=datetime.fromtimestamp(at, tz=UTC), lookback_seconds=3600, step_seconds=300
        )
        for at in (10_000, 10_100)
    ]
    assert requests[0] == requests[1]


@pytest.mark.parametrize(
    ("body", "kind", "part"),
    [
        (answer(), InputError, "absent, not zero"),
        (answer(({}, [(60, "1")])), NotEnoughDataError, "only 1 samples"),
        (answer(({"a": "1"}, [(60, "1")]), ({"a": "2"}, [(60, "1")])), InputError, "sum by (region, tier)"),
        (b'{"status": "error", "error": "parse error"}', InputError, "parse error"),
        (b"<html>", ForecastingError, "not Prometheus"),
        (b"[]", ForecastingError, "not Prometheus"),
        (answer(({}, [(60, "x")])), ForecastingError, "no number"),
    ],
)
def test_wrong_answers_are_explained(body: bytes, kind: type[Exception], part: str) -> None:
    """Each fault has its own line."""
    with pytest.raises(kind, match=part.replace("(", r"\(").replace(")", r"\)")):
        read_range(make_request(), lambda _: body)


def test_an_address_without_scheme_is_refused() -> None:
    """Only HTTP is spoken."""
    with pytest.raises(InputError, match="http://"):
        request_addresses(make_request(url="prometheus:9090"))
