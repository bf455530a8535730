"""The recorded series that the demand benchmarks run on, as arrays on a regular grid.

The files are not part of the project; the folder is named by MELTGUARD_DATA, else ../shared/data beside the repository.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from forecasting.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedSeries:
    """One series and how it is judged.

    Attributes:
        name: Short name.
        start: Start of the first interval.
        step_seconds: Length of each interval.
        requests: Counts, shape ``(num_points,)``; NaN is missing.
        signups: Counts of the leading signal, same shape; None where there is none.
        horizon_steps: Steps ahead that are judged.
        first_origin: Index of the first judged origin.
        stride: Steps between judged origins.
    """

    name: str
    start: datetime
    step_seconds: float
    requests: FloatArray
    signups: FloatArray | None
    horizon_steps: int
    first_origin: int
    stride: int


def data_folder() -> Path:
    """Return the folder of the recorded data, whether or not it exists."""
    named = os.environ.get("MELTGUARD_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def load_mastodon() -> tuple[datetime, FloatArray, FloatArray]:
    """Return the start of the first hour, sign-ups and toots; the file's times mark the ends of hours."""
    rows = _rows(data_folder() / "demand" / "mastodon_hourly_2018-08_2022-02.csv")
    start = datetime.fromisoformat(rows[0]["ts"]).replace(tzinfo=UTC) - timedelta(hours=1)
    signups = np.array([_number(row["new_users_clean"]) for row in rows])
    requests = np.array([_number(row["new_toots_clean"]) for row in rows])
    return start, signups, requests


def mastodon() -> RecordedSeries:
    """Toots with sign-ups, hourly, judged three hours ahead from 2020 on; the three months before warm up."""
    start, signups, requests = load_mastodon()
    first = round((datetime(2019, 10, 1, tzinfo=UTC) - start).total_seconds() / 3600.0)
    judged = round((datetime(2020, 1, 1, tzinfo=UTC) - start).total_seconds() / 3600.0)
    return RecordedSeries(
        name="mastodon",
        start=start + timedelta(hours=first),
        step_seconds=3600.0,
        requests=requests[first:],
        signups=signups[first:],
        horizon_steps=3,
        first_origin=judged - first,
        stride=3,
    )


def servegen_mid() -> RecordedSeries:
    """Requests per second of a production language model, 10 minutes, judged half an hour ahead."""
    rows = _rows(data_folder() / "demand" / "servegen_m-mid_10min.csv")
    return RecordedSeries(
        name="servegen-m-mid",
        start=datetime(2025, 1, 6, tzinfo=UTC),
        step_seconds=600.0,
        requests=np.array([_number(row["rate_rps"]) for row in rows]),
        signups=None,
        horizon_steps=3,
        first_origin=144 * 4,
        stride=2,
    )


def _nab(
    name: str, path: str, *, step_seconds: float, horizon_steps: int, first_origin: int, stride: int
) -> RecordedSeries:
    rows = _rows(data_folder() / "demand" / "nab" / path)
    times = [datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC) for row in rows]
    slots = [round((time - times[0]).total_seconds() / step_seconds) for time in times]
    values = np.full(slots[-1] + 1, np.nan)
    values[slots] = [_number(row["value"]) for row in rows]
    return RecordedSeries(
        name=name,
        start=times[0],
        step_seconds=step_seconds,
        requests=values,
        signups=None,
        horizon_steps=horizon_steps,
        first_origin=first_origin,
        stride=stride,
    )


def elb() -> RecordedSeries:
    """Requests at a load balancer, 5 minutes, judged half an hour ahead."""
    path = "realAWSCloudwatch/elb_request_count_8c0756.csv"
    return _nab("elb", path, step_seconds=300.0, horizon_steps=6, first_origin=288 * 3, stride=2)


def goog() -> RecordedSeries:
    """Tweets that name GOOG, 5 minutes, judged half an hour ahead."""
    path = "realTweets/Twitter_volume_GOOG.csv"
    return _nab("goog", path, step_seconds=300.0, horizon_steps=6, first_origin=288 * 7, stride=4)


def aapl() -> RecordedSeries:
    """Tweets that name AAPL, 5 minutes, judged half an hour ahead; kept out of the headline figure."""
    path = "realTweets/Twitter_volume_AAPL.csv"
    return _nab("aapl", path, step_seconds=300.0, horizon_steps=6, first_origin=288 * 7, stride=4)


def nyc_taxi() -> RecordedSeries:
    """Taxi passengers in New York, 30 minutes, judged an hour ahead."""
    path = "realKnownCause/nyc_taxi.csv"
    return _nab("nyc-taxi", path, step_seconds=1800.0, horizon_steps=2, first_origin=48 * 14, stride=2)


HEADLINE = (mastodon, servegen_mid, elb, goog, nyc_taxi)
"""The series of the headline figure, in its order."""
